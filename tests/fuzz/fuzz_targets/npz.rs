//! NumPy archives, as the command reads them. Its reader is no library, hence the path; it
//! takes the runtime's tensors, which the facade crate only passes on.
#![no_main]

extern crate cascata_runtime as cascata;

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "only reading is fuzzed")]
#[path = "../../../cli/src/support/arrays.rs"]
mod arrays;

/// What the reader takes from the command, without exit codes.
mod exit {
    use std::path::Path;

    pub struct FileError;

    impl FileError {
        pub fn new(_action: &'static str, _path: &Path, _reason: impl ToString) -> Self {
            Self
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = arrays::read_from(std::io::Cursor::new(bytes));
});
