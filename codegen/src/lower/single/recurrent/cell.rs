//! One time step of one batch entry: the gates, a vector loop over the units.

use super::Kind;
use super::activation::squash;
use super::walk::Walk;
use crate::lower::body::Body;
use cascata_ir::kernel::{Expr, Stmt};
use cascata_ir::op::Activation;
use cascata_types::{DType, Dim};

/// Where a step of an entry reads and writes.
pub(super) struct Step {
    /// Which direction's activations.
    pub activations: Vec<Activation>,
    /// Row of the block.
    pub row: Dim,
    /// First element of the entry's row of x·Wᵀ.
    pub projected: Dim,
    /// First element of the entry's state.
    pub state: Dim,
    /// First element of the entry's row of y.
    pub y: Dim,
}

impl Walk<'_> {
    /// The step after the recurrent products.
    pub fn step(&self, body: &mut Body, at: &Step) -> Vec<Stmt> {
        let j = body.index("j", &self.sizes.hidden);
        let mut stmts = Vec::new();
        let value = match self.kind {
            Kind::Lstm => self.lstm(body, at, &Dim::sym(j), &mut stmts),
            Kind::Gru => self.gru(body, at, &Dim::sym(j), &mut stmts),
            Kind::Rnn => self.squash(at, 0, self.linear(at, 0, &Dim::sym(j))),
        };
        let h = body.local("h", DType::F32);
        stmts.push(Stmt::declare(h, value));
        stmts.push(Stmt::store(self.h, at.state.clone() + Dim::sym(j), h.into()));
        stmts.push(Stmt::store(self.y, at.y.clone() + Dim::sym(j), h.into()));
        vec![Stmt::vector(j, self.sizes.hidden.clone(), stmts)]
    }

    /// `r ⊙ h` into the block's scratch, for a GRU whose reset gate comes first.
    pub fn reset(&self, body: &mut Body, at: &Step) -> Vec<Stmt> {
        let Some(kept) = self.kept else { return vec![] };
        let j = Dim::sym(body.index("j", &self.sizes.hidden));
        let reset = self.squash(at, 0, self.linear(at, 1, &j));
        let value = reset * Expr::load(self.h, at.state.clone() + j.clone());
        let to = at.row.clone() * self.sizes.hidden.clone() + j.clone();
        let var = j.as_sym().expect("it is a loop variable");
        vec![Stmt::vector(var, self.sizes.hidden.clone(), vec![Stmt::store(kept, to, value)])]
    }

    /// Gates i, o, f, c; peepholes i, o, f.
    fn lstm(&self, body: &mut Body, at: &Step, j: &Dim, stmts: &mut Vec<Stmt>) -> Expr {
        let mut name = |hint: &str, value: Expr| {
            let local = body.local(hint, DType::F32);
            stmts.push(Stmt::declare(local, value));
            Expr::from(local)
        };
        let cell = self.c.expect("an LSTM has a cell state");
        let place = at.state.clone() + j.clone();
        let before = name("before", Expr::load(cell, place.clone()));
        let peeped = |gate: i64, which: i64, c: &Expr| {
            let sum = self.linear(at, gate, j);
            match self.peephole(which, j) {
                Some(p) => sum + p * c.clone(),
                None => sum,
            }
        };
        let forget = name("forget", self.squash(at, 0, peeped(2, 2, &before)));
        let input = match self.attrs.input_forget {
            true => Expr::f32(1.0) - forget.clone(),
            false => self.squash(at, 0, peeped(0, 0, &before)),
        };
        let input = name("input", input);
        let fresh = name("fresh", self.squash(at, 1, self.linear(at, 3, j)));
        let after = name("after", forget * before + input * fresh);
        let output = name("output", self.squash(at, 0, peeped(1, 1, &after)));
        stmts.push(Stmt::store(cell, place, after.clone()));
        output * super::activation::activate(&at.activations[2], after)
    }

    /// Gates z, r, h.
    fn gru(&self, body: &mut Body, at: &Step, j: &Dim, stmts: &mut Vec<Stmt>) -> Expr {
        let mut name = |hint: &str, value: Expr| {
            let local = body.local(hint, DType::F32);
            stmts.push(Stmt::declare(local, value));
            Expr::from(local)
        };
        let update = name("update", self.squash(at, 0, self.linear(at, 0, j)));
        let state = match self.kept {
            Some(_) => self.recurrent(at, 2, j),
            None => self.squash(at, 0, self.linear(at, 1, j)) * self.recurrent(at, 2, j),
        };
        let candidate = name("candidate", self.squash(at, 1, self.projected(at, 2, j) + state));
        let before = Expr::load(self.h, at.state.clone() + j.clone());
        (Expr::f32(1.0) - update.clone()) * candidate + update * before
    }

    fn squash(&self, at: &Step, which: usize, sum: Expr) -> Expr {
        squash(&at.activations[which], self.attrs.clip, sum)
    }

    /// A gate's sum of both products.
    fn linear(&self, at: &Step, gate: i64, j: &Dim) -> Expr {
        self.projected(at, gate, j) + self.recurrent(at, gate, j)
    }

    fn projected(&self, at: &Step, gate: i64, j: &Dim) -> Expr {
        let column = self.sizes.hidden.clone() * gate + j.clone();
        Expr::load(self.projection, at.projected.clone() + column)
    }

    fn recurrent(&self, at: &Step, gate: i64, j: &Dim) -> Expr {
        let column = self.sizes.hidden.clone() * gate + j.clone();
        Expr::load(self.products, at.row.clone() * self.sizes.columns() + column)
    }

    fn peephole(&self, which: i64, j: &Dim) -> Option<Expr> {
        let n = self.sizes.hidden.clone();
        let at = self.direction.clone() * 3 * n.clone() + n * which + j.clone();
        self.peepholes.map(|p| Expr::load(p, at))
    }
}
