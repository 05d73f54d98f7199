//! One kernel as an MLIR function.
//!
//! Block-level code is executed by every thread alike; a loop over threads gives each thread
//! its iteration. Stores of block-level code are made by the first thread. Barriers stand at
//! the end of every loop over threads and around those stores that are read back.

use crate::index::Symbol;
use crate::memory::Layout;
use crate::scalar::Val;
use crate::text::{Text, Ty, V};
use crate::{PtxError, PtxKernel};
use cascata_ir::kernel::{BufferId, Expr, Kernel, LocalId, LoopKind, Space, Stmt};
use cascata_types::{DType, SymbolId};
use std::collections::{HashMap, HashSet};

/// Threads of a block of a kernel without a loop over threads.
const LONE_THREADS: u32 = 32;

/// A kernel in the making.
pub(crate) struct Emit<'k> {
    pub kernel: &'k Kernel,
    pub text: Text,
    pub symbols: HashMap<SymbolId, Symbol>,
    pub layout: Layout,
    /// Where buffers start; private arrays too.
    pub bases: HashMap<BufferId, V>,
    /// Variables: their value, or the memory of those that change.
    pub locals: HashMap<LocalId, Local>,
    changing: HashSet<LocalId>,
    /// Buffers that the kernel reads.
    read: HashSet<BufferId>,
    /// The thread of the block, and of a loop over threads that the code stands in.
    pub tid: V,
    pub in_threads: bool,
    pub threads: u32,
    /// Shared memory for reductions over more than a warp.
    pub exchange: Option<V>,
    /// Shared memory for tiles.
    pub tile_memory: Option<V>,
    status: V,
    pub problems: Vec<String>,
}

#[derive(Clone, Copy)]
pub(crate) enum Local {
    Value(V),
    Memory(V, Ty),
}

/// The text of a kernel, and what its launch needs.
pub(crate) fn kernel(kernel: &Kernel) -> Result<(String, PtxKernel), PtxError> {
    let error = |problems: Vec<String>| PtxError { kernel: kernel.name.clone(), problems };
    let threads = threads_of(&kernel.body).unwrap_or(LONE_THREADS);
    let layout = Layout::new(kernel, threads);
    let info = PtxKernel {
        threads,
        shared_bytes: if layout.is_dynamic() { layout.shared_bytes } else { 0 },
        scratch_bytes: layout.scratch_bytes.clone(),
    };
    let mut text = Text::default();
    let params: Vec<V> = parameters(&mut text, kernel);
    let tid = text.fresh(Ty::I32);
    let operands = layout.operands.len();
    let mut emit = Emit {
        kernel,
        symbols: HashMap::new(),
        bases: layout.operands.iter().copied().zip(params.iter().copied()).collect(),
        layout,
        locals: HashMap::new(),
        changing: changing(&kernel.body),
        read: reads(&kernel.body),
        tid,
        in_threads: false,
        threads,
        exchange: None,
        tile_memory: None,
        status: params[params.len() - 1],
        problems: vec![],
        text,
    };
    for (i, v) in params[operands..operands + kernel.params].iter().enumerate() {
        emit.symbols.insert(SymbolId(i as u32), Symbol::Value(*v));
    }
    let rest = &params[operands + kernel.params..];
    emit.body_of_tiles(rest[0], rest[1], rest[2]);
    if !emit.problems.is_empty() {
        return Err(error(emit.problems));
    }
    let signature = signature(&params, &emit.layout, kernel);
    let globals = emit.layout.globals(kernel);
    let body = emit.text.finish();
    let function = format!(
        "llvm.func @{}({signature}) attributes {{nvvm.kernel, nvvm.maxntid = array<i32: {threads}>}} \
         {{\n{body}llvm.return\n}}\n",
        kernel.name
    );
    Ok((globals + &function, info))
}

/// Values for: buffers, dims, tiles, scratch and its stride, status.
fn parameters(text: &mut Text, kernel: &Kernel) -> Vec<V> {
    let operand = |s: Space| matches!(s, Space::Input | Space::Output);
    let buffers = kernel.buffers.iter().filter(|(_, b)| operand(b.space)).count();
    let mut all = vec![Ty::Global; buffers];
    all.extend(vec![Ty::I64; kernel.params + 1]);
    all.extend([Ty::Global, Ty::I64, Ty::Global]);
    all.into_iter().map(|ty| text.fresh(ty)).collect()
}

fn signature(params: &[V], layout: &Layout, kernel: &Kernel) -> String {
    let parameter = |(i, v): (usize, &V)| {
        let attributes = match layout.operands.get(i).map(|b| kernel.buffers[*b].space) {
            Some(Space::Input) => " {llvm.noalias, llvm.readonly, llvm.align = 16 : i64}",
            Some(_) => " {llvm.noalias, llvm.align = 16 : i64}",
            None => "",
        };
        format!("{v}: {}{attributes}", v.ty)
    };
    params.iter().enumerate().map(parameter).collect::<Vec<_>>().join(", ")
}

