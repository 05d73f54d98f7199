//! What is in scope at a statement, and on which loops it depends.
//!
//! Sets of enclosing loops are bit sets over the nesting depth; loops deeper than 63
//! share the last bit, which can only report too little.

use crate::kernel::{Kernel, LocalId, LoopKind};
use crate::op::BinaryOp;
use cascata_types::{Dim, Entity as _, SymbolId};

/// An enclosing loop.
#[derive(Clone)]
pub(super) struct Loop {
    pub(super) var: SymbolId,
    pub(super) kind: LoopKind,
    /// The number of iterations, where it is a number.
    pub(super) extent: Option<i64>,
    /// More than one iteration, as far as is known.
    pub(super) repeats: bool,
    /// Variables from outside that are reduced in it.
    pub(super) reduced: Vec<(LocalId, BinaryOp)>,
    /// Variables from outside that are read in it.
    pub(super) read: Vec<LocalId>,
}

/// A loop or branch around a statement.
struct Control {
    /// How many loops enclose what it controls.
    depth: usize,
    /// Loops that the extent or the condition depends on.
    loops: u64,
    is_branch: bool,
}

/// A symbol with a value.
#[derive(Clone, Copy)]
pub(super) struct Bound {
    /// Loops that the value depends on.
    pub(super) loops: u64,
    /// How many loops enclosed the bind; 0 for loop variables and parameters, whose
    /// dependence `loops` states exactly.
    bind_depth: usize,
}

/// A declared variable.
#[derive(Clone, Copy)]
struct Declared {
    loops: u64,
    depth: usize,
}

/// What ends with a body.
enum Ended {
    Symbol(SymbolId),
    Local(LocalId),
}

pub(super) struct Scope {
    symbols: Vec<Option<Bound>>,
    locals: Vec<Option<Declared>>,
    pub(super) loops: Vec<Loop>,
    controls: Vec<Control>,
    ends: Vec<Ended>,
}

fn bit(depth: usize) -> u64 {
    1 << depth.min(63)
}

impl Scope {
    pub(super) fn new(kernel: &Kernel) -> Self {
        let mut symbols = vec![None; kernel.symbols.len()];
        for symbol in symbols.iter_mut().take(kernel.params) {
            *symbol = Some(Bound { loops: 0, bind_depth: 0 });
        }
        if let Some(tile) = symbols.get_mut(kernel.tile.index()) {
            *tile = Some(Bound { loops: 0, bind_depth: 0 });
        }
        Self {
            symbols,
            locals: vec![None; kernel.locals.len()],
            loops: Vec::new(),
            controls: Vec::new(),
            ends: Vec::new(),
        }
    }

    pub(super) fn symbol(&self, id: SymbolId) -> Option<Bound> {
        self.symbols.get(id.index()).copied().flatten()
    }

    /// Where a body starts, for [`Scope::leave`].
    pub(super) fn enter(&self) -> usize {
        self.ends.len()
    }

    /// Ends the scope of everything since `mark`.
    pub(super) fn leave(&mut self, mark: usize) {
        for end in self.ends.drain(mark..) {
            match end {
                Ended::Symbol(id) => self.symbols[id.index()] = None,
                Ended::Local(id) => self.locals[id.index()] = None,
            }
        }
    }

    /// Gives a known symbol its value by a bind.
    pub(super) fn bind(&mut self, id: SymbolId, loops: u64) {
        let bind_depth = self.loops.len();
        self.symbols[id.index()] = Some(Bound { loops, bind_depth });
        self.ends.push(Ended::Symbol(id));
    }

    /// Enters a loop; `extent` are the loops that its extent depends on.
    pub(super) fn push_loop(&mut self, entered: Loop, extent: u64) {
        let depth = self.loops.len();
        if let Some(symbol) = self.symbols.get_mut(entered.var.index()) {
            *symbol = Some(Bound { loops: bit(depth), bind_depth: 0 });
            self.ends.push(Ended::Symbol(entered.var));
        }
        self.controls.push(Control { depth: depth + 1, loops: extent, is_branch: false });
        self.loops.push(entered);
    }

    pub(super) fn pop_loop(&mut self) -> Option<Loop> {
        self.controls.pop();
        self.loops.pop()
    }

    pub(super) fn push_branch(&mut self, loops: u64) {
        self.controls.push(Control { depth: self.loops.len(), loops, is_branch: true });
    }

    pub(super) fn pop_branch(&mut self) {
        self.controls.pop();
    }

    /// Whether a known local is in scope.
    pub(super) fn is_declared(&self, id: LocalId) -> bool {
        self.locals[id.index()].is_some()
    }

    /// Declares a known local.
    pub(super) fn declare(&mut self, id: LocalId, loops: u64) {
        self.locals[id.index()] = Some(Declared { loops, depth: self.loops.len() });
        self.ends.push(Ended::Local(id));
    }

    /// Notes that a local in scope is read; returns the loops that it depends on.
    pub(super) fn read(&mut self, id: LocalId) -> u64 {
        let Some(declared) = self.locals[id.index()] else { return 0 };
        for inner in &mut self.loops[declared.depth..] {
            inner.read.push(id);
        }
        declared.loops
    }

    /// Notes that a local in scope changes by a value that depends on `loops`;
    /// returns the loops inside its declaration.
    pub(super) fn change(&mut self, id: LocalId, loops: u64) -> &mut [Loop] {
        let Some(declared) = &mut self.locals[id.index()] else { return &mut [] };
        let depth = declared.depth;
        let controls = self.controls.iter().filter(|c| c.depth > depth);
        declared.loops |= controls.fold(loops, |all, c| all | c.loops);
        &mut self.loops[depth..]
    }

    /// Enclosing loops over threads.
    pub(super) fn thread_loops(&self) -> u64 {
        let threads = self.loops.iter().enumerate().filter(|(_, l)| l.kind == LoopKind::Threads);
        threads.fold(0, |all, (depth, _)| all | bit(depth))
    }

    /// Variables of enclosing vector loops whose iterations all write element `at`.
    pub(super) fn vector_loops_writing_one_element(&self, at: &Dim) -> Vec<SymbolId> {
        let symbols: Vec<Bound> = at.symbols().iter().filter_map(|s| self.symbol(*s)).collect();
        let writes_one = |depth: usize| {
            let differs = |s: &Bound| s.loops & bit(depth) != 0 || s.bind_depth > depth;
            let guarded = self.controls.iter().any(|c| c.is_branch && c.depth > depth);
            !guarded && !symbols.iter().any(differs)
        };
        let vector = |l: &Loop| l.kind == LoopKind::Vector && l.repeats;
        let loops = self.loops.iter().enumerate();
        loops.filter(|(depth, l)| vector(l) && writes_one(*depth)).map(|(_, l)| l.var).collect()
    }

    /// The loop over threads that a statement stands in, when something between them
    /// differs from thread to thread.
    pub(super) fn divergent_threads(&self) -> Option<SymbolId> {
        let is_threads = |l: &Loop| l.kind == LoopKind::Threads;
        let depth = self.loops.iter().position(is_threads)?;
        let inside = |c: &&Control| c.depth > depth + 1 || (c.is_branch && c.depth == depth + 1);
        let diverges = self.controls.iter().filter(inside).any(|c| c.loops & bit(depth) != 0);
        diverges.then(|| self.loops[depth].var)
    }
}
