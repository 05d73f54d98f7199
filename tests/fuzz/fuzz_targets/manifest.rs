//! Manifests in an artifact around them, loaded, planned and run over code that does nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    cascata_fuzz::targets::artifact::manifest(bytes);
});
