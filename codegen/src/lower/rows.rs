//! RowReduce groups over trailing axes: softmax, LayerNorm, RmsNorm, reductions.
//!
//! Bound by bytes: each operand and result once. The row is computed once into L1 (or
//! read in place when it lies in memory as it is), reduced there, and the element-wise
//! rest is applied on the way out: 2 or 3 passes over L1, 1 over memory. Variance is the
//! mean of squared distances from the mean (two passes in L1), not E[x²] − E[x]².
//! Error: sums of N f32 terms in 16 or more partial sums, ≤ (N/16 + 16)·2⁻²⁴ relative.

use super::access::{binary, cast};
use super::body::{Body, dot, strides};
use super::epilogue::bind_axes;
use super::nest::{Axis, estimate, merge_axes, nest};
use super::{Group, LowerError, Lowering, Operand, columns};
use cascata_ir::graph::{Node, ValueId};
use cascata_ir::kernel::{Expr, LocalId, LoopKind, Place, RowReduce, Stmt};
use cascata_ir::op::{BinaryOp, Op, ReduceOp, UnaryOp};
use cascata_types::{DType, Dim, Scalar, SymbolId};

pub(super) fn lower(lowering: &mut Lowering, group: &Group) -> Result<(), LowerError> {
    let node = lowering.graph.nodes[lowering.root(group)].clone();
    let rank = lowering.graph.tensor(node.inputs[0]).rank();
    let axis = match &node.op {
        Op::Softmax { axis } if *axis + 1 == rank => *axis,
        Op::LayerNorm { axis, .. } | Op::RmsNorm { axis, .. } => *axis,
        Op::Reduce { axes, .. } => {
            let first = rank - axes.len();
            if axes.first() != Some(&first) {
                return columns::lower(lowering, group);
            }
            first
        }
        op => {
            let reason = "its rows are not the last axes";
            return Err(LowerError {
                node: node.source.clone(),
                op: op.name(),
                reason: reason.into(),
            });
        }
    };
    let name = super::map::name(lowering, group);
    let row = Row::new(Body::new(lowering, group), &node, axis)?;
    row.lower(&name, group.outputs[0])
}

/// A row kernel under construction.
struct Row<'l, 'g, 'n> {
    body: Body<'l, 'g>,
    node: &'n Node,
    outer: Vec<Axis>,
    inner: Vec<Dim>,
    /// Element `j` of the row.
    source: Source,
    stmts: Vec<Stmt>,
}

/// Where the row lies: first element, contiguous.
struct Source {
    place: Place,
    dtype: DType,
}

impl<'l, 'g, 'n> Row<'l, 'g, 'n> {
    /// Sees the row in memory, or computes it into scratch.
    fn new(mut body: Body<'l, 'g>, node: &'n Node, axis: usize) -> Result<Self, LowerError> {
        let x = node.inputs[0];
        let shape = body.shape(x);
        let dtype = body.graph.tensor(x).dtype;
        let outer = body.axes(&shape[..axis]);
        let inner = shape[axis..].to_vec();
        let axes = body.axes(&inner);
        let mut idx: Vec<Dim> = outer.iter().chain(&axes).map(|a| Dim::sym(a.var)).collect();
        let value = body.value_at(x, &idx)?;
        let dense = strides(&inner);
        let in_place = match &value {
            Expr::Load(place) if body.prelude.is_empty() => contiguous(place, &axes, &dense),
            _ => None,
        };
        if let Some(place) = in_place {
            return Ok(Self {
                body,
                node,
                outer,
                inner,
                source: Source { place, dtype },
                stmts: vec![],
            });
        }
        let len = inner.iter().fold(Dim::from(1), |n, d| n * d.clone());
        let row = body.scratch("row", dtype, len);
        let flat = dot(&idx.split_off(outer.len()), &dense);
        let store = Stmt::Store { buffer: row, at: flat, value };
        let prelude = body.take_prelude();
        let stmts = inner_loop(axes, prelude, vec![store]);
        let place = Place { buffer: row, at: Dim::from(0) };
        Ok(Self { body, node, outer, inner, source: Source { place, dtype }, stmts })
    }

    fn len(&self) -> Dim {
        self.inner.iter().fold(Dim::from(1), |n, d| n * d.clone())
    }

