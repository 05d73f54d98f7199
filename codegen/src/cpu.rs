//! Kernel IR to x86-64 machine code through Cranelift.
//!
//! [`compile`] turns one verified kernel into position-independent code for
//! [`cascata_artifact::abi::KernelFn`]: no relocations, no trapping instructions, calls
//! only through the context's import table, whose order is [`Import::ALL`]. Kernels are
//! independent: [`compile_all`] spreads them over threads.
//!
//! # Arithmetic
//! * f16 and bf16 are computed in f32 and rounded after every operation.
//! * `Add(Mul(a, b), c)` of f32 or f64 is one fused multiply-add where the level has it,
//!   with one rounding instead of two; the same in vector bodies and scalar tails, so a
//!   result never depends on its position or on how tiles are split between threads.
//! * Vector reductions keep several partial results; their order depends on the extent alone.
//! * Error bounds of elementary functions stand at each function in `math/`.

mod binary;
mod blob;
mod call;
mod cast;
mod contract;
mod divide;
mod emit;
mod error;
mod expr;
mod formulas;
mod half;
mod invariant;
mod layout;
mod loops;
#[allow(
    clippy::excessive_precision,
    clippy::approx_constant,
    reason = "coefficients as their sources print them"
)]
mod math;
mod memory;
mod ops;
mod plan;
mod pool;
mod quantise;
mod rounding;
mod scope;
mod stmt;
mod target;
mod typing;
mod unary;
mod value;

pub use blob::{CodeBlob, CodeRange};
pub use error::CodegenError;
pub use target::{CpuLevel, CpuTarget, MidEnd};

use cascata_artifact::abi::Import;
use cascata_ir::kernel::Kernel;
use cascata_types::Dim;
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{Function, UserFuncName};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use layout::ScratchLayout;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The machine code of one kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct CompiledKernel {
    /// Position-independent code; its entry is the first byte, on a boundary of
    /// [`CodeBlob::ALIGN`].
    pub code: Vec<u8>,
    /// Bytes of scratch memory per thread, over the kernel's parameters.
    pub scratch_bytes: Dim,
    /// Micro-kernels that it calls, in the order of [`Import::ALL`].
    pub imports: Vec<Import>,
    /// Vector loops that run one iteration at a time, and why, for a person who tunes.
    pub notes: Vec<String>,
}

/// The index of an import in the table that generated code calls through: its position
/// in [`Import::ALL`], so that kernels agree on it without knowing of each other.
pub fn import_index(import: Import) -> usize {
    Import::ALL.iter().position(|x| *x == import).expect("the list is complete")
}

/// Compiles one kernel.
///
/// # Errors
/// The kernel has no meaning, or something in it has no code; the error names the place.
pub fn compile(kernel: &Kernel, target: &CpuTarget) -> Result<CompiledKernel, CodegenError> {
    Compiler::default().compile(kernel, target)
}

/// Compiles kernels on as many threads as there are CPUs; results are in order and do not
/// depend on the number of threads.
pub fn compile_all(
    kernels: &[Kernel],
    target: &CpuTarget,
) -> Vec<Result<CompiledKernel, CodegenError>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(kernels.len())));
    std::thread::scope(|scope| {
        for _ in 0..threads.min(kernels.len()) {
            scope.spawn(|| {
                let mut compiler = Compiler::default();
                while let Some((i, kernel)) =
                    kernels.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed))
                {
                    let result = compiler.compile(kernel, target);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((i, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Memory that one compilation after another uses.
struct Compiler {
    context: Context,
    frontend: FunctionBuilderContext,
}

impl Default for Compiler {
    fn default() -> Self {
        Self { context: Context::new(), frontend: FunctionBuilderContext::new() }
    }
}

impl Compiler {
    fn compile(
        &mut self,
        kernel: &Kernel,
        target: &CpuTarget,
    ) -> Result<CompiledKernel, CodegenError> {
        let failed = |what| CodegenError::Backend { kernel: kernel.name.clone(), what };
        let layout = ScratchLayout::new(kernel)
            .ok_or_else(|| failed("a scratch buffer of strings".to_string()))?;
        let scratch_bytes = layout.total().clone();
        self.context.clear();
        // An error leaves a half-built function behind.
        self.frontend = FunctionBuilderContext::new();
        self.context.func =
            Function::with_name_signature(UserFuncName::default(), emit::signature());
        let fb = FunctionBuilder::new(&mut self.context.func, &mut self.frontend);
        let config = target.isa().frontend_config();
        let emitted = emit::kernel(fb, kernel, target.features(), layout, config)?;
        if target.features().avx {
            pool::constants_to_stack(&mut self.context.func);
        }
        self.context
            .compile(&**target.isa(), &mut ControlPlane::default())
            .map_err(|e| failed(format!("{:?}", e.inner)))?;
        let compiled =
            self.context.compiled_code().ok_or_else(|| failed("no code came out".into()))?;
        let buffer = &compiled.buffer;
        match (buffer.relocs().first(), buffer.traps().first()) {
            (Some(reloc), _) => Err(failed(format!("a relocation remains: {:?}", reloc.target))),
            (_, Some(trap)) => Err(failed(format!("an instruction can trap: {}", trap.code))),
            _ if buffer.alignment as usize > CodeBlob::ALIGN => {
                Err(failed(format!("code aligned to {}", buffer.alignment)))
            }
            _ => Ok(CompiledKernel {
                code: buffer.data().to_vec(),
                scratch_bytes,
                imports: emitted.imports.into_iter().collect(),
                notes: emitted.notes,
            }),
        }
    }
}