/// The largest loop over threads.
fn threads_of(body: &[Stmt]) -> Option<u32> {
    let each = |s: &Stmt| match s {
        Stmt::For { extent, kind: LoopKind::Threads, .. } => {
            extent.as_const().and_then(|n| u32::try_from(n).ok())
        }
        Stmt::For { body, .. } => threads_of(body),
        Stmt::If { then, otherwise, .. } => threads_of(then).max(threads_of(otherwise)),
        Stmt::TileAttention(a) => Some(32 * a.schedule.warps),
        Stmt::TileGemm(g) => Some(2 * g.schedule.rows),
        _ => None,
    };
    body.iter().filter_map(each).max()
}

/// Variables that change after their declaration.
fn changing(body: &[Stmt]) -> HashSet<LocalId> {
    let mut all = HashSet::new();
    visit(body, &mut |s| {
        if let Stmt::Assign { local, .. } | Stmt::Reduce { local, .. } = s {
            all.insert(*local);
        }
    });
    all
}

/// Buffers that some expression loads from.
fn reads(body: &[Stmt]) -> HashSet<BufferId> {
    fn of(e: &Expr, all: &mut HashSet<BufferId>) {
        match e {
            Expr::Const(_) | Expr::Index(_) | Expr::Local(_) => {}
            Expr::Load(place) => {
                all.insert(place.buffer);
            }
            Expr::Unary(_, x) | Expr::Cast(_, x) | Expr::Bits(_, x) => of(x, all),
            Expr::Binary(_, a, b) => [a, b].iter().for_each(|x| of(x, all)),
            Expr::Select(a, b, c) => [a, b, c].iter().for_each(|x| of(x, all)),
        }
    }
    let mut all = HashSet::new();
    visit(body, &mut |s| match s {
        Stmt::Bind { value, .. }
        | Stmt::Let { value, .. }
        | Stmt::Assign { value, .. }
        | Stmt::Reduce { value, .. }
        | Stmt::Store { value, .. }
        | Stmt::GroupReduce { value, .. }
        | Stmt::Check { cond: value, .. }
        | Stmt::If { cond: value, .. } => of(value, &mut all),
        Stmt::TileGemm(g) => all.extend(g.operands().into_iter().map(|p| p.buffer)),
        Stmt::TileAttention(a) => all.extend(a.operands().into_iter().map(|p| p.buffer)),
        _ => {}
    });
    all
}

/// Calls `f` on every statement, outer ones first.
pub(crate) fn visit(body: &[Stmt], f: &mut dyn FnMut(&Stmt)) {
    for s in body {
        f(s);
        match s {
            Stmt::For { body, .. } => visit(body, f),
            Stmt::If { then, otherwise, .. } => {
                visit(then, f);
                visit(otherwise, f);
            }
            _ => {}
        }
    }
}

impl<'k> Emit<'k> {
    pub fn problem(&mut self, text: String) {
        if !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }

    /// `for tile in block..tiles step blocks { body }`.
    fn body_of_tiles(&mut self, tiles: V, scratch: V, stride: V) {
        let tid = self.tid;
        self.text.line(format_args!("{tid} = nvvm.read.ptx.sreg.tid.x : i32"));
        let block = self.text.define(Ty::I32, "nvvm.read.ptx.sreg.ctaid.x : i32");
        let blocks = self.text.define(Ty::I32, "nvvm.read.ptx.sreg.nctaid.x : i32");
        let (block, blocks) =
            (self.text.resize(block, Ty::I64, false), self.text.resize(blocks, Ty::I64, false));
        self.place_own_memory(scratch, stride, block);
        let tile = self.text.fresh(Ty::I64);
        self.text.line(format_args!("scf.for {tile} = {block} to {tiles} step {blocks} : i64 {{"));
        self.symbols.insert(self.kernel.tile, Symbol::Value(tile));
        let kernel = self.kernel;
        self.body(&kernel.body);
        // The next tile reuses the block's memory.
        if self.layout.has_block_memory {
            self.barrier();
        }
        self.text.line("}");
    }

    pub fn barrier(&mut self) {
        self.text.line("nvvm.barrier0");
    }

    /// Statements; those after a check run only where it holds.
    pub fn body(&mut self, body: &'k [Stmt]) {
        let mut open = 0;
        for (i, stmt) in body.iter().enumerate() {
            match stmt {
                Stmt::Check { cond, message } => {
                    if self.in_threads && body[i + 1..].iter().any(holds_barrier) {
                        self.problem("a barrier behind a check of one thread".into());
                    }
                    self.check(cond, *message);
                    open += 1;
                }
                stmt => self.stmt(stmt),
            }
        }
        (0..open).for_each(|_| self.text.line("}"));
    }

