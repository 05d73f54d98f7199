//! One spelling for expressions of constants.
//!
//! Weights are parameters, so constants are not evaluated in the e-graph; but a chain of
//! shifts and scales reaches the same constant along many orders, and each spelling of it
//! would be another variant of everything that uses it. Sums and products of small
//! constants are therefore kept as sorted sums of sorted products, and reshapes sink to
//! the leaves. This reassociates, as do the rules that build such constants.

use super::site::Site;
use cascata_ir::op::{BinaryOp, Op};
use cascata_types::Shape;
use egg::Id;

/// More terms than this are left as they are.
const MAX_TERMS: usize = 12;
/// Larger constants are multiplied as they are: distributing over a weight would double
/// the work of folding it.
const SMALL_ELEMENTS: i64 = 1 << 14;

impl Site<'_> {
    /// A constant with another shape.
    pub(super) fn reshape_constant(&mut self, x: Id, shape: Shape) -> Option<Id> {
        if let Some((_, inner)) = self.ops(x, "reshape").into_iter().next() {
            return self.reshape(inner[0], shape);
        }
        let mine = self.shape(x);
        for name in ["add", "mul"] {
            let Some((op, operands)) = self.ops(x, name).into_iter().next() else { continue };
            let Op::Binary(op) = op else { continue };
            let plain = |s: &Self, v: Id| s.rank(v) == 0 || s.ty(v).shape == mine;
            if operands.iter().all(|&v| plain(self, v)) {
                let mut moved = vec![];
                for v in operands {
                    moved.push(if self.rank(v) == 0 { v } else { self.reshape(v, shape.clone())? });
                }
                return self.binary(op, moved[0], moved[1]);
            }
        }
        self.add(Op::Reshape { shape }, &[x])
    }

    /// A binary op on two constants that are not both uniform.
    pub(super) fn binary_constants(&mut self, op: BinaryOp, a: Id, b: Id) -> Option<Id> {
        let plain = Op::Binary(op);
        let sums = match op {
            BinaryOp::Add => [self.sum_of_products(a), self.sum_of_products(b)].concat(),
            BinaryOp::Mul if self.is_small(a) && self.is_small(b) => {
                let right = self.sum_of_products(b);
                let times = |p: &Vec<Id>| right.iter().map(|q| [&p[..], &q[..]].concat()).collect();
                self.sum_of_products(a).iter().flat_map(|p| -> Vec<Vec<Id>> { times(p) }).collect()
            }
            _ => return self.add(plain, &[a, b]),
        };
        if sums.iter().map(Vec::len).sum::<usize>() > MAX_TERMS {
            return self.add(plain, &[a, b]);
        }
        let mut products = vec![];
        for mut factors in sums {
            factors.sort_unstable();
            products.push(self.chain(BinaryOp::Mul, &factors)?);
        }
        products.sort_unstable();
        self.chain(BinaryOp::Add, &products)
    }

    fn chain(&mut self, op: BinaryOp, operands: &[Id]) -> Option<Id> {
        let (first, rest) = operands.split_first()?;
        rest.iter().try_fold(*first, |sum, x| self.add(Op::Binary(op), &[sum, *x]))
    }

    fn is_small(&self, x: Id) -> bool {
        self.ty(x).elements().as_const().is_some_and(|n| n <= SMALL_ELEMENTS)
    }

    /// The factors of the terms of a constant.
    fn sum_of_products(&self, x: Id) -> Vec<Vec<Id>> {
        if let Some((_, terms)) = self.ops(x, "add").into_iter().next() {
            return terms.iter().flat_map(|&t| self.sum_of_products(t)).collect();
        }
        vec![self.factors(x)]
    }

    fn factors(&self, x: Id) -> Vec<Id> {
        match self.ops(x, "mul").into_iter().next() {
            Some((_, factors)) => factors.iter().flat_map(|&f| self.factors(f)).collect(),
            None => vec![x],
        }
    }
}
