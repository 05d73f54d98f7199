//! Shape and type inference: the one statement of every op's typing rule.
//!
//! [`infer`] never panics, whatever attributes and operands it is given. What it
//! can prove wrong is an [`InferError`]; what must hold but depends on symbols
//! becomes a [`DimCheck`]. Result types depend on operand types and attributes
//! only (not on the ranges of symbols), so that narrowing a range later does not
//! change a type.

use crate::graph::{DimCheck, Graph, NodeId, RegionId, ValueId};
use crate::op::Op;
use cascata_types::{DType, Dim, Encoding, Shape, SymbolTable, TensorType, ValueType};

mod composite;
mod contract;
mod control;
mod elementwise;
mod movement;
mod reduce;
mod text;

/// The outcome of [`infer`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inferred {
    /// One type per result.
    pub types: Vec<ValueType>,
    /// What must hold once symbols are bound.
    pub checks: Vec<DimCheck>,
}

/// A typing rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{op}({}): {rule}; {fix}", at(.node), .operands.join(", "))]
pub struct InferError {
    /// The source node, when known.
    pub node: String,
    /// The op's printed name.
    pub op: &'static str,
    /// Operand types as text.
    pub operands: Vec<String>,
    /// The rule that is broken, with the numbers that break it.
    pub rule: String,
    /// What to do about it.
    pub fix: String,
}

fn at(node: &str) -> String {
    if node.is_empty() { String::new() } else { format!("node '{node}': ") }
}

/// Result types of `op` on operands of the given types, and the checks that go with them.
///
/// `graph` supplies constants and the regions that `op` owns.
///
/// # Errors
/// A rule that provably does not hold.
pub fn infer(
    op: &Op,
    inputs: &[&ValueType],
    symbols: &SymbolTable,
    graph: &Graph,
) -> Result<Inferred, InferError> {
    let mut ctx = Ctx { op, inputs, symbols, graph, checks: Vec::new() };
    let types = ctx.dispatch()?;
    ctx.reject_negative_dims(&types)?;
    Ok(Inferred { types, checks: ctx.checks })
}

impl Graph {
    /// Infers the results of `op`, appends it to `region` and records its checks.
    /// An empty `source` becomes the op's name and its first result.
    ///
    /// # Errors
    /// The op's typing rule does not hold; the graph is then unchanged.
    pub fn add(
        &mut self,
        region: RegionId,
        op: Op,
        inputs: Vec<ValueId>,
        source: impl Into<String>,
    ) -> Result<Vec<ValueId>, InferError> {
        let mut source = source.into();
        if source.is_empty() {
            source = format!("{} {}", op.name(), self.values.next_id());
        }
        let types: Vec<&ValueType> = inputs.iter().map(|&v| self.ty(v)).collect();
        let inferred = infer(&op, &types, &self.symbols, self)
            .map_err(|e| InferError { node: source.clone(), ..e })?;
        for check in inferred.checks {
            let what = format!("{source}: {}", check.what);
            self.add_check(region, DimCheck { what, ..check });
        }
        Ok(self.add_node_typed(region, op, inputs, inferred.types, source))
    }

    /// [`Graph::add`] for an op with one result (the first one is returned).
    ///
    /// # Errors
    /// As [`Graph::add`]; also when the op has no result.
    pub fn add1(
        &mut self,
        region: RegionId,
        op: Op,
        inputs: Vec<ValueId>,
        source: impl Into<String>,
    ) -> Result<ValueId, InferError> {
        let name = op.name();
        let results = self.add(region, op, inputs, source)?;
        results.first().copied().ok_or_else(|| InferError {
            node: String::new(),
            op: name,
            operands: vec![],
            rule: "the op has no result".into(),
            fix: "use Graph::add".into(),
        })
    }