    /// The row's length as a number of its dtype.
    fn count(&self) -> Expr {
        cast(self.source.dtype, DType::I64, Expr::Index(self.len()))
    }

    fn element(&self, j: &Dim) -> Expr {
        let at = self.source.place.at.clone() + j.clone();
        Expr::Load(Place { buffer: self.source.place.buffer, at })
    }

    fn lower(mut self, name: &str, output: ValueId) -> Result<(), LowerError> {
        match self.node.op.clone() {
            Op::Softmax { .. } => self.softmax(),
            Op::LayerNorm { epsilon, .. } => self.layer_norm(epsilon)?,
            Op::RmsNorm { epsilon, .. } => self.rms_norm(epsilon)?,
            Op::Reduce { op, .. } => return self.reduce(op, name, output),
            _ => {}
        }
        self.store_row(output)?;
        self.finish(name);
        Ok(())
    }

    fn variable(&mut self, hint: &str, value: Expr) -> LocalId {
        let local = self.body.local(hint, self.source.dtype);
        self.stmts.push(Stmt::Let { local, value });
        local
    }

    /// `Σ f(x_j)` or another reduction over the row, vectorised.
    fn accumulate(&mut self, op: BinaryOp, start: Scalar, f: impl Fn(Expr) -> Expr) -> LocalId {
        let local = self.variable("acc", Expr::Const(start));
        let n = self.len();
        let j = Axis { var: self.body.index("j", &n), extent: n };
        let value = f(self.element(&Dim::sym(j.var)));
        let step = Stmt::Reduce { local, op, value };
        self.stmts.push(Stmt::For {
            var: j.var,
            extent: j.extent,
            kind: LoopKind::Vector,
            body: vec![step],
        });
        local
    }

    fn row_reduce(&mut self, op: RowReduce) -> LocalId {
        let local = self.body.local("acc", DType::F32);
        let (src, n) = (self.source.place.clone(), self.len());
        self.stmts.push(Stmt::ReduceRow { local, op, src, n });
        local
    }

    fn sum(&mut self) -> LocalId {
        match self.source.dtype {
            DType::F32 => self.row_reduce(RowReduce::Sum),
            dtype => self.accumulate(BinaryOp::Add, Scalar::from_i64(dtype, 0), |x| x),
        }
    }

    /// A reduction in another dtype than the operand's.
    fn wide(&mut self, op: ReduceOp, sums: DType) -> LocalId {
        let local = self.body.local("acc", sums);
        self.stmts.push(Stmt::Let { local, value: Expr::Const(columns::neutral(op, sums)) });
        let n = self.len();
        let j = self.body.index("j", &n);
        let value = cast(sums, self.source.dtype, self.element(&Dim::sym(j)));
        let step = Stmt::assign(local, binary(columns::joins(op), Expr::Local(local), value));
        self.stmts.push(Stmt::serial(j, n, vec![step]));
        local
    }

    fn max(&mut self) -> LocalId {
        match self.source.dtype {
            DType::F32 => self.row_reduce(RowReduce::Max),
            dtype => self.accumulate(BinaryOp::Max, columns::neutral(ReduceOp::Max, dtype), |x| x),
        }
    }

    /// Leaves `e^(x − max)` in scratch; the division is deferred to the way out.
    fn softmax(&mut self) {
        let max = self.max();
        let dtype = self.source.dtype;
        let n = self.len();
        let row = self.body.scratch("numerator", dtype, n.clone());
        let dst = Place { buffer: row, at: Dim::from(0) };
        let sum = if dtype == DType::F32 {
            let local = self.body.local("sum", dtype);
            let (src, bias) = (self.source.place.clone(), Expr::Local(max));
            self.stmts.push(Stmt::ExpSum { local, dst, src, n, bias });
            local
        } else {
            let j = self.body.index("j", &n);
            let shifted = binary(BinaryOp::Sub, self.element(&Dim::sym(j)), Expr::Local(max));
            let value = Expr::Unary(UnaryOp::Exp, shifted.into());
            let store = Stmt::Store { buffer: row, at: Dim::sym(j), value };
            self.stmts.push(Stmt::For {
                var: j,
                extent: n,
                kind: LoopKind::Vector,
                body: vec![store],
            });
            self.source.place = dst;
            self.sum()
        };
        self.source.place = Place { buffer: row, at: Dim::from(0) };
        let one = Expr::Const(Scalar::from_i64(dtype, 1));
        let inverse = self.variable("inv", binary(BinaryOp::Div, one, Expr::Local(sum)));
        self.know_elements(move |x, _| Ok(binary(BinaryOp::Mul, x, Expr::Local(inverse)))).ok();
    }

