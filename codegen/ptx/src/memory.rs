//! Where buffers lie, and their elements.
//!
//! Operands come as addresses. A block's own buffers (shared ones, and scratch that block-level
//! code uses) are in shared memory where their sizes are numbers and fit, the others behind
//! each other in the block's part of the launch's scratch memory. Scratch that only threads
//! use is each thread's own.

use crate::emit::{Emit, visit};
use crate::scalar::Val;
use crate::text::{Ty, V};
use cascata_ir::kernel::{BufferId, Expr, Kernel, LoopKind, Space, Stmt};
use cascata_types::{DType, Dim};
use std::collections::HashSet;

/// What a kernel may declare; more must be asked for at the launch.
const STATIC_SHARED: u32 = 48 << 10;
/// What a block has at most, on every target.
pub(crate) const MOST_SHARED: i64 = 160 << 10;
/// Where shared memory starts; the swizzle of `wgmma` repeats after as many bytes.
const SHARED_ALIGN: i64 = 1024;
/// Buffers start at multiples of this.
const ALIGN: i64 = 16;
/// What warps exchange in a reduction over more than one.
const EXCHANGE_BYTES: i64 = 256;

/// The places of a kernel's buffers.
pub(crate) struct Layout {
    /// Operands in launch order.
    pub operands: Vec<BufferId>,
    /// In shared memory, with their first byte.
    shared: Vec<(BufferId, i64)>,
    /// In the block's scratch memory, with their first byte.
    scratch: Vec<(BufferId, Dim)>,
    /// Each thread's own.
    own: Vec<BufferId>,
    pub shared_bytes: u32,
    pub scratch_bytes: Dim,
    exchange: Option<i64>,
    /// Whether the first bytes are for tiles.
    has_tiles: bool,
    pub has_block_memory: bool,
}

impl Layout {
    pub fn new(kernel: &Kernel, threads: u32) -> Self {
        let of_block = used_by_block(kernel);
        let mut layout = Layout {
            operands: vec![],
            shared: vec![],
            scratch: vec![],
            own: vec![],
            shared_bytes: 0,
            scratch_bytes: Dim::from(0),
            exchange: None,
            has_tiles: false,
            has_block_memory: false,
        };
        let mut end = i64::from(crate::tile::shared_bytes(kernel));
        layout.has_tiles = end > 0;
        if exchanges(&kernel.body) {
            layout.exchange = Some(end);
            end += EXCHANGE_BYTES.max(i64::from(threads) / 4);
        }
        for (id, buffer) in kernel.buffers.iter() {
            match buffer.space {
                Space::Input | Space::Output => layout.operands.push(id),
                Space::Scratch if !of_block.contains(&id) => layout.own.push(id),
                Space::Scratch | Space::Shared => {
                    let bytes = buffer.len.clone() * buffer.dtype.stored_bytes() as i64;
                    let aligned = bytes.ceil_div(&ALIGN.into()) * ALIGN;
                    match aligned.as_const().filter(|b| end + b <= MOST_SHARED) {
                        Some(bytes) => {
                            layout.shared.push((id, end));
                            end += bytes;
                        }
                        None => {
                            layout.scratch.push((id, layout.scratch_bytes.clone()));
                            layout.scratch_bytes = layout.scratch_bytes.clone() + aligned;
                        }
                    }
                }
            }
        }
        layout.shared_bytes = end as u32;
        layout.has_block_memory = end > 0 || !layout.scratch.is_empty();
        layout
    }

    /// Whether the launch must give the shared memory.
    pub fn is_dynamic(&self) -> bool {
        self.shared_bytes > STATIC_SHARED
    }

    /// The declaration of the shared memory.
    pub fn globals(&self, kernel: &Kernel) -> String {
        if self.shared_bytes == 0 {
            return String::new();
        }
        let (linkage, bytes) =
            if self.is_dynamic() { ("external", 0) } else { ("internal", self.shared_bytes) };
        format!(
            "llvm.mlir.global {linkage} @{}_shared() {{addr_space = 3 : i32, alignment = {SHARED_ALIGN} : i64}} \
             : !llvm.array<{bytes} x i8>\n",
            kernel.name
        )
    }
}

/// Whether some reduction goes over more than a warp.
fn exchanges(body: &[Stmt]) -> bool {
    let mut found = false;
    visit(body, &mut |s| {
        found |= matches!(s, Stmt::GroupReduce { width, .. } if *width > 32);
    });
    found
}

