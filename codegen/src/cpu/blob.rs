//! Many functions as one block of position-independent code.

/// Machine code of several kernels, ready to be copied anywhere on a 64-byte boundary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeBlob {
    bytes: Vec<u8>,
    functions: Vec<CodeRange>,
}

/// Where one function lies in a [`CodeBlob`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeRange {
    /// First byte; a multiple of [`CodeBlob::ALIGN`].
    pub offset: usize,
    /// Number of bytes.
    pub len: usize,
}

impl CodeBlob {
    /// Alignment of every function and of the blob itself, in bytes: a cache line, and
    /// more than the alignment of any constant inside a function.
    pub const ALIGN: usize = 64;
    /// `int3`: what lies between functions is never executed.
    const FILL: u8 = 0xcc;

    /// Adds a function's code and returns its index in [`CodeBlob::functions`].
    pub fn push(&mut self, code: &[u8]) -> usize {
        self.bytes.resize(self.bytes.len().next_multiple_of(Self::ALIGN), Self::FILL);
        self.functions.push(CodeRange { offset: self.bytes.len(), len: code.len() });
        self.bytes.extend_from_slice(code);
        self.functions.len() - 1
    }

    /// The code of all functions.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each function lies, in the order of the pushes.
    pub fn functions(&self) -> &[CodeRange] {
        &self.functions
    }
}
