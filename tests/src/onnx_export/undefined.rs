//! Operands on which the ONNX standard leaves the result open, or forbids them: a node that
//! meets one is not handed to ONNX Runtime (integer division by zero would end its process).

use super::ops::Operand;
use cascata_ir::op::{BinaryOp, Op, ReduceOp, ScatterReduce};
use cascata_types::DType;
use std::collections::HashSet;

/// Why the standard does not define the node's result on these operands.
pub(super) fn undefined(op: &Op, xs: &[Operand<'_>]) -> Option<&'static str> {
    match op {
        Op::Binary(op) => binary(*op, &xs[0], &xs[1]),
        Op::Cast { to } => (to.is_int() && out_of_range(&xs[0], *to))
            .then_some("conversion of a float that the integer type cannot hold"),
        Op::ScatterElements { reduce: ScatterReduce::None, axis } => {
            repeats(scattered(&xs[0], &xs[1], *axis)).then_some("elements scattered to one place")
        }
        Op::ScatterNd { reduce: ScatterReduce::None } => {
            repeats(rows(&xs[0], &xs[1])).then_some("elements scattered to one place")
        }
        Op::Reduce { op, .. } => {
            let d = xs[0].tensor.dtype();
            let open = match op {
                ReduceOp::Max | ReduceOp::Min | ReduceOp::Mean => xs[0].tensor.is_empty(),
                _ => false,
            };
            (open && d.is_int()).then_some("extreme or mean of no integers")
        }
        Op::Attention(_) => (xs[1].tensor.dims()[2] == 0).then_some("attention over no keys"),
        Op::ArgReduce { .. } => xs[0].tensor.is_empty().then_some("extreme of nothing"),
        _ => None,
    }
}

fn binary(op: BinaryOp, a: &Operand<'_>, b: &Operand<'_>) -> Option<&'static str> {
    let d = a.tensor.dtype();
    if !d.is_int() {
        return None;
    }
    let bits = d.size_bytes()? as u32 * 8;
    let (x, y) = (a.tensor.to_i128()?, b.tensor.to_i128()?);
    let least = -(1i128 << (bits - 1));
    match op {
        BinaryOp::Div | BinaryOp::Mod | BinaryOp::Rem if y.contains(&0) => {
            Some("integer division by zero")
        }
        BinaryOp::Div | BinaryOp::Mod | BinaryOp::Rem
            if d.is_signed_int() && x.contains(&least) && y.contains(&-1) =>
        {
            Some("the least integer divided by -1")
        }
        BinaryOp::Shl | BinaryOp::Shr if y.iter().any(|n| *n >= i128::from(bits)) => {
            Some("shift by the width or more")
        }
        BinaryOp::Pow if y.iter().any(|n| *n < 0) => Some("integer to a negative power"),
        // The operands are broadcast: the largest of each bounds every result.
        BinaryOp::Pow => {
            let base = x.iter().map(|v| v.unsigned_abs()).max().unwrap_or(0) as f64;
            let power = y.iter().max().copied().unwrap_or(0) as f64;
            let limit = 2f64.powi(bits.min(53) as i32 - 1);
            (base.powf(power) >= limit).then_some("integer power that overflows")
        }
        _ => None,
    }
}

fn out_of_range(x: &Operand<'_>, to: DType) -> bool {
    if !x.tensor.dtype().is_float() {
        return false;
    }
    let bits = to.size_bytes().unwrap_or(8) as i32 * 8;
    let (low, high) = match to.is_signed_int() {
        true => (-2f64.powi(bits - 1), 2f64.powi(bits - 1)),
        false => (0.0, 2f64.powi(bits)),
    };
    let values = x.tensor.to_f64().unwrap_or_default();
    values.iter().any(|v| !(low..high).contains(&v.trunc()))
}

fn repeats<T: std::hash::Hash + Eq>(places: Vec<T>) -> bool {
    let distinct: HashSet<&T> = places.iter().collect();
    distinct.len() < places.len()
}

/// An index that counts from the start.
fn positive(index: i128, n: usize) -> i128 {
    if index < 0 { index + n as i128 } else { index }
}

/// Where each update of a `ScatterElements` goes.
fn scattered(x: &Operand<'_>, index: &Operand<'_>, axis: usize) -> Vec<Vec<i128>> {
    let dims = index.tensor.dims();
    let place = |(flat, to): (usize, &i128)| {
        let mut rest = flat;
        let mut at = vec![0; dims.len()];
        for (i, n) in dims.iter().enumerate().rev() {
            at[i] = (rest % n) as i128;
            rest /= n;
        }
        at[axis] = positive(*to, x.tensor.dims()[axis]);
        at
    };
    index.tensor.to_i128().unwrap_or_default().iter().enumerate().map(place).collect()
}

/// Where each update of a `ScatterNd` goes.
fn rows(x: &Operand<'_>, index: &Operand<'_>) -> Vec<Vec<i128>> {
    let depth = index.tensor.dims().last().copied().unwrap_or(0).max(1);
    let all = index.tensor.to_i128().unwrap_or_default();
    let place =
        |row: &[i128]| row.iter().zip(x.tensor.dims()).map(|(i, n)| positive(*i, *n)).collect();
    all.chunks(depth).map(place).collect()
}
