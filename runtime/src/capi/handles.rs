//! Runtimes and artifacts for C.

use super::{Failure, Status, borrow, give, guard, take, text};
use crate::artifact::{Artifact, LoadOptions};
use crate::cancel::CancelToken;
use crate::runtime::Runtime;
use cascata_artifact::sign::PublicKey;
use std::ffi::{CString, c_char, c_void};

/// `CascataRuntime`.
pub(crate) struct CascataRuntime(pub(crate) Runtime);

/// `CascataArtifact`.
pub(crate) struct CascataArtifact {
    pub(crate) artifact: Artifact,
    entries: Vec<CString>,
}

/// `CascataCancel`.
pub(crate) struct CascataCancel(pub(crate) CancelToken);

/// `CascataLoadOptions`.
#[repr(C)]
pub(crate) struct CascataLoadOptions {
    size: usize,
    trusted_keys: *const c_char,
    level: *const c_char,
    check_weights: i32,
}

/// Options as Rust has them; null means the default.
///
/// # Safety
/// As the header says: null or valid, with text that is null or ends with a zero byte.
unsafe fn load_options(options: *const CascataLoadOptions) -> Result<LoadOptions, Failure> {
    let mut load = Artifact::options();
    // SAFETY: the caller's promise.
    let Some(options) = (unsafe { options.as_ref() }) else { return Ok(load) };
    if options.size != size_of::<CascataLoadOptions>() {
        return Err(Failure::argument("options.size must be sizeof(CascataLoadOptions)"));
    }
    if !options.trusted_keys.is_null() {
        // SAFETY: the caller's promise.
        let keys = unsafe { text("options.trusted_keys", options.trusted_keys)? };
        let mut any = false;
        for key in keys.split_whitespace() {
            let parsed = key.parse::<PublicKey>().map_err(|e| Failure::argument(e.to_string()))?;
            (load, any) = (load.trust(parsed), true);
        }
        if !any {
            return Err(Failure::argument("options.trusted_keys holds no key"));
        }
    }
    if !options.level.is_null() {
        // SAFETY: the caller's promise.
        load = load.level(unsafe { text("options.level", options.level)? });
    }
    Ok(match options.check_weights {
        0 => load,
        yes => load.check_weights(yes > 0),
    })
}

/// A name as C text.
pub(crate) fn c_text(name: &str) -> CString {
    CString::new(name.replace('\0', "?")).unwrap_or_default()
}

fn artifact(loaded: Artifact) -> CascataArtifact {
    let entries = loaded.entries().map(c_text).collect();
    CascataArtifact { artifact: loaded, entries }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_runtime_create(
    threads: usize,
    out: *mut *mut CascataRuntime,
) -> Status {
    let make = || Ok(CascataRuntime(Runtime::builder().threads(threads).build()?));
    // SAFETY: see the module text.
    guard(|| unsafe { give(out, make) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_runtime_free(runtime: *mut CascataRuntime) {
    // SAFETY: see the module text.
    unsafe { take(runtime) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_artifact_load(
    path: *const c_char,
    out: *mut *mut CascataArtifact,
) -> Status {
    // SAFETY: see the module text.
    unsafe { cascata_artifact_load_with(path, std::ptr::null(), out) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_artifact_load_with(
    path: *const c_char,
    options: *const CascataLoadOptions,
    out: *mut *mut CascataArtifact,
) -> Status {
    let make = || {
        // SAFETY: see the module text.
        let (path, options) = unsafe { (text("path", path)?, load_options(options)?) };
        Ok(artifact(options.load(path)?))
    };
    // SAFETY: see the module text.
    guard(|| unsafe { give(out, make) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_artifact_from_bytes(
    data: *const c_void,
    bytes: usize,
    out: *mut *mut CascataArtifact,
) -> Status {
    // SAFETY: see the module text.
    unsafe { cascata_artifact_from_bytes_with(data, bytes, std::ptr::null(), out) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_artifact_from_bytes_with(
    data: *const c_void,
    bytes: usize,
    options: *const CascataLoadOptions,
    out: *mut *mut CascataArtifact,
) -> Status {
    let make = || {
        if data.is_null() {
            return Err(Failure::argument("data is null"));
        }
        // SAFETY: not null, hence `bytes` bytes by the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts(data.cast(), bytes) };
        // SAFETY: see the module text.
        Ok(artifact(unsafe { load_options(options)? }.from_bytes(bytes)?))
    };
    // SAFETY: see the module text.
    guard(|| unsafe { give(out, make) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_cancel_create(out: *mut *mut CascataCancel) -> Status {
    // SAFETY: see the module text.
    guard(|| unsafe { give(out, || Ok(CascataCancel(CancelToken::new()))) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_cancel_free(cancel: *mut CascataCancel) {
    // SAFETY: see the module text.
    unsafe { take(cancel) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_cancel_request(cancel: *const CascataCancel) {
    // SAFETY: see the module text.
    if let Some(cancel) = unsafe { cancel.as_ref() } {
        cancel.0.cancel();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_cancel_reset(cancel: *const CascataCancel) {
    // SAFETY: see the module text.
    if let Some(cancel) = unsafe { cancel.as_ref() } {
        cancel.0.reset();
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_artifact_free(artifact: *mut CascataArtifact) {
    // SAFETY: see the module text.
    unsafe { take(artifact) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_artifact_entry_count(artifact: *const CascataArtifact) -> usize {
    // SAFETY: see the module text.
    unsafe { borrow("artifact", artifact) }.map_or(0, |a| a.entries.len())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_artifact_entry_name(
    artifact: *const CascataArtifact,
    index: usize,
) -> *const c_char {
    // SAFETY: see the module text.
    let artifact = unsafe { borrow("artifact", artifact) };
    let name = artifact.ok().and_then(|a| a.entries.get(index));
    name.map_or(std::ptr::null(), |n| n.as_ptr())
}