    /// Leaves the branch open in which the condition holds.
    fn check(&mut self, cond: &'k Expr, message: usize) {
        let Some(cond) = self.expr(cond) else { return };
        let t = &mut self.text;
        let no = t.int(Ty::I1, 1);
        let fails = t.op("arith.xori", &[cond.v, no]);
        let status = self.status;
        t.line(format_args!("scf.if {fails} {{"));
        let (zero, code) = (t.int(Ty::I32, 0), t.int(Ty::I32, message as i64 + 1));
        let result = t.fresh(Ty::I32);
        t.line(format_args!(
            "{result} = llvm.cmpxchg {status}, {zero}, {code} monotonic monotonic : !llvm.ptr<1>, i32"
        ));
        t.line("}");
        t.line(format_args!("scf.if {} {{", cond.v));
    }

    fn stmt(&mut self, stmt: &'k Stmt) {
        match stmt {
            Stmt::For { var, extent, kind, body } => self.for_loop(*var, extent, *kind, body),
            Stmt::Bind { symbol, value } => {
                if let Some(value) = self.expr(value) {
                    self.symbols.insert(*symbol, Symbol::Value(value.v));
                }
            }
            Stmt::Let { local, value } => {
                if let Some(value) = self.expr(value) {
                    self.declare(*local, value);
                }
            }
            Stmt::Assign { local, value } => {
                if let Some(value) = self.expr(value) {
                    self.assign(*local, value.v);
                }
            }
            Stmt::Reduce { local, op, value } => {
                let joined = self.reduced(*local, *op, value);
                if let Some(v) = joined {
                    self.assign(*local, v.v);
                }
            }
            Stmt::Store { buffer, at, value } => self.store(*buffer, at, value),
            Stmt::If { cond, then, otherwise } => self.branch(cond, then, otherwise),
            Stmt::Barrier => self.barrier(),
            Stmt::TileAttention(attention) => self.tile_attention(attention),
            Stmt::TileGemm(gemm) => self.tile_gemm(gemm),
            Stmt::GroupReduce { local, op, value, width } => {
                if let Some(value) = self.expr(value)
                    && let Some(all) = self.group_reduce(*op, value, *width)
                {
                    self.declare(*local, all);
                }
            }
            Stmt::Check { .. } => {}
            Stmt::Gemm(_)
            | Stmt::DwConv(_)
            | Stmt::PackB(_)
            | Stmt::MapRow { .. }
            | Stmt::ReduceRow { .. }
            | Stmt::ExpSum { .. } => {
                let headline = self.kernel.stmt_headline(stmt);
                self.problem(format!("'{headline}' is a micro-kernel of CPUs"));
            }
        }
    }

    fn branch(&mut self, cond: &'k Expr, then: &'k [Stmt], otherwise: &'k [Stmt]) {
        let Some(cond) = self.expr(cond) else { return };
        self.text.line(format_args!("scf.if {} {{", cond.v));
        self.body(then);
        if !otherwise.is_empty() {
            self.text.line("} else {");
            self.body(otherwise);
        }
        self.text.line("}");
    }

    /// By the first thread alone in block-level code.
    fn store(&mut self, buffer: BufferId, at: &cascata_types::Dim, value: &'k Expr) {
        let Some(value) = self.expr(value) else { return };
        if self.in_threads {
            return self.write(buffer, at, value);
        }
        let read_back = self.read.contains(&buffer);
        if read_back {
            self.barrier();
        }
        let zero = self.text.int(Ty::I32, 0);
        let first = self.text.cmpi("eq", self.tid, zero);
        self.text.line(format_args!("scf.if {first} {{"));
        self.write(buffer, at, value);
        self.text.line("}");
        if read_back {
            self.barrier();
        }
    }

    fn declare(&mut self, local: LocalId, value: Val) {
        if !self.changing.contains(&local) {
            self.locals.insert(local, Local::Value(value.v));
            return;
        }
        let ty = value.v.ty;
        let memory = match self.locals.get(&local) {
            Some(Local::Memory(memory, _)) => *memory,
            _ => self.text.own_memory(ty, 1),
        };
        self.locals.insert(local, Local::Memory(memory, ty));
        self.assign(local, value.v);
    }

    fn assign(&mut self, local: LocalId, v: V) {
        if let Some(Local::Memory(memory, _)) = self.locals.get(&local).copied() {
            self.text.store(v, memory);
        }
    }

    pub fn local(&mut self, local: LocalId) -> Option<Val> {
        let dtype: DType = self.kernel.locals[local].dtype;
        let v = match *self.locals.get(&local)? {
            Local::Value(v) => v,
            Local::Memory(memory, ty) => self.text.load(memory, ty, false),
        };
        Some(Val { v, dtype })
    }
}

/// Whether a statement is or holds a barrier.
pub(crate) fn holds_barrier(stmt: &Stmt) -> bool {
    let mut found = false;
    visit(std::slice::from_ref(stmt), &mut |s| {
        found |= matches!(s, Stmt::Barrier | Stmt::GroupReduce { .. });
    });
    found
}
