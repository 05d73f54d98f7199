//! A kernel under construction.

use super::strings::stored;
use super::visit::{Visitor, visit_stmt};
use super::{Group, Launch, LowerError, Lowering, Operand, Variant};
use cascata_ir::graph::{Def, Graph, NodeId, RegionId, ValueId};
use cascata_ir::kernel::{Buffer, BufferId, Expr, Kernel, Local, LocalId, Place, Space, Stmt};
use cascata_types::{DType, Dim, PrimaryMap, SymbolId, SymbolTable};
use std::collections::HashMap;

/// A kernel under construction: its symbols, buffers and locals, the operands
/// they stand for, and statements that must run before an expression is used.
pub(super) struct Body<'l, 'g> {
    pub lowering: &'l mut Lowering<'g>,
    pub graph: &'g Graph,
    region: RegionId,
    node: NodeId,
    pub symbols: SymbolTable,
    buffers: PrimaryMap<BufferId, Buffer>,
    operands: HashMap<BufferId, Operand>,
    by_operand: HashMap<(Operand, Space), BufferId>,
    locals: PrimaryMap<LocalId, Local>,
    pub messages: Vec<String>,
    /// Runs before the statement being built; see [`super::nest`].
    pub prelude: Vec<Stmt>,
    /// Values that the kernel has already computed, as expressions of their index.
    known: HashMap<ValueId, Known>,
    /// Elements that the prelude holds in a variable: an element used more than once is
    /// computed once.
    memo: HashMap<(ValueId, Vec<Dim>), Expr>,
    /// Loop variables and what they count, for tile sizes.
    pub flops: Dim,
    /// Block-quantised constants are read as if they were stored as f32: to find where an
    /// operand lies.
    pub blocks_are_plain: bool,
}

/// A value that the kernel has computed: `expr` at the index held by `axes`.
#[derive(Clone)]
struct Known {
    axes: Vec<SymbolId>,
    expr: Expr,
}

impl<'l, 'g> Body<'l, 'g> {
    pub fn new(lowering: &'l mut Lowering<'g>, group: &Group) -> Self {
        let graph = lowering.graph;
        Body {
            lowering,
            graph,
            region: group.region,
            node: group.node,
            symbols: graph.symbols.clone(),
            buffers: PrimaryMap::new(),
            operands: HashMap::new(),
            by_operand: HashMap::new(),
            locals: PrimaryMap::new(),
            messages: Vec::new(),
            prelude: Vec::new(),
            known: HashMap::new(),
            memo: HashMap::new(),
            flops: Dim::from(0),
            blocks_are_plain: false,
        }
    }

    /// An error that names the group's node.
    pub fn error(&self, reason: impl Into<String>) -> LowerError {
        self.lowering.error(self.node, reason)
    }

