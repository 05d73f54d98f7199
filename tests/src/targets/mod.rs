//! What fuzzing feeds: one function per kind of untrusted input. `tests/fuzz` drives them, the
//! tests replay its corpus. Each takes any bytes, must not panic, and says whether the bytes
//! were accepted, so that a corpus that is refused everywhere is noticed.

pub mod artifact;
pub mod onnx;
pub mod text;
pub mod weights;
