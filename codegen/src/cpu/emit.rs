//! One kernel as a Cranelift function: entry, tile loop, exits.

use super::error::CodegenError;
use super::layout::ScratchLayout;
use super::ops::{Features, Ops};
use super::scope::Scope;
use super::value::Val;
use cascata_artifact::abi::Import;
use cascata_ir::kernel::{Buffer, BufferId, Expr, Kernel, LocalId};
use cascata_types::{DType, SymbolId};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, Inst, InstBuilder, Signature, StackSlot, Type, Value,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::{FunctionBuilder, Variable};
use std::collections::{BTreeSet, HashMap};

/// The result of emitting something.
pub(super) type Result<T> = std::result::Result<T, CodegenError>;

/// Whether one element is computed at a time or four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    /// One.
    Scalar,
    /// Four neighbours: lanes of the vector number `.0` of those that an iteration computes.
    Simd(usize),
}

/// The vector loop around the current statement, while its iterations run four at a time.
#[derive(Clone, Copy)]
pub(super) struct SimdLoop {
    /// Its variable: the index of the first lane of the first vector.
    pub var: SymbolId,
    /// Vectors per iteration.
    pub parts: usize,
}

/// Where a local lives.
#[derive(Clone)]
pub(super) struct Slot {
    /// One variable, or one per part of a SIMD loop.
    pub vars: Vec<Variable>,
    /// Whether the variables are vectors.
    pub simd: bool,
}

/// State of the emission of one kernel.
pub(super) struct Emit<'k, 'f> {
    pub fb: FunctionBuilder<'f>,
    pub kernel: &'k Kernel,
    pub features: Features,
    pub layout: ScratchLayout,
    /// The `*const Context` argument.
    pub context: Value,
    /// The scratch argument.
    pub scratch: Value,
    pub scopes: Vec<Scope>,
    /// Bound symbols: the level of their scope, and their values.
    pub symbols: HashMap<SymbolId, (usize, Value)>,
    pub slots: HashMap<LocalId, Slot>,
    /// Values of expressions that an enclosing loop computed ahead, by their address.
    pub hoisted: HashMap<(*const Expr, Mode), Val>,
    pub simd: Option<SimdLoop>,
    pub mode: Mode,
    /// Statements around the current one, for messages.
    pub path: Vec<String>,
    /// Micro-kernels that are called.
    pub imports: BTreeSet<Import>,
    /// Where argument blocks are built.
    pub block_slot: Option<StackSlot>,
    /// Vector loops that run one iteration at a time, and why.
    pub notes: Vec<String>,
    /// Takes the status of a failed check.
    fail: Block,
}

/// The signature of [`cascata_artifact::abi::KernelFn`].
pub(super) fn signature() -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params.extend([I64; 4].map(AbiParam::new));
    signature.returns.push(AbiParam::new(I32));
    signature
}

/// What emission found out besides the code.
pub(super) struct Emitted {
    /// Micro-kernels that are called.
    pub imports: BTreeSet<Import>,
    /// Vector loops that run one iteration at a time, and why.
    pub notes: Vec<String>,
}

/// Emits the whole kernel.
pub(super) fn kernel<'k>(
    mut fb: FunctionBuilder<'_>,
    kernel: &'k Kernel,
    features: Features,
    layout: ScratchLayout,
    frontend: cranelift_codegen::isa::TargetFrontendConfig,
) -> Result<Emitted> {
    let entry = fb.create_block();
    fb.append_block_params_for_function_params(entry);
    fb.switch_to_block(entry);
    fb.seal_block(entry);
    let params: [Value; 4] =
        fb.block_params(entry).try_into().expect("the signature has four parameters");
    let [context, begin, end, scratch] = params;
    let fail = fb.create_block();
    fb.set_cold_block(fail);
    fb.append_block_param(fail, I32);
    let mut emit: Emit<'k, '_> = Emit {
        fb,
        kernel,
        features,
        layout,
        context,
        scratch,
        scopes: Vec::new(),
        symbols: HashMap::new(),
        slots: HashMap::new(),
        hoisted: HashMap::new(),
        simd: None,
        mode: Mode::Scalar,
        path: Vec::new(),
        imports: BTreeSet::new(),
        block_slot: None,
        notes: Vec::new(),
        fail,
    };
    emit.open_scope(None);
    emit.counted_loop(kernel.tile, begin, end, 1, &mut |e| e.body(&kernel.body))?;
    emit.close_scope();
    let zero = emit.fb.ins().iconst(I32, 0);
    emit.fb.ins().return_(&[zero]);
    emit.finish_failure();
    emit.fb.finalize(frontend);
    Ok(Emitted { imports: emit.imports, notes: emit.notes })
}