    /// Records a check of a region unless it has the same equation already.
    pub fn add_check(&mut self, region: RegionId, check: DimCheck) {
        let known = |c: &DimCheck| {
            (c.lhs == check.lhs && c.rhs == check.rhs) || (c.lhs == check.rhs && c.rhs == check.lhs)
        };
        let checks = &mut self.regions[region].checks;
        if !checks.iter().any(known) {
            checks.push(check);
        }
    }

    /// The inferred outcome for a node that is already in the graph.
    ///
    /// # Errors
    /// The op's typing rule does not hold.
    pub fn infer_node(&self, node: NodeId) -> Result<Inferred, InferError> {
        let node = &self.nodes[node];
        let types: Vec<&ValueType> = node.inputs.iter().map(|&v| self.ty(v)).collect();
        infer(&node.op, &types, &self.symbols, self)
            .map_err(|e| InferError { node: node.source.clone(), ..e })
    }
}

type Types = Result<Vec<ValueType>, InferError>;

/// One inference: the question, and the checks collected on the way.
struct Ctx<'a> {
    op: &'a Op,
    inputs: &'a [&'a ValueType],
    symbols: &'a SymbolTable,
    graph: &'a Graph,
    checks: Vec<DimCheck>,
}

impl<'a> Ctx<'a> {
    /// Long because it is one exhaustive match.
    fn dispatch(&mut self) -> Types {
        match self.op {
            Op::Const(id) => self.constant(*id),
            Op::Fill { value, shape } => self.fill(value.dtype, shape),
            Op::DimValues { dims, scalar } => self.dim_values(dims, *scalar),
            Op::Iota { dtype, shape, axis } => self.iota(*dtype, shape, *axis),
            Op::Random(attrs) => self.random(attrs),
            Op::Unary(op) => self.unary(*op),
            Op::Binary(op) => self.binary(*op),
            Op::Select => self.select(),
            Op::Cast { to } => self.cast(*to),
            Op::BitCast { to } => self.bit_cast(*to),
            Op::Reshape { shape } => self.reshape(shape),
            Op::Transpose { perm } => self.transpose(perm),
            Op::Broadcast { shape } => self.broadcast_to(shape),
            Op::Concat { axis } => self.concat(*axis),
            Op::Slice { ranges } => self.slice(ranges),
            Op::Pad { pads, mode } => self.pad(pads, *mode),
            Op::Gather { axis } => self.gather(*axis),
            Op::GatherElements { axis } => self.gather_elements(*axis),
            Op::GatherNd { batch_dims } => self.gather_nd(*batch_dims),
            Op::ScatterElements { axis, .. } => self.scatter_elements(*axis),
            Op::ScatterNd { .. } => self.scatter_nd(),
            Op::Resize(attrs) => self.resize(attrs),
            Op::Pack { encoding } => self.pack(encoding),
            Op::TextConcat => self.text_concat(),
            Op::TextCase { .. } => self.text_map(DType::Str),
            Op::TextMatch { .. } => self.text_map(DType::Bool),
            Op::TextCount { .. } => self.text_map(DType::I64),
            Op::TextSplit { parts, .. } => self.text_split(parts),
            Op::Reduce { op, axes, keep_dims } => self.reduce(*op, axes, *keep_dims),
            Op::ArgReduce { axis, keep_dims, .. } => self.arg_reduce(*axis, *keep_dims),
            Op::CumSum { axis, .. } => self.cum_sum(*axis),
            Op::TopK { k, axis, .. } => self.top_k(k, *axis),
            Op::NonZero { count } => self.non_zero(*count),
            Op::NonMaxSuppression { count, .. } => self.non_max_suppression(*count),
            Op::MatMul => self.matmul(),
            Op::Conv(attrs) => self.conv(attrs),
            Op::ConvTranspose(attrs) => self.conv_transpose(attrs),
            Op::Pool(attrs) => self.pool(attrs),
            Op::Softmax { axis } => self.softmax(*axis),
            Op::LayerNorm { axis, epsilon } => self.norm(*axis, *epsilon, true),
            Op::RmsNorm { axis, epsilon } => self.norm(*axis, *epsilon, false),
            Op::Attention(attrs) => self.attention(attrs),
            Op::CacheAttention(attrs) => self.cache_attention(attrs),
            Op::Lrn(attrs) => self.lrn(attrs),
            Op::Lstm(attrs) => self.recurrent(attrs, composite::LSTM),
            Op::Gru(attrs) => self.recurrent(attrs, composite::GRU),
            Op::Rnn(attrs) => self.recurrent(attrs, composite::RNN),
            Op::If { then_region, else_region, dims } => self.if_(*then_region, *else_region, dims),
            Op::Loop { body, carried, count, dims } => self.loop_(*body, *carried, *count, dims),
            Op::Scan(attrs) => self.scan(attrs),
            Op::BindDims { symbols, mode } => self.bind_dims(symbols, mode),
            Op::StateEmpty { ty, axis } => self.state_empty(ty, *axis),
            Op::StateAppend => self.state_append(),
            Op::StateRead { ty, length } => self.state_read(ty, *length),
            Op::Group { body, .. } => self.group(*body),
        }
    }