    /// The group itself.
    pub fn group(&self) -> Group<'g> {
        let outputs = &self.graph.nodes[self.node].outputs;
        Group { node: self.node, region: self.region, outputs }
    }

    /// The group's own nodes; a bare node of the root region has none beside it.
    pub fn members(&self) -> &'g [NodeId] {
        if self.region == Graph::ROOT { &[] } else { &self.graph.regions[self.region].nodes }
    }

    /// Values that the group hands out.
    pub fn results(&self) -> &'g [ValueId] {
        &self.graph.regions[self.region].results
    }

    /// The enclosing region's value behind a parameter of the group.
    pub fn resolve(&self, v: ValueId) -> ValueId {
        match self.graph.values[v].def {
            Def::Param(region, i) if region == self.region && region != Graph::ROOT => {
                self.graph.nodes[self.node].inputs[i as usize]
            }
            _ => v,
        }
    }

    /// The node inside the group that computes a value.
    pub fn member_of(&self, v: ValueId) -> Option<NodeId> {
        match self.graph.values[v].def {
            Def::Node(id, _) if self.members().contains(&id) => Some(id),
            _ => None,
        }
    }

    /// A new loop variable or bound index in `0..extent`.
    pub fn index(&mut self, hint: &str, extent: &Dim) -> SymbolId {
        let max = extent.bounds(&self.symbols).1.saturating_sub(1).max(0);
        self.symbols.fresh(hint, 0, max)
    }

    /// A new scalar variable.
    pub fn local(&mut self, hint: &str, dtype: DType) -> LocalId {
        let name = format!("{hint}{}", self.locals.len());
        self.locals.push(Local { name, dtype })
    }

    /// The buffer of an operand that is read.
    pub fn input(&mut self, operand: Operand) -> BufferId {
        self.operand(operand, Space::Input)
    }

    /// The buffer of an operand that is written.
    pub fn output(&mut self, operand: Operand) -> BufferId {
        self.operand(operand, Space::Output)
    }

    fn operand(&mut self, operand: Operand, space: Space) -> BufferId {
        let written = self.by_operand.get(&(operand, Space::Output)).copied();
        if let Some(id) = written.or_else(|| self.by_operand.get(&(operand, space)).copied()) {
            return id;
        }
        let (name, dtype, len) = match operand {
            Operand::Value(v) => {
                let ty = self.graph.tensor(v);
                (self.graph.values[v].name.clone(), stored(ty.dtype), ty.elements())
            }
            Operand::Temp(t) => {
                let temp = &self.lowering.temps[t];
                (format!("temp{}", t.0), temp.dtype, temp.len.clone())
            }
            Operand::Weight(w) => self.lowering.weights.describe(w),
        };
        let id = self.buffers.push(Buffer { name, dtype, len, space });
        self.operands.insert(id, operand);
        self.by_operand.insert((operand, space), id);
        id
    }

    /// What a buffer stands for; `None` for scratch.
    pub fn operand_at(&self, buffer: BufferId) -> Option<Operand> {
        self.operands.get(&buffer).copied()
    }

    /// A scratch buffer private to the running thread.
    pub fn scratch(&mut self, name: &str, dtype: DType, len: Dim) -> BufferId {
        self.buffers.push(Buffer { name: name.into(), dtype, len, space: Space::Scratch })
    }

    /// The statements that must run before the expressions built since the last call.
    pub fn take_prelude(&mut self) -> Vec<Stmt> {
        self.memo.clear();
        std::mem::take(&mut self.prelude)
    }

    /// The variable that holds an element already computed in this prelude.
    pub fn remembered(&self, v: ValueId, idx: &[Dim]) -> Option<Expr> {
        self.memo.get(&(v, idx.to_vec())).cloned()
    }

    /// Holds an element in a variable when the group reads its value more than once.
    pub fn remember(&mut self, v: ValueId, idx: &[Dim], value: Expr) -> Expr {
        let reads = self.members().iter().flat_map(|n| &self.graph.nodes[*n].inputs);
        if reads.filter(|i| **i == v).count() < 2 {
            return value;
        }
        let held = self.hoist("x", stored(self.graph.tensor(v).dtype), value);
        self.memo.insert((v, idx.to_vec()), held.clone());
        held
    }

    /// Declares `value` as a variable in the prelude and reads it from then on.
    pub fn hoist(&mut self, hint: &str, dtype: DType, value: Expr) -> Expr {
        if matches!(value, Expr::Const(_) | Expr::Local(_)) {
            return value;
        }
        let local = self.local(hint, dtype);
        self.prelude.push(Stmt::Let { local, value });
        Expr::Local(local)
    }

    /// From now on `v` is read as `expr`, in which `axes` stand for its index.
    pub fn know(&mut self, v: ValueId, axes: &[SymbolId], expr: Expr) {
        self.known.insert(v, Known { axes: axes.to_vec(), expr });
    }

    /// Whether the kernel has already computed `v`.
    pub fn is_known(&self, v: ValueId) -> bool {
        self.known.contains_key(&v)
    }

    /// The expression of a known value at an index.
    pub fn known_at(&self, v: ValueId, idx: &[Dim]) -> Option<Expr> {
        let known = self.known.get(&v)?;
        let at = |s: SymbolId| known.axes.iter().position(|a| *a == s).map(|i| idx[i].clone());
        let mut expr = known.expr.clone();
        super::visit::for_each_dim_in(&mut expr, &mut |d| *d = d.substitute(&at));
        Some(expr)
    }

    /// A check in the prelude.
    pub fn check(&mut self, cond: Expr, message: String) {
        let index = self.messages.iter().position(|m| *m == message).unwrap_or_else(|| {
            self.messages.push(message);
            self.messages.len() - 1
        });
        self.prelude.push(Stmt::Check { cond, message: index });
    }

    /// Finishes the kernel and appends its launch.
    pub fn finish(mut self, name: &str, grid: Grid, mut stmts: Vec<Stmt>) {
        debug_assert!(self.prelude.is_empty(), "prelude statements were not placed");
        let (order, operands) = self.launch_order();
        let mut renumber = Renumber(&order);
        stmts.iter_mut().for_each(|s| visit_stmt(s, &mut renumber));
        hold_extents(&mut self.symbols, &stmts);
        let mut slots: Vec<Option<Buffer>> = vec![None; order.len()];
        for (id, buffer) in self.buffers.iter() {
            slots[order[&id].0 as usize] = Some(buffer.clone());
        }
        let bytes = operands.iter().zip(&slots).fold(Dim::from(0), |sum, (_, buffer)| {
            let buffer = buffer.as_ref().expect("every slot is filled");
            sum + buffer.len.clone() * buffer.dtype.size_bytes().unwrap_or(0) as i64
        });
        let kernel = Kernel {
            name: format!("{name}_{}", self.lowering.launches.len()),
            params: self.graph.symbols.len(),
            buffers: slots.into_iter().flatten().collect(),
            locals: std::mem::take(&mut self.locals),
            grid: grid.tiles,
            tile: grid.tile,
            body: stmts,
            messages: std::mem::take(&mut self.messages),
            symbols: std::mem::take(&mut self.symbols),
        };
        let (flops, min_tiles) = (self.flops, grid.min_tiles);
        let variants = vec![Variant { guard: vec![], kernel, min_tiles }];
        self.lowering.launches.push(Launch { variants, operands, flops, bytes });
    }

    /// New buffer ids: operands first, scratch after.
    fn launch_order(&self) -> (HashMap<BufferId, BufferId>, Vec<Operand>) {
        let (operands, scratch): (Vec<BufferId>, Vec<BufferId>) =
            self.buffers.ids().partition(|id| self.operands.contains_key(id));
        let order = operands.iter().chain(&scratch).enumerate();
        let order = order.map(|(i, id)| (*id, BufferId(i as u32))).collect();
        (order, operands.iter().map(|id| self.operands[id]).collect())
    }
}

