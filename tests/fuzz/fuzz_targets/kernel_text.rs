//! Kernel IR's text: parse, print, parse, verify.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    cascata_fuzz::targets::text::kernel(bytes);
});