    // ---- errors -------------------------------------------------------------

    fn error(&self, rule: impl Into<String>, fix: impl Into<String>) -> InferError {
        InferError {
            node: String::new(),
            op: self.op.name(),
            operands: self.inputs.iter().map(|t| t.display(self.symbols)).collect(),
            rule: rule.into(),
            fix: fix.into(),
        }
    }

    fn require(&self, holds: bool, rule: &str, fix: &str) -> Result<(), InferError> {
        if holds { Ok(()) } else { Err(self.error(rule, fix)) }
    }

    fn show(&self, dim: &Dim) -> String {
        dim.display(self.symbols)
    }

    fn show_shape(&self, shape: &[Dim]) -> String {
        let dims: Vec<String> = shape.iter().map(|d| self.show(d)).collect();
        format!("[{}]", dims.join(","))
    }

    // ---- operands -----------------------------------------------------------

    fn arity(&self, min: usize, max: usize) -> Result<(), InferError> {
        let n = self.inputs.len();
        if (min..=max).contains(&n) {
            return Ok(());
        }
        let wanted = match (min, max) {
            (a, b) if a == b => format!("{a}"),
            (a, usize::MAX) => format!("{a} or more"),
            (a, b) => format!("{a} to {b}"),
        };
        Err(self.error(
            format!("takes {wanted} operands, got {n}"),
            "give the operands that the op table lists",
        ))
    }

