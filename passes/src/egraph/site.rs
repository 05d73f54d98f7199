//! Where a rule matched: what its guards read and its right-hand side builds with.

use super::facts::{self, EGraph, Triangle};
use super::language::{ENode, Kind, Origin, Payload, op_name};
use super::pattern::{Match, Pattern};
use cascata_ir::op::{BinaryOp, Op, UnaryOp};
use cascata_types::{DType, Dim, Scalar, Shape, TensorType, ValueType};
use egg::Id;

/// One match in its e-graph. Builders return `None` when what they would build is ill-typed.
pub struct Site<'a> {
    egraph: &'a mut EGraph,
    hit: &'a Match,
    pattern: &'a Pattern,
    origin: Origin,
}

impl<'a> Site<'a> {
    /// The site of `hit`; nodes built there get `origin`.
    pub fn new(
        egraph: &'a mut EGraph,
        hit: &'a Match,
        pattern: &'a Pattern,
        origin: Origin,
    ) -> Self {
        Self { egraph, hit, pattern, origin }
    }

    /// The matched class.
    pub fn root(&self) -> Id {
        self.egraph.find(self.hit.root)
    }

    /// The class of a variable that this spelling of the left side may lack.
    pub fn get(&self, name: &str) -> Option<Id> {
        let n = self.pattern.vars.iter().position(|v| *v == name)?;
        Some(self.egraph.find(self.hit.vars[n]?))
    }

    /// The class of a variable.
    ///
    /// # Panics
    /// If the left side has no such variable: a bug in the rule table, which every
    /// rule's own test finds.
    pub fn var(&self, name: &str) -> Id {
        self.get(name).expect("a variable of the rule's left side")
    }

    /// The op whose attributes are bound to `name`.
    ///
    /// # Panics
    /// If the left side binds no such name, as [`Site::var`].
    pub fn attr(&self, name: &str) -> Op {
        let n = self.pattern.attrs.iter().position(|a| *a == name);
        let payload = n.and_then(|n| self.hit.attrs[n]).expect("an attribute of the left side");
        self.op(payload).clone()
    }

    /// The classes of variables, in the order in which the left side first names them.
    pub fn in_order(&self, names: &[&str]) -> Vec<Id> {
        let mine = self.pattern.vars.iter().filter(|v| names.contains(v));
        mine.map(|v| self.var(v)).collect()
    }

    fn op(&self, payload: Payload) -> &Op {
        self.egraph.analysis.ops.get(payload)
    }

    // ---- facts --------------------------------------------------------------

    /// The type of a class.
    pub fn ty(&self, id: Id) -> &TensorType {
        facts::tensor(self.egraph, id)
    }

    /// The dims of a class.
    pub fn shape(&self, id: Id) -> Shape {
        self.ty(id).shape.clone()
    }

    /// The number of dims of a class.
    pub fn rank(&self, id: Id) -> usize {
        self.ty(id).rank()
    }

    /// The element type of a class.
    pub fn dtype(&self, id: Id) -> DType {
        self.ty(id).dtype
    }

    /// Whether the class is known when compiling.
    pub fn constant(&self, id: Id) -> bool {
        self.egraph[id].data.constant
    }

    /// The element, if every element is the same number.
    pub fn uniform(&self, id: Id) -> Option<f64> {
        facts::uniform(self.egraph, id).map(Scalar::to_f64)
    }

    /// Whether a constant is known to hold no NaN and no infinity.
    pub fn finite(&self, id: Id) -> bool {
        self.egraph[id].data.elements.finite
    }

    /// The axis along which every element is its index.
    pub fn iota_axis(&self, id: Id) -> Option<usize> {
        self.egraph[id].data.elements.iota
    }

    /// Two numbers along a diagonal, where a constant matrix is that.
    pub fn triangle(&self, id: Id) -> Option<Triangle> {
        self.egraph[id].data.elements.triangle
    }

    /// `n` where element `i` of a constant vector is `i / n`.
    pub fn repeats(&self, id: Id) -> Option<i64> {
        self.egraph[id].data.elements.repeats
    }

    /// Whether a dim is at least `x` for every allowed binding of the symbols.
    pub fn at_least(&self, dim: &Dim, x: i64) -> bool {
        dim.at_least(x, &self.egraph.analysis.symbols)
    }