/// Buffers that statements outside of loops over threads use.
fn used_by_block(kernel: &Kernel) -> HashSet<BufferId> {
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
    fn walk(body: &[Stmt], all: &mut HashSet<BufferId>) {
        for s in body {
            match s {
                Stmt::For { kind: LoopKind::Threads, .. } => {}
                Stmt::For { body, .. } => walk(body, all),
                Stmt::If { cond, then, otherwise } => {
                    of(cond, all);
                    walk(then, all);
                    walk(otherwise, all);
                }
                Stmt::Store { buffer, value, .. } => {
                    all.insert(*buffer);
                    of(value, all);
                }
                Stmt::Bind { value, .. }
                | Stmt::Let { value, .. }
                | Stmt::Assign { value, .. }
                | Stmt::Reduce { value, .. }
                | Stmt::Check { cond: value, .. } => of(value, all),
                _ => {}
            }
        }
    }
    let mut all = HashSet::new();
    walk(&kernel.body, &mut all);
    all
}

impl<'k> Emit<'k> {
    /// Gives the block's and the thread's own buffers their addresses.
    pub fn place_own_memory(&mut self, scratch: V, stride: V, block: V) {
        if self.layout.shared_bytes > 0 {
            let name = format!("llvm.mlir.addressof @{}_shared : !llvm.ptr<3>", self.kernel.name);
            let base = self.text.define(Ty::Shared, name);
            for (id, offset) in self.layout.shared.clone() {
                let at = self.bytes_behind(base, offset);
                self.bases.insert(id, at);
            }
            self.tile_memory = self.layout.has_tiles.then_some(base);
            if let Some(offset) = self.layout.exchange {
                let at = self.bytes_behind(base, offset);
                self.exchange = Some(at);
            }
        }
        if !self.layout.scratch.is_empty() {
            let offset = self.text.op("arith.muli", &[block, stride]);
            let base = self.text.offset(scratch, offset);
            for (id, offset) in self.layout.scratch.clone() {
                let offset = self.dim(&offset);
                let at = self.text.offset(base, offset);
                self.bases.insert(id, at);
            }
        }
        for id in self.layout.own.clone() {
            let buffer = &self.kernel.buffers[id];
            let Some(len) = buffer.len.as_const() else {
                self.problem(format!("'{}' is a thread's own and has no known size", buffer.name));
                continue;
            };
            let at = self.text.own_memory(Ty::stored(buffer.dtype), len.max(1));
            self.bases.insert(id, at);
        }
    }

    fn bytes_behind(&mut self, base: V, offset: i64) -> V {
        let offset = self.text.int(Ty::I32, offset);
        self.text.offset(base, offset)
    }

    /// The address of an element.
    fn element(&mut self, buffer: BufferId, at: &Dim) -> Option<V> {
        let size = self.kernel.buffers[buffer].dtype.stored_bytes() as i64;
        let Some(base) = self.bases.get(&buffer).copied() else {
            self.problem(format!("'{}' has no memory", self.kernel.buffers[buffer].name));
            return None;
        };
        let offset = self.dim(&(at.clone() * size));
        Some(self.text.offset(base, offset))
    }

    /// An element as a value.
    pub fn read(&mut self, buffer: BufferId, at: &Dim) -> Option<Val> {
        let (dtype, space) = (self.kernel.buffers[buffer].dtype, self.kernel.buffers[buffer].space);
        let address = self.element(buffer, at)?;
        let stored = self.text.load(address, Ty::stored(dtype), space == Space::Input);
        let v = match dtype {
            DType::Bool => {
                let zero = self.text.int(Ty::I8, 0);
                self.text.cmpi("ne", stored, zero)
            }
            DType::F16 | DType::BF16 => self.text.convert("arith.extf", stored, Ty::F32),
            _ => stored,
        };
        Some(Val { v, dtype })
    }

    /// Writes an element.
    pub fn write(&mut self, buffer: BufferId, at: &Dim, value: Val) {
        let dtype = self.kernel.buffers[buffer].dtype;
        if dtype != value.dtype {
            return self.problem(format!("a store of {} into {dtype}", value.dtype));
        }
        let Some(address) = self.element(buffer, at) else { return };
        let stored = match dtype {
            DType::Bool => self.text.resize(value.v, Ty::I8, false),
            DType::F16 | DType::BF16 => {
                self.text.convert("arith.truncf", value.v, Ty::stored(dtype))
            }
            _ => value.v,
        };
        self.text.store(stored, address);
    }
}