    /// Operand `i` as a tensor of any encoding.
    fn encoded(&self, i: usize) -> Result<&'a TensorType, InferError> {
        let operand = self.inputs.get(i).copied();
        operand.and_then(ValueType::as_tensor).ok_or_else(|| {
            self.error(
                format!("operand {i} must be a tensor"),
                "unwrap sequences and optionals first",
            )
        })
    }

    /// Operand `i` as a dense tensor.
    fn tensor(&self, i: usize) -> Result<&'a TensorType, InferError> {
        let t = self.encoded(i)?;
        let fix = "convert it with pack {encoding = dense}";
        self.require(t.encoding == Encoding::Dense, &format!("operand {i} must be dense"), fix)?;
        Ok(t)
    }

    /// Operand `i` as a dense float tensor.
    fn float(&self, i: usize) -> Result<&'a TensorType, InferError> {
        let t = self.tensor(i)?;
        self.require(
            t.dtype.is_float(),
            &format!("operand {i} must be a float tensor"),
            "cast it",
        )?;
        Ok(t)
    }

    /// Operand `i` as a dense `i64` or `i32` tensor.
    fn index(&self, i: usize) -> Result<&'a TensorType, InferError> {
        let t = self.tensor(i)?;
        let ok = matches!(t.dtype, DType::I64 | DType::I32);
        self.require(ok, &format!("operand {i} must be an i64 or i32 tensor"), "cast it")?;
        Ok(t)
    }

    /// Operand `i` as a dense tensor of this dtype and rank.
    fn exactly(&self, i: usize, dtype: DType, rank: usize) -> Result<&'a TensorType, InferError> {
        let t = self.tensor(i)?;
        if t.dtype != dtype || t.rank() != rank {
            let rule = format!("operand {i} must be {dtype} of rank {rank}");
            return Err(self.error(rule, "cast or reshape it"));
        }
        Ok(t)
    }

    fn same_dtype(&self, i: usize, j: usize) -> Result<(), InferError> {
        let (a, b) = (self.encoded(i)?.dtype, self.encoded(j)?.dtype);
        if a == b {
            return Ok(());
        }
        let rule = format!("operands {i} and {j} must have one dtype, got {a} and {b}");
        Err(self.error(rule, "insert a cast"))
    }

    fn rank(&self, i: usize, rank: usize) -> Result<(), InferError> {
        let got = self.encoded(i)?.rank();
        if got == rank {
            return Ok(());
        }
        Err(self.error(format!("operand {i} must have rank {rank}, got {got}"), "reshape it"))
    }

    fn numeric(&self, i: usize, dtype: DType) -> Result<(), InferError> {
        let ok = dtype.is_int() || dtype.is_float();
        self.require(ok, &format!("operand {i} must be numeric, got {dtype}"), "cast it")
    }

    fn axis(&self, axis: usize, rank: usize) -> Result<usize, InferError> {
        if axis < rank {
            return Ok(axis);
        }
        let rule = format!("axis {axis} is out of range for rank {rank}");
        Err(self.error(rule, "use an axis in 0..rank"))
    }

    // ---- dims ---------------------------------------------------------------

    /// Requires `a == b`: proved, refuted or recorded. Gives the simpler of the two.
    fn equal(&mut self, a: &Dim, b: &Dim, what: &str) -> Result<Dim, InferError> {
        if a == b {
            return Ok(a.clone());
        }
        let (low, high) = (a.clone() - b.clone()).bounds(self.symbols);
        if low > 0 || high < 0 {
            let rule = format!("{what}: {} and {} must be equal", self.show(a), self.show(b));
            return Err(self.error(rule, "fix the shapes or the attribute that gives them"));
        }
        let what = format!("{}: {what}", self.op.name());
        self.checks.push(DimCheck { lhs: a.clone(), rhs: b.clone(), what });
        Ok(if b.as_const().is_some() { b } else { a }.clone())
    }

    fn equal_shapes(&mut self, a: &[Dim], b: &[Dim], what: &str) -> Result<Shape, InferError> {
        if a.len() != b.len() {
            let rule = format!(
                "{what}: shapes {} and {} must be equal",
                self.show_shape(a),
                self.show_shape(b)
            );
            return Err(self.error(rule, "reshape one of them"));
        }
        a.iter().zip(b).map(|(a, b)| self.equal(a, b, what)).collect()
    }

    /// NumPy broadcast of two shapes.
    fn broadcast(&mut self, a: &[Dim], b: &[Dim]) -> Result<Shape, InferError> {
        let rank = a.len().max(b.len());
        let one = Dim::from(1);
        let mut out = Vec::with_capacity(rank);
        for i in 0..rank {
            let side = |s: &[Dim]| (i + s.len()).checked_sub(rank).map(|j| s[j].clone());
            let (x, y) = (side(a).unwrap_or(one.clone()), side(b).unwrap_or(one.clone()));
            out.push(self.broadcast_dim(&x, &y)?);
        }
        Ok(out)
    }

    fn broadcast_dim(&mut self, x: &Dim, y: &Dim) -> Result<Dim, InferError> {
        let never_one = |d: &Dim| {
            let (low, high) = d.bounds(self.symbols);
            low > 1 || high < 1
        };
        // Where neither side can be 1 the dims must be equal.
        if x != y && never_one(x) && never_one(y) {
            self.equal(x, y, "broadcast dims")?;
        } else {
            self.one_or_equal(x, y);
        }
        x.broadcast(y).ok_or_else(|| {
            let rule = format!("dims {} and {} do not broadcast", self.show(x), self.show(y));
            self.error(rule, "make them equal or one of them 1")
        })
    }

    /// Where a number above 1 stands for the result's dim, the other side must turn out to
    /// be that number or 1: a kernel would read past its end otherwise. (Two symbols need
    /// no check here: evaluating their `bcast` is one.)
    fn one_or_equal(&mut self, x: &Dim, y: &Dim) {
        let (number, other) = match (x.as_const(), y.as_const()) {
            (Some(n), None) => (n, y),
            (None, Some(n)) => (n, x),
            _ => return,
        };
        if number == 1 {
            return;
        }
        let off = (other.clone() - 1) * (other.clone() - number);
        let what = format!("{}: {} must be 1 or {number}", self.op.name(), self.show(other));
        self.checks.push(DimCheck { lhs: off, rhs: Dim::from(0), what });
    }

    /// Requires that `from` broadcasts to exactly `to`.
    fn broadcasts_to(&mut self, from: &[Dim], to: &[Dim]) -> Result<(), InferError> {
        let Some(lead) = to.len().checked_sub(from.len()) else {
            let (a, b) = (self.show_shape(from), self.show_shape(to));
            let rule = format!("{a} does not broadcast to {b}: it has more dims");
            return Err(self.error(rule, "reshape the operand"));
        };
        for (x, t) in from.iter().zip(&to[lead..]) {
            let joined = self.broadcast_dim(x, t)?;
            self.equal(&joined, t, "broadcast to the result's dim")?;
        }
        Ok(())
    }

    /// Requires that `dim` is not provably below zero.
    fn not_negative(&self, dim: &Dim, what: &str) -> Result<(), InferError> {
        if dim.bounds(self.symbols).1 >= 0 {
            return Ok(());
        }
        let rule = format!("{what} is {}, below zero", self.show(dim));
        Err(self.error(rule, "fix the attribute"))
    }

    /// Requires `a <= b` unless that is provably false.
    fn at_most(&self, a: &Dim, b: &Dim, what: &str) -> Result<(), InferError> {
        if (a.clone() - b.clone()).bounds(self.symbols).0 <= 0 {
            return Ok(());
        }
        let rule = format!("{what}: {} is larger than {}", self.show(a), self.show(b));
        Err(self.error(rule, "fix the shapes or the attribute"))
    }

    fn reject_negative_dims(&self, types: &[ValueType]) -> Result<(), InferError> {
        for dim in types.iter().filter_map(ValueType::as_tensor).flat_map(|t| &t.shape) {
            self.not_negative(dim, "a result dim")?;
        }
        Ok(())
    }

    /// A data-dependent symbol that the op binds, as a dim.
    fn bound(&self, id: cascata_types::SymbolId) -> Result<Dim, InferError> {
        match self.symbols.get(id) {
            Some(s) if s.data_dependent => Ok(Dim::sym(id)),
            Some(s) => {
                let rule = format!("symbol '{}' is bound by an op but not data-dependent", s.name);
                Err(self.error(rule, "create it with SymbolTable::fresh"))
            }
            None => Err(self.error(
                format!("symbol {id} is not in the symbol table"),
                "create it with SymbolTable::fresh",
            )),
        }
    }
}

fn one(t: TensorType) -> Types {
    Ok(vec![t.into()])
}

/// `t` with another shape, dense.
fn reshaped(t: &TensorType, shape: Shape) -> TensorType {
    TensorType::dense(t.dtype, shape)
}