/// Widens the ranges of loop variables that count more than they were made for: axes are
/// merged after their variables are made.
fn hold_extents(symbols: &mut SymbolTable, stmts: &[Stmt]) {
    for stmt in stmts {
        match stmt {
            Stmt::For { var, extent, body, .. } => {
                let last = extent.bounds(symbols).1.saturating_sub(1);
                let symbol = symbols.get_mut(*var);
                symbol.max = symbol.max.max(last);
                hold_extents(symbols, body);
            }
            Stmt::If { then, otherwise, .. } => {
                hold_extents(symbols, then);
                hold_extents(symbols, otherwise);
            }
            _ => {}
        }
    }
}

/// How a kernel's tiles are counted.
pub(super) struct Grid {
    pub tile: SymbolId,
    pub tiles: Dim,
    pub min_tiles: i64,
}

struct Renumber<'m>(&'m HashMap<BufferId, BufferId>);

impl Visitor for Renumber<'_> {
    fn dim(&mut self, _: &mut Dim) {}
    fn place(&mut self, place: &mut Place) {
        place.buffer = self.0[&place.buffer];
    }
}

/// Row-major strides in elements.
pub(super) fn strides(shape: &[Dim]) -> Vec<Dim> {
    let mut out = vec![Dim::from(1); shape.len()];
    for i in (1..shape.len()).rev() {
        out[i - 1] = out[i].clone() * shape[i].clone();
    }
    out
}

/// `Σ idx·stride`.
pub(super) fn dot(idx: &[Dim], strides: &[Dim]) -> Dim {
    idx.iter().zip(strides).fold(Dim::from(0), |sum, (i, s)| sum + i.clone() * s.clone())
}
