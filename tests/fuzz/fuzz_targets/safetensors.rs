//! A configuration and a safetensors file: import, verify, isolation analysis.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    cascata_fuzz::targets::weights::safetensors(bytes);
});
