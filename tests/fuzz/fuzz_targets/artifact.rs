//! Artifact files whose header's hash is made right.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    cascata_fuzz::targets::artifact::file(bytes);
});
