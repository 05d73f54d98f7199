//! What can go wrong between Kernel IR and machine code.

use cascata_types::DType;

/// Why a kernel has no machine code. Every variant names the kernel and the place in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodegenError {
    /// Meaningful Kernel IR that this back end has no code for.
    #[error("kernel '{kernel}', {place}: {what} is not supported by the CPU back end")]
    Unsupported {
        /// The kernel's name.
        kernel: String,
        /// The statement, with the loops around it.
        place: String,
        /// What has no code.
        what: String,
    },
    /// An op on a dtype for which it has no meaning.
    #[error("kernel '{kernel}', {place}: {op} is not defined for {dtype}")]
    Undefined {
        /// The kernel's name.
        kernel: String,
        /// The statement, with the loops around it.
        place: String,
        /// The op.
        op: &'static str,
        /// Its operand's dtype.
        dtype: DType,
    },
    /// The kernel breaks a rule that the Kernel IR verifier checks.
    #[error("kernel '{kernel}', {place}: {what}; verify the kernel first")]
    Invalid {
        /// The kernel's name.
        kernel: String,
        /// The statement, with the loops around it.
        place: String,
        /// The rule.
        what: String,
    },
    /// Cranelift refused the function, or produced code that breaks the kernel ABI.
    #[error("kernel '{kernel}': {what}")]
    Backend {
        /// The kernel's name.
        kernel: String,
        /// What happened.
        what: String,
    },
}
