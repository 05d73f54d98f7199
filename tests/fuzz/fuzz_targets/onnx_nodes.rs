//! ONNX models built from the bytes, so that most of them get past protobuf.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    cascata_fuzz::targets::onnx::nodes(bytes);
});
