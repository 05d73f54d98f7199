//! Statements, compiled: index expressions and scalar functions resolved once.

use super::attention::AttentionPlan;
use super::contraction::{DwConvPlan, GemmPlan, PackBPlan};
use super::index::Index;
use super::rows::RowPlan;
use super::tile_gemm::TileGemmPlan;
use super::value::{Access, Compiler, Value};
use crate::kernel::{Expr, Kernel, LocalId, LoopKind, Stmt};
use crate::op::BinaryOp;
use cascata_types::{Entity as _, SymbolId};

/// A compiled statement.
pub(super) struct Node<'k> {
    pub(super) source: &'k Stmt,
    pub(super) action: Action<'k>,
    /// Holds a barrier, so that threads run it in step.
    pub(super) has_barrier: bool,
}

pub(super) enum Action<'k> {
    For {
        var: Target,
        extent: Index,
        kind: LoopKind,
        body: Vec<Node<'k>>,
    },
    /// Gives a symbol its value.
    Bind {
        target: Target,
        value: Value,
    },
    /// Gives a local its value.
    Set {
        register: usize,
        value: Value,
    },
    Store {
        access: Access,
        value: Value,
    },
    If {
        cond: Value,
        then: Vec<Node<'k>>,
        otherwise: Vec<Node<'k>>,
    },
    Check {
        cond: Value,
        message: usize,
    },
    Gemm(Box<GemmPlan>),
    DwConv(Box<DwConvPlan>),
    PackB(Box<PackBPlan>),
    Row(Box<RowPlan>),
    Attention(Box<AttentionPlan>),
    TileGemm(Box<TileGemmPlan>),
    Barrier,
    /// Gives a local what a group of threads gives together.
    Group(Box<GroupPlan>),
}

/// A reduction over groups of threads.
pub(super) struct GroupPlan {
    pub(super) register: usize,
    /// Where [`GroupPlan::joined`] finds the other thread's value.
    pub(super) other: usize,
    pub(super) value: Value,
    /// Of `register` and `other`.
    pub(super) joined: Value,
    pub(super) width: usize,
}

/// A symbol's register and declared range.
pub(super) struct Target {
    pub(super) register: usize,
    pub(super) min: i64,
    pub(super) max: i64,
    pub(super) name: String,
}

impl Node<'_> {
    /// Whether this is or holds a loop over threads.
    pub(super) fn has_threads(&self) -> bool {
        match &self.action {
            Action::For { kind, body, .. } => {
                *kind == LoopKind::Threads || body.iter().any(Node::has_threads)
            }
            Action::If { then, otherwise, .. } => {
                then.iter().chain(otherwise).any(Node::has_threads)
            }
            _ => false,
        }
    }
}

impl<'k> Compiler<'k> {
    pub(super) fn body(&self, body: &'k [Stmt]) -> Vec<Node<'k>> {
        body.iter().map(|stmt| self.node(stmt)).collect()
    }

    pub(super) fn target(&self, id: SymbolId) -> Target {
        let (min, max) = self.kernel.symbols.range(id);
        Target { register: id.index(), min, max, name: self.kernel.symbols.name(id) }
    }

    fn node(&self, source: &'k Stmt) -> Node<'k> {
        let action = self.action(source);
        let any_barrier = |nodes: &[Node]| nodes.iter().any(|n| n.has_barrier);
        let has_barrier = match &action {
            // Threads join at the end of their loop, whatever happens inside.
            Action::For { kind: LoopKind::Threads, .. } => false,
            Action::For { body, .. } => any_barrier(body),
            Action::If { then, otherwise, .. } => any_barrier(then) || any_barrier(otherwise),
            Action::Barrier | Action::Group(_) => true,
            _ => false,
        };
        Node { source, action, has_barrier }
    }

    fn value(&self, expr: &Expr) -> Value {
        self.expr(expr).0
    }

    fn set(&self, local: LocalId, value: Value) -> Action<'k> {
        Action::Set { register: self.register(local), value }
    }

    fn action(&self, stmt: &'k Stmt) -> Action<'k> {
        match stmt {
            Stmt::For { var, extent, kind, body } => Action::For {
                var: self.target(*var),
                extent: Index::new(extent),
                kind: *kind,
                body: self.body(body),
            },
            Stmt::Bind { symbol, value } => {
                Action::Bind { target: self.target(*symbol), value: self.value(value) }
            }
            Stmt::Let { local, value } | Stmt::Assign { local, value } => {
                self.set(*local, self.value(value))
            }
            Stmt::Reduce { local, op, value } => {
                let (value, dtype) = self.expr(value);
                let before = Value::Register(self.register(*local));
                self.set(*local, self.joined(*op, dtype, before, value))
            }
            Stmt::Store { buffer, at, value } => Action::Store {
                access: Access { buffer: buffer.index(), at: Index::new(at) },
                value: self.value(value),
            },
            Stmt::If { cond, then, otherwise } => Action::If {
                cond: self.value(cond),
                then: self.body(then),
                otherwise: self.body(otherwise),
            },
            Stmt::Check { cond, message } => {
                Action::Check { cond: self.value(cond), message: *message }
            }
            Stmt::Gemm(gemm) => {
                let factors = self.kernel.buffers[gemm.b.buffer].dtype;
                Action::Gemm(Box::new(GemmPlan::new(gemm, factors)))
            }
            Stmt::DwConv(conv) => Action::DwConv(Box::new(DwConvPlan::new(conv))),
            Stmt::PackB(pack) => Action::PackB(Box::new(PackBPlan::new(pack))),
            Stmt::MapRow { op, dst, src, n } => {
                Action::Row(Box::new(RowPlan::map(*op, dst, src, n)))
            }
            Stmt::ReduceRow { local, op, src, n } => {
                Action::Row(Box::new(RowPlan::reduce(self.register(*local), *op, src, n)))
            }
            Stmt::ExpSum { local, dst, src, n, bias } => {
                let (register, bias) = (self.register(*local), self.value(bias));
                Action::Row(Box::new(RowPlan::exp_sum(register, dst, src, n, bias)))
            }
            Stmt::TileAttention(a) => AttentionPlan::action(self.kernel, a),
            Stmt::TileGemm(g) => TileGemmPlan::action(self.kernel, g),
            Stmt::Barrier => Action::Barrier,
            Stmt::GroupReduce { local, op, value, width } => {
                self.group(*local, *op, value, *width as usize)
            }
        }
    }

    fn group(&self, local: LocalId, op: BinaryOp, value: &'k Expr, width: usize) -> Action<'k> {
        let (value, dtype) = self.expr(value);
        let (register, other) = (self.register(local), self.spare_register());
        let [own, others] = [register, other].map(Value::Register);
        let joined = self.joined(op, dtype, own, others);
        Action::Group(Box::new(GroupPlan { register, other, value, joined, width }))
    }
}

/// The compiler of a kernel.
pub(super) fn compiler(kernel: &Kernel) -> Compiler<'_> {
    Compiler { kernel }
}
