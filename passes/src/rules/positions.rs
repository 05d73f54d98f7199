//! What a class's elements say about where they stand: causal masks computed from indices.
//!
//! Exporters compare index vectors (`arange(T) <= arange(S)[:, None] + past`), cut a window
//! out of a constant triangle, or pass either through casts and `Where`. All of it is one
//! inequality, linear in the indices.

use crate::egraph::facts::same_but_ones;
use crate::egraph::site::Site;
use cascata_ir::op::{BinaryOp, Op};
use cascata_types::{DType, Dim};
use egg::Id;

/// Spellings nest a few levels; deeper ones are left alone.
const DEPTH: usize = 12;

/// `Σ steps[a]·index[a] + offset`, one step per axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Linear {
    steps: Vec<i64>,
    offset: Dim,
}

impl Linear {
    fn constant(rank: usize, offset: Dim) -> Self {
        Self { steps: vec![0; rank], offset }
    }

    /// `self + by·other`, broadcast from the last axis.
    fn plus(&self, other: &Linear, by: i64) -> Linear {
        let rank = self.steps.len().max(other.steps.len());
        let step = |l: &Linear, a: usize| match (a + l.steps.len()).checked_sub(rank) {
            Some(at) => l.steps[at],
            None => 0,
        };
        let steps = (0..rank).map(|a| step(self, a) + by * step(other, a)).collect();
        Linear { steps, offset: self.offset.clone() + other.offset.clone() * by }
    }

    fn shifted(mut self, by: i64) -> Linear {
        self.offset = self.offset + by;
        self
    }

    /// Not `self ≥ 0`, as another `≥ 0`.
    fn negated(&self) -> Linear {
        Linear::constant(self.steps.len(), Dim::from(-1)).plus(self, -1)
    }
}

/// How a mask is meant.
#[derive(Clone, Copy)]
pub(super) enum Mask {
    /// A bool that is true where a key is seen.
    Shows,
    /// A bool that is true where it is not.
    Hides,
    /// A number added to the score: 0 where the key is seen, else what this accepts.
    Added(fn(f64) -> bool),
}

/// `k`, where a mask shows query `i` exactly the keys `j ≤ i + k`.
pub(super) fn causal_offset(s: &Site, mask: Id, meant: Mask) -> Option<Dim> {
    let seen = match meant {
        Mask::Shows => half_plane(s, mask, DEPTH)?,
        Mask::Hides => half_plane(s, mask, DEPTH)?.negated(),
        Mask::Added(hidden) => shown(s, mask, hidden)?,
    };
    match seen.steps.split_last_chunk::<2>()? {
        (lead, [1, -1]) if lead.iter().all(|x| *x == 0) => Some(seen.offset),
        _ => None,
    }
}

/// Where an additive mask is 0, if it is what `hidden` says everywhere else.
fn shown(s: &Site, mask: Id, hidden: fn(f64) -> bool) -> Option<Linear> {
    if let Some(t) = s.triangle(mask) {
        let below = Linear { steps: matrix(s.rank(mask))?, offset: t.offset.into() };
        return match (t.inside.to_f64(), t.outside.to_f64()) {
            (0.0, x) if hidden(x) => Some(below),
            (x, 0.0) if hidden(x) => Some(below.negated()),
            _ => None,
        };
    }
    for (_, operands) in s.ops(mask, "select") {
        let seen = half_plane(s, operands[0], DEPTH);
        match (s.uniform(operands[1]), s.uniform(operands[2]), seen) {
            (Some(0.0), Some(x), Some(seen)) if hidden(x) => return Some(seen),
            (Some(x), Some(0.0), Some(seen)) if hidden(x) => return Some(seen.negated()),
            _ => {}
        }
    }
    unwrapped(s, mask, |s, x| shown(s, x, hidden))
}

/// Row 1, column −1, everything before them 0.
fn matrix(rank: usize) -> Option<Vec<i64>> {
    let mut steps = vec![0; rank];
    *steps.get_mut(rank.checked_sub(2)?)? = 1;
    steps[rank - 1] = -1;
    Some(steps)
}

/// A bool that is true exactly where the result is ≥ 0.
fn half_plane(s: &Site, id: Id, depth: usize) -> Option<Linear> {
    let depth = depth.checked_sub(1)?;
    if let Some(t) = s.triangle(id) {
        let below = Linear { steps: matrix(s.rank(id))?, offset: t.offset.into() };
        let truth = (t.inside.to_f64() != 0.0, t.outside.to_f64() != 0.0);
        return match truth {
            (true, false) => Some(below),
            (false, true) => Some(below.negated()),
            _ => None,
        };
    }
    comparison(s, id, depth)
        .or_else(|| {
            s.ops(id, "not").iter().find_map(|(_, x)| half_plane(s, x[0], depth)?.negated().into())
        })
        .or_else(|| s.ops(id, "cast").iter().find_map(|(_, x)| truth(s, x[0], depth)))
        .or_else(|| unwrapped(s, id, |s, x| half_plane(s, x, depth)))
}