impl<'k> Emit<'k, '_> {
    /// The block that failed checks jump to.
    fn finish_failure(&mut self) {
        let fail = self.fail;
        self.fb.switch_to_block(fail);
        self.fb.seal_block(fail);
        let status = self.fb.block_params(fail)[0];
        self.fb.ins().return_(&[status]);
    }

    /// Returns `status` from the kernel unless `ok`.
    pub(super) fn check(&mut self, ok: Value, status: i32) {
        let (next, fail) = (self.fb.create_block(), self.fail);
        let status = self.fb.ins().iconst(I32, i64::from(status));
        self.fb.ins().brif(ok, next, &[], fail, &[BlockArg::Value(status)]);
        self.fb.switch_to_block(next);
        self.fb.seal_block(next);
    }

    /// `for var in (begin..end).step_by(step)`, in a scope of its own.
    pub(super) fn counted_loop(
        &mut self,
        var: SymbolId,
        begin: Value,
        end: Value,
        step: i64,
        body: &mut dyn FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let (head, done) = (self.fb.create_block(), self.fb.create_block());
        let i = self.fb.append_block_param(head, I64);
        let any = self.fb.ins().icmp(IntCC::SignedLessThan, begin, end);
        let entry = self.fb.ins().brif(any, head, &[BlockArg::Value(begin)], done, &[]);
        self.fb.switch_to_block(head);
        self.open_scope(Some(entry));
        self.bind_symbol(var, i);
        body(self)?;
        self.close_scope();
        let next = self.fb.ins().iadd_imm_s(i, step);
        let more = self.fb.ins().icmp(IntCC::SignedLessThan, next, end);
        self.fb.ins().brif(more, head, &[BlockArg::Value(next)], done, &[]);
        self.fb.seal_block(head);
        self.fb.switch_to_block(done);
        self.fb.seal_block(done);
        Ok(())
    }

    /// Runs `body` in a scope of its own where `cond` holds.
    pub(super) fn guarded(
        &mut self,
        cond: Value,
        body: &mut dyn FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let (then, done) = (self.fb.create_block(), self.fb.create_block());
        let entry = self.fb.ins().brif(cond, then, &[], done, &[]);
        self.enter(then, entry);
        body(self)?;
        self.close_scope();
        self.fb.ins().jump(done, &[]);
        self.fb.switch_to_block(done);
        self.fb.seal_block(done);
        Ok(())
    }

    /// Continues in a block with the one predecessor that ends in `entry`, in a new scope.
    pub(super) fn enter(&mut self, block: Block, entry: Inst) {
        self.fb.switch_to_block(block);
        self.fb.seal_block(block);
        self.open_scope(Some(entry));
    }

    /// Float operations on `ty` at the end of the current block.
    pub(super) fn ops(&mut self, ty: Type) -> Ops<'_> {
        let features = self.features;
        Ops { c: self.here(), ty, features }
    }

    /// A buffer's declaration.
    pub(super) fn buffer_info(&self, id: BufferId) -> Result<&'k Buffer> {
        self.kernel.buffers.get(id).ok_or_else(|| self.invalid(format!("no buffer {id}")))
    }

    /// Bytes of a buffer's elements.
    pub(super) fn element_bytes(&self, id: BufferId) -> Result<i64> {
        let dtype = self.buffer_info(id)?.dtype;
        let size = dtype.size_bytes().ok_or_else(|| self.unsupported("a string".into()))?;
        Ok(size as i64)
    }

    fn place(&self) -> String {
        if self.path.is_empty() { "body".into() } else { self.path.join(" / ") }
    }

    /// [`CodegenError::Unsupported`] at the current statement.
    pub(super) fn unsupported(&self, what: String) -> CodegenError {
        CodegenError::Unsupported { kernel: self.kernel.name.clone(), place: self.place(), what }
    }

    /// [`CodegenError::Invalid`] at the current statement.
    pub(super) fn invalid(&self, what: String) -> CodegenError {
        CodegenError::Invalid { kernel: self.kernel.name.clone(), place: self.place(), what }
    }

    /// [`CodegenError::Undefined`] at the current statement.
    pub(super) fn undefined(&self, op: &'static str, dtype: DType) -> CodegenError {
        let kernel = self.kernel.name.clone();
        CodegenError::Undefined { kernel, place: self.place(), op, dtype }
    }
}
