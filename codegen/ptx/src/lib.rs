//! Threaded Kernel IR to PTX, through MLIR and LLVM.
//!
//! [`compile`] makes one PTX module of several kernels, an `.entry` each, with the ABI that
//! `cascata_artifact::gpu` describes. A kernel becomes an MLIR function (`emit`): `scf` for
//! control flow, `arith` for arithmetic, `llvm` for memory, `nvvm` for what only GPUs have.
//! MLIR lowers it, LLVM optimises and prints it (`pipeline`).
//!
//! Floats are as exact as on CPUs: divisions and roots are rounded correctly, denormals kept,
//! products and sums joined only where the CPU's code joins them, and the formulas of other
//! functions are the same (`cascata_math`).
#![cfg(feature = "llvm")]

mod emit;
mod expr;
mod formulas;
mod index;
mod loops;
mod memory;
mod pipeline;
mod remainder;
mod scalar;
mod text;
mod tile;

use cascata_ir::kernel::Kernel;
use cascata_types::Dim;

/// What PTX is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PtxTarget {
    /// `sm_80`, `sm_90` or `sm_90a`.
    pub name: &'static str,
}

/// A module of PTX.
#[derive(Clone, Debug, PartialEq)]
pub struct PtxModule {
    /// The PTX.
    pub text: String,
    /// What the launch of each kernel needs, in their order.
    pub kernels: Vec<PtxKernel>,
}

/// What the launch of a kernel needs.
#[derive(Clone, Debug, PartialEq)]
pub struct PtxKernel {
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory.
    pub shared_bytes: u32,
    /// Global scratch memory of a block, over the kernel's parameters.
    pub scratch_bytes: Dim,
}

/// Why a kernel has no PTX.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kernel '{kernel}' has no GPU code: {}", problems.join("; "))]
pub struct PtxError {
    /// The kernel's name.
    pub kernel: String,
    /// Everything that is in the way.
    pub problems: Vec<String>,
}

/// Compiles kernels to one module.
///
/// # Errors
/// Every kernel that has no code, each with all its problems.
pub fn compile(kernels: &[Kernel], target: PtxTarget) -> Result<PtxModule, Vec<PtxError>> {
    let (mut functions, mut infos, mut errors) = (String::new(), Vec::new(), Vec::new());
    for kernel in kernels {
        match emit::kernel(kernel).and_then(|made| tile::targeted(kernel, target, made)) {
            Ok((text, info)) => {
                functions.push_str(&text);
                infos.push(info);
            }
            Err(e) => errors.push(e),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let text = pipeline::ptx(&functions, target).map_err(|problem| {
        let kernel = kernels.first().map(|k| k.name.clone()).unwrap_or_default();
        vec![PtxError { kernel, problems: vec![problem] }]
    })?;
    Ok(PtxModule { text, kernels: infos })
}

/// The MLIR that a kernel becomes first.
///
/// # Errors
/// The kernel has no code.
pub fn mlir(kernel: &Kernel) -> Result<String, PtxError> {
    emit::kernel(kernel).map(|(text, _)| text)
}