    /// The ops of a class that have this name, with their operands.
    pub fn ops(&self, id: Id, name: &str) -> Vec<(Op, Vec<Id>)> {
        let id = self.egraph.find(id);
        let mine = |n: &&ENode| matches!(n.kind, Kind::Op(k) if k == name);
        let children = |n: &ENode| n.children.iter().map(|&c| self.egraph.find(c)).collect();
        let nodes = self.egraph[id].nodes.iter().filter(mine);
        nodes.map(|n| (self.op(n.payload).clone(), children(n))).collect()
    }

    // ---- building -----------------------------------------------------------

    /// A node; `None` when it is ill-typed or needs a dim check that the graph lacks.
    pub fn add(&mut self, op: Op, operands: &[Id]) -> Option<Id> {
        let analysis = &self.egraph.analysis;
        let types: Vec<&ValueType> =
            operands.iter().map(|&c| &self.egraph[c].data.types[0]).collect();
        analysis.infer(&op, &types)?;
        let payload = self.egraph.analysis.ops.intern(&op);
        let kind = Kind::Op(op_name(&op));
        let node = ENode { kind, payload, children: operands.to_vec(), origin: self.origin };
        Some(self.egraph.add(node))
    }

    /// A unary op.
    pub fn unary(&mut self, op: UnaryOp, x: Id) -> Option<Id> {
        self.add(Op::Unary(op), &[x])
    }

    /// A binary op; two uniform constants give a uniform constant.
    pub fn binary(&mut self, op: BinaryOp, a: Id, b: Id) -> Option<Id> {
        let both = (self.uniform(a), self.uniform(b));
        if let (Some(x), Some(y)) = both
            && let Some(value) = arithmetic(op, x, y)
        {
            let types = [&self.egraph[a].data.types[0], &self.egraph[b].data.types[0]];
            let ty = self.egraph.analysis.infer(&Op::Binary(op), &types)?;
            let ty = ty.first()?.as_tensor()?.clone();
            if ty.dtype.is_float() {
                let value = Scalar::from_f64(ty.dtype, value);
                return self.add(Op::Fill { value, shape: ty.shape }, &[]);
            }
        }
        if self.constant(a) && self.constant(b) {
            return self.binary_constants(op, a, b);
        }
        self.add(Op::Binary(op), &[a, b])
    }

    /// A rank-0 constant.
    pub fn number(&mut self, dtype: DType, x: f64) -> Option<Id> {
        self.add(Op::Fill { value: Scalar::from_f64(dtype, x), shape: vec![] }, &[])
    }

    /// `x` with another shape; `x` itself when it has that shape.
    pub fn reshape(&mut self, x: Id, shape: Shape) -> Option<Id> {
        if self.ty(x).shape == shape {
            return Some(x);
        }
        match self.constant(x) {
            true => self.reshape_constant(x, shape),
            false => self.add(Op::Reshape { shape }, &[x]),
        }
    }

    /// `x` with its axes permuted; `x` itself for the identity. For a constant whose
    /// real axes stay in order this is a reshape.
    pub fn transpose(&mut self, x: Id, perm: &[usize]) -> Option<Id> {
        if perm.iter().copied().eq(0..perm.len()) {
            return Some(x);
        }
        let shape = self.shape(x);
        if self.constant(x) && perm.iter().filter(|&&p| !shape[p].is(1)).is_sorted() {
            return self.reshape(x, perm.iter().map(|&p| shape[p].clone()).collect());
        }
        self.add(Op::Transpose { perm: perm.to_vec() }, &[x])
    }

    /// `x` broadcast to a shape; `x` itself when it has that shape.
    pub fn broadcast(&mut self, x: Id, shape: Shape) -> Option<Id> {
        if self.ty(x).shape == shape {
            return Some(x);
        }
        self.add(Op::Broadcast { shape }, &[x])
    }
}

/// Float arithmetic on constants; `ir::scalar` also computes in f64 and rounds once.
fn arithmetic(op: BinaryOp, x: f64, y: f64) -> Option<f64> {
    match op {
        BinaryOp::Add => Some(x + y),
        BinaryOp::Sub => Some(x - y),
        BinaryOp::Mul => Some(x * y),
        BinaryOp::Div => Some(x / y),
        _ => None,
    }
}
