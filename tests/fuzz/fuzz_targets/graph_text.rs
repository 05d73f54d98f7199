//! The Graph's text: parse, print, parse, verify, isolation analysis.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    cascata_fuzz::targets::text::graph(bytes);
});
