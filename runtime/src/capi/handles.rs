//! Runtimes and artifacts for C.

use super::{Failure, Status, borrow, give, guard, take, text};
use crate::artifact::Artifact;
use crate::runtime::Runtime;
use std::ffi::{CString, c_char, c_void};

/// `CascataRuntime`.
pub(crate) struct CascataRuntime(pub(crate) Runtime);

/// `CascataArtifact`.
pub(crate) struct CascataArtifact {
    pub(crate) artifact: Artifact,
    entries: Vec<CString>,
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
    let make = || Ok(artifact(Artifact::load(unsafe { text("path", path)? })?));
    // SAFETY: see the module text.
    guard(|| unsafe { give(out, make) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cascata_artifact_from_bytes(
    data: *const c_void,
    bytes: usize,
    out: *mut *mut CascataArtifact,
) -> Status {
    let make = || {
        if data.is_null() {
            return Err(Failure::argument("data is null"));
        }
        // SAFETY: not null, hence `bytes` bytes by the caller's promise.
        let bytes = unsafe { std::slice::from_raw_parts(data.cast(), bytes) };
        Ok(artifact(Artifact::from_bytes(bytes)?))
    };
    // SAFETY: see the module text.
    guard(|| unsafe { give(out, make) })
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
