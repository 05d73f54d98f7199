//! Runs compiled kernels: code in executable memory, a context, guarded operands.

use super::memory::{Edge, Guarded};
use cascata_artifact::abi::{Context, Import, KernelFn, Status};
use cascata_codegen::cpu::CompiledKernel;
use cascata_ir::kernel::interp::HostBuffer;
use cascata_kernels::{Isa, resolve};
use memmap2::{Mmap, MmapMut};

/// A kernel that can be called.
pub struct Loaded {
    code: Mmap,
    scratch_bytes: cascata_ir::types::Dim,
}

impl Loaded {
    /// Copies code into executable memory.
    pub fn new(kernel: &CompiledKernel) -> Loaded {
        let mut code = MmapMut::map_anon(kernel.code.len()).expect("memory for code");
        code.copy_from_slice(&kernel.code);
        let code = code.make_exec().expect("executable memory");
        Loaded { code, scratch_bytes: kernel.scratch_bytes.clone() }
    }

    fn entry(&self) -> KernelFn {
        // SAFETY: the code is a function of this type from its first byte on.
        unsafe { std::mem::transmute::<*const u8, KernelFn>(self.code.as_ptr()) }
    }

    /// Runs tiles range by range over launch buffers (inputs and outputs in order), which
    /// lie at guard pages, and gives their contents back.
    pub fn run(
        &self,
        params: &[i64],
        buffers: &mut [HostBuffer],
        ranges: &[(i64, i64)],
        edge: Edge,
    ) -> Status {
        let operands: Vec<Guarded> = buffers.iter().map(|b| Guarded::new(edge, &b.bytes)).collect();
        let pointers: Vec<*mut u8> = operands.iter().map(Guarded::as_mut_ptr).collect();
        let scratch = self.scratch_bytes.eval(&|s| params.get(s.0 as usize).copied());
        let scratch = scratch.expect("a scratch size") as usize;
        assert_eq!(scratch % 64, 0, "scratch ends at a guard page and starts aligned");
        let scratch = Guarded::new(Edge::End, &vec![0xa5; scratch]);
        let imports = import_table(Isa::detect());
        let zeros = Guarded::new(Edge::Start, &[0; 1 << 16]);
        let context = Context {
            buffers: pointers.as_ptr(),
            dims: params.as_ptr(),
            imports: imports.as_ptr(),
            zeros: zeros.as_mut_ptr(),
        };
        let mut status = 0;
        for (begin, end) in ranges {
            // SAFETY: the context describes live memory of the sizes that the kernel
            // declares; the callers' kernels pass the interpreter, which checks bounds.
            status = unsafe { self.entry()(&context, *begin, *end, scratch.as_mut_ptr()) };
            if status != 0 {
                break;
            }
        }
        for (buffer, operand) in buffers.iter_mut().zip(&operands) {
            buffer.bytes.copy_from_slice(operand.bytes());
        }
        status
    }

    /// Calls the kernel over memory of the caller's, for timing.
    ///
    /// # Safety
    /// `context` describes live memory of the sizes that the kernel declares, and
    /// `scratch` is large enough.
    #[allow(dead_code, reason = "the speed example uses it, the tests do not")]
    pub unsafe fn call(&self, context: &Context, begin: i64, end: i64, scratch: *mut u8) -> Status {
        // SAFETY: as promised.
        unsafe { self.entry()(context, begin, end, scratch) }
    }
}

/// The table that generated code calls through.
pub fn import_table(isa: Isa) -> Vec<*const u8> {
    Import::ALL.iter().map(|import| resolve(*import, isa)).collect()
}