    fn layer_norm(&mut self, epsilon: Scalar) -> Result<(), LowerError> {
        let sum = self.sum();
        let count = self.count();
        let mean = self.variable("mean", binary(BinaryOp::Div, Expr::Local(sum), count.clone()));
        let zero = Scalar::from_i64(self.source.dtype, 0);
        let squares = self.accumulate(BinaryOp::Add, zero, |x| {
            let d = binary(BinaryOp::Sub, x, Expr::Local(mean));
            binary(BinaryOp::Mul, d.clone(), d)
        });
        let scale = self.reciprocal_root(squares, count, epsilon);
        self.know_elements(move |x, _| {
            let d = binary(BinaryOp::Sub, x, Expr::Local(mean));
            Ok(binary(BinaryOp::Mul, d, Expr::Local(scale)))
        })
    }

    fn rms_norm(&mut self, epsilon: Scalar) -> Result<(), LowerError> {
        let count = self.count();
        let squares = match self.source.dtype {
            DType::F32 => self.row_reduce(RowReduce::SumSq),
            dtype => self.accumulate(BinaryOp::Add, Scalar::from_i64(dtype, 0), |x| {
                binary(BinaryOp::Mul, x.clone(), x)
            }),
        };
        let scale = self.reciprocal_root(squares, count, epsilon);
        self.know_elements(move |x, _| Ok(binary(BinaryOp::Mul, x, Expr::Local(scale))))
    }

    /// `1/√(sum/count + ε)`.
    fn reciprocal_root(&mut self, sum: LocalId, count: Expr, epsilon: Scalar) -> LocalId {
        let epsilon = Scalar::from_f64(self.source.dtype, epsilon.to_f64());
        let mean = binary(BinaryOp::Div, Expr::Local(sum), count);
        let shifted = binary(BinaryOp::Add, mean, Expr::Const(epsilon));
        self.variable("scale", Expr::Unary(UnaryOp::Rsqrt, shifted.into()))
    }

    /// Tells the body what the root's elements are: `f(row[j])`, times scale and plus bias
    /// where the op has them.
    fn know_elements(
        &mut self,
        f: impl Fn(Expr, &Dim) -> Result<Expr, LowerError>,
    ) -> Result<(), LowerError> {
        let axes = self.body.axes(&self.inner.clone());
        let idx: Vec<Dim> = axes.iter().map(|a| Dim::sym(a.var)).collect();
        let flat = dot(&idx, &strides(&self.inner));
        let mut value = f(self.element(&flat), &flat)?;
        let affine = matches!(self.node.op, Op::LayerNorm { .. } | Op::RmsNorm { .. });
        for (v, op) in self.node.inputs[1..].iter().zip([BinaryOp::Mul, BinaryOp::Add]) {
            if affine {
                let operand = self.body.value_at(*v, &idx)?;
                value = binary(op, value, operand);
            }
        }
        let vars: Vec<SymbolId> = self.outer.iter().chain(&axes).map(|a| a.var).collect();
        self.body.know(self.node.outputs[0], &vars, value);
        Ok(())
    }

    /// The way out: the rest of the group element by element.
    fn store_row(&mut self, output: ValueId) -> Result<(), LowerError> {
        let (last, store) = self.body.store_strides(self.body.results()[0]);
        let axes = self.body.axes(&self.inner.clone());
        let idx: Vec<Dim> = self.outer.iter().chain(&axes).map(|a| Dim::sym(a.var)).collect();
        if self.body.graph.tensor(last).rank() != idx.len() {
            return Err(self.body.error("the epilogue changes the shape before its last op"));
        }
        let value = self.body.value_at(last, &idx)?;
        let buffer = self.body.output(Operand::Value(output));
        let stmt = Stmt::Store { buffer, at: dot(&idx, &store), value };
        let prelude = self.body.take_prelude();
        self.stmts.extend(inner_loop(axes, prelude, vec![stmt]));
        Ok(())
    }

