//! NumPy archives, as the command reads them. Its reader is no library, hence the path; it
//! takes the runtime's tensors, which the facade crate only passes on.
#![no_main]

extern crate cascata_runtime as cascata;

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "only reading is fuzzed")]
mod support {
    #[path = "../../../../cli/src/support/arrays.rs"]
    pub mod arrays;

    /// As the command's, without the exit codes.
    pub mod exit {
        use std::path::Path;

        pub struct FileError;

        impl FileError {
            pub fn new(_action: &'static str, _path: &Path, _reason: impl ToString) -> Self {
                Self
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = support::arrays::read_from(std::io::Cursor::new(bytes));
});
