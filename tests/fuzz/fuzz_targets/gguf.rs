//! GGUF files: import with and without a cache, verify, isolation analysis.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    cascata_fuzz::targets::weights::gguf(bytes);
});