fn comparison(s: &Site, id: Id, depth: usize) -> Option<Linear> {
    for name in ["le", "lt", "ge", "gt"] {
        for (op, x) in s.ops(id, name) {
            let (Some(a), Some(b)) = (linear(s, x[0], depth), linear(s, x[1], depth)) else {
                continue;
            };
            return Some(match op {
                Op::Binary(BinaryOp::Le) => b.plus(&a, -1),
                Op::Binary(BinaryOp::Lt) => b.plus(&a, -1).shifted(-1),
                Op::Binary(BinaryOp::Ge) => a.plus(&b, -1),
                _ => a.plus(&b, -1).shifted(-1),
            });
        }
    }
    None
}

/// A number that is 0 where the result is negative and something else where it is not:
/// `tril(ones)` before it is cast to bool.
fn truth(s: &Site, id: Id, depth: usize) -> Option<Linear> {
    if s.dtype(id) == DType::Bool || s.triangle(id).is_some() {
        return half_plane(s, id, depth);
    }
    let select = s.ops(id, "select").into_iter().find_map(|(_, x)| {
        let seen = half_plane(s, x[0], depth)?;
        match (s.uniform(x[1])?, s.uniform(x[2])?) {
            (a, 0.0) if a != 0.0 => Some(seen),
            (0.0, b) if b != 0.0 => Some(seen.negated()),
            _ => None,
        }
    });
    select.or_else(|| unwrapped(s, id, |s, x| truth(s, x, depth.checked_sub(1)?)))
}

/// A signed integer (or f64) that is linear in its indices; narrow ones might wrap.
fn linear(s: &Site, id: Id, depth: usize) -> Option<Linear> {
    let depth = depth.checked_sub(1)?;
    let wide = |d: DType| matches!(d, DType::I32 | DType::I64 | DType::F64);
    if !wide(s.dtype(id)) {
        return None;
    }
    let rank = s.rank(id);
    if let Some(x) = s.uniform(id) {
        return (x.fract() == 0.0 && x.abs() < 1e15)
            .then(|| Linear::constant(rank, (x as i64).into()));
    }
    if let Some(axis) = s.iota_axis(id).or_else(|| counted(s, id)) {
        let mut steps = vec![0; rank];
        steps[axis] = 1;
        return Some(Linear { steps, offset: 0.into() });
    }
    for (op, _) in s.ops(id, "dim_values") {
        if let Op::DimValues { dims, .. } = op
            && let [dim] = &dims[..]
        {
            return Some(Linear::constant(rank, dim.clone()));
        }
    }
    for (name, by) in [("add", 1), ("sub", -1)] {
        for (_, x) in s.ops(id, name) {
            if let (Some(a), Some(b)) = (linear(s, x[0], depth), linear(s, x[1], depth)) {
                return Some(a.plus(&b, by));
            }
        }
    }
    let cast = s.ops(id, "cast").into_iter().find(|(_, x)| wide(s.dtype(x[0])));
    cast.and_then(|(_, x)| linear(s, x[0], depth))
        .or_else(|| unwrapped(s, id, |s, x| linear(s, x, depth)))
}

/// The axis of an `Iota` whose size is not known when compiling.
fn counted(s: &Site, id: Id) -> Option<usize> {
    s.ops(id, "iota").into_iter().find_map(|(op, _)| match op {
        Op::Iota { axis, .. } => Some(axis),
        _ => None,
    })
}

/// Looks through movement that keeps indices linear: unit axes, broadcasts, windows.
fn unwrapped(s: &Site, id: Id, inner: impl Fn(&Site, Id) -> Option<Linear>) -> Option<Linear> {
    for name in ["reshape", "broadcast", "slice"] {
        for (op, x) in s.ops(id, name) {
            let (from, to) = (s.shape(x[0]), s.shape(id));
            let Some(seen) = inner(s, x[0]) else { continue };
            let moved = match op {
                Op::Reshape { .. } => through_units(&seen, &from, &to),
                Op::Broadcast { .. } => Some(Linear::constant(to.len(), 0.into()).plus(&seen, 1)),
                Op::Slice { ranges } => ranges.iter().try_fold(seen, |mut seen, r| {
                    let step = seen.steps[r.axis];
                    seen.offset = seen.offset + r.start.clone() * step;
                    (r.step == 1).then_some(seen)
                }),
                _ => None,
            };
            if moved.is_some() {
                return moved;
            }
        }
    }
    None
}

/// The same form after axes of 1 came and went.
fn through_units(seen: &Linear, from: &[Dim], to: &[Dim]) -> Option<Linear> {
    if !same_but_ones(from, to) {
        return None;
    }
    let mut real = (0..from.len()).filter(|&a| !from[a].is(1)).map(|a| seen.steps[a]);
    let steps = to.iter().map(|d| if d.is(1) { Some(0) } else { real.next() });
    Some(Linear { steps: steps.collect::<Option<_>>()?, offset: seen.offset.clone() })
}