    fn reduce(mut self, op: ReduceOp, name: &str, output: ValueId) -> Result<(), LowerError> {
        let dtype = self.source.dtype;
        let sums = columns::sums(op, dtype);
        let local = match op {
            _ if sums != dtype => self.wide(op, sums),
            ReduceOp::Sum | ReduceOp::Mean => self.sum(),
            ReduceOp::Max => self.max(),
            op => self.accumulate(columns::joins(op), columns::neutral(op, dtype), |x| x),
        };
        let value = match op {
            ReduceOp::Mean => {
                let count = cast(sums, DType::I64, Expr::Index(self.len()));
                binary(BinaryOp::Div, Expr::Local(local), count)
            }
            _ => Expr::Local(local),
        };
        let value = cast(dtype, sums, value);
        let result = self.node.outputs[0];
        let kept = self.body.graph.tensor(result).rank() - self.outer.len();
        let unit = self.body.axes(&vec![Dim::from(1); kept]);
        let vars: Vec<SymbolId> = self.outer.iter().chain(&unit).map(|a| a.var).collect();
        self.body.know(result, &vars, value);
        let (last, store) = self.body.store_strides(self.body.results()[0]);
        let mut idx: Vec<Dim> = self.outer.iter().map(|a| Dim::sym(a.var)).collect();
        idx.resize(vars.len(), Dim::from(0));
        let value = self.body.value_at(last, &idx)?;
        let buffer = self.body.output(Operand::Value(output));
        let prelude = self.body.take_prelude();
        self.stmts.extend(prelude);
        self.stmts.push(Stmt::Store { buffer, at: dot(&idx, &store), value });
        self.finish(name);
        Ok(())
    }

    /// Loops over rows, several to a tile.
    fn finish(mut self, name: &str) {
        let n = self.len();
        let per_row = estimate(&n, &self.body.symbols);
        let rows_per_tile = (self.body.lowering.machine.row_tile() / per_row).max(1);
        merge_axes(&mut self.outer, &mut [], &mut self.stmts);
        let total = self.outer.iter().fold(Dim::from(1), |p, a| p * a.extent.clone());
        let tiles = total.ceil_div(&rows_per_tile.into());
        let tile = Axis { var: self.body.index("tile", &tiles), extent: tiles };
        let first = Dim::sym(tile.var) * rows_per_tile;
        let extent = (total - first.clone()).minimum(&rows_per_tile.into());
        let r = Axis { var: self.body.index("r", &rows_per_tile.into()), extent };
        let mut binds = bind_axes(&self.outer, &(first + Dim::sym(r.var)));
        binds.extend(self.stmts);
        // Each element is touched about four times.
        let (grid, mut head) = self.body.grid(&[tile], 4 * rows_per_tile * per_row);
        head.push(Stmt::For { var: r.var, extent: r.extent, kind: LoopKind::Serial, body: binds });
        self.body.flops = grid.tiles.clone() * (rows_per_tile * 4) * n;
        self.body.finish(name, grid, head);
    }
}

/// The first element of a load that steps through memory one by one.
fn contiguous(place: &Place, axes: &[Axis], dense: &[Dim]) -> Option<Place> {
    let mut at = place.at.clone();
    for (axis, stride) in axes.iter().zip(dense) {
        let (step, rest) = at.linear_in(axis.var)?;
        if step != *stride && !axis.extent.is(1) {
            return None;
        }
        at = rest;
    }
    Some(Place { buffer: place.buffer, at })
}

/// Loops over the axes of a row, merged where they can be; the innermost is a vector loop.
pub(super) fn inner_loop(
    mut axes: Vec<Axis>,
    mut prelude: Vec<Stmt>,
    mut inner: Vec<Stmt>,
) -> Vec<Stmt> {
    merge_axes(&mut axes, &mut prelude, &mut inner);
    let last = axes.len().saturating_sub(1);
    let kinds = |i: usize| if i == last { LoopKind::Vector } else { LoopKind::Serial };
    let loops = axes.into_iter().enumerate().map(|(i, a)| (a, kinds(i))).collect();
    nest(loops, prelude, inner)
}
