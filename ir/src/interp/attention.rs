//! Scaled dot-product attention with grouped key heads, masks and causality.
//!
//! A key that a query does not see (causal, or a false mask element) takes no part at
//! all; a float mask is added to the scores, so its −inf gives weight 0.

use super::compute::Operands;
use super::error::OpError;
use super::index::broadcast_to;
use super::tensor::{Tensor, checked_elements};
use crate::op::AttentionAttrs;
use crate::types::DType;

/// Sizes: batch, query heads, key heads, queries, keys, key width, value width.
struct Sizes {
    b: usize,
    h: usize,
    g: usize,
    s: usize,
    t: usize,
    d: usize,
    e: usize,
}

pub(super) fn attention(args: &Operands, attrs: &AttentionAttrs) -> Result<Tensor, OpError> {
    let n = sizes(args)?;
    let (q, k, v) = (args.floats(0)?, args.floats(1)?, args.floats(2)?);
    let mask = args.get(3).map(|m| additive(m, &n)).transpose()?;
    let scale = attrs.scale.to_f64();
    let dims = [n.b, n.h, n.s, n.e];
    let mut y = vec![0.0; checked_elements(&dims)?];
    // Over no keys at all zeros are the result.
    let rows = if n.t == 0 { 0 } else { n.b * n.h * n.s };
    for row in 0..rows {
        let (head, s) = (row / n.s, row % n.s);
        let key_head = head / n.h * n.g + head % n.h / (n.h / n.g);
        let visible = |t: usize| !attrs.causal || (t + n.s) as i64 <= (s + n.t) as i64;
        let query = &q[row * n.d..][..n.d];
        let values = &v[key_head * n.t * n.e..][..n.t * n.e];
        let mut scored = Vec::with_capacity(n.t);
        for t in (0..n.t).filter(|&t| visible(t)) {
            let bias = mask.as_ref().map_or(Some(0.0), |m| m[row * n.t + t]);
            let Some(bias) = bias else { continue };
            let key = &k[(key_head * n.t + t) * n.d..][..n.d];
            let dot: f64 = query.iter().zip(key).map(|(a, b)| a * b).sum();
            scored.push((scale * dot + bias, &values[t * n.e..][..n.e]));
        }
        mix(&scored, attrs.zero_masked_rows, &mut y[row * n.e..][..n.e]);
    }
    Tensor::from_f64(args.at(0)?.dtype(), &dims, y)
}

/// `out = Σ softmax(scores)·values`; without any score above −∞ it stays 0, or becomes NaN.
pub(super) fn mix(scored: &[(f64, &[f64])], zero_masked_rows: bool, out: &mut [f64]) {
    let max = scored.iter().fold(f64::NEG_INFINITY, |m, (s, _)| m.max(*s));
    let masked = scored.iter().all(|(s, _)| *s == f64::NEG_INFINITY);
    if masked && zero_masked_rows {
        return;
    }
    let weights: Vec<f64> = scored.iter().map(|(s, _)| libm::exp(s - max)).collect();
    let sum: f64 = weights.iter().sum();
    for ((_, values), weight) in scored.iter().zip(&weights) {
        for (o, v) in out.iter_mut().zip(*values) {
            *o += weight * v;
        }
    }
    out.iter_mut().for_each(|o| *o /= sum);
}

fn sizes(args: &Operands) -> Result<Sizes, OpError> {
    let (q, k, v) = (args.at(0)?.dims(), args.at(1)?.dims(), args.at(2)?.dims());
    let misfit = || OpError::Shape(format!("q {q:?}, k {k:?} and v {v:?} do not attend"));
    let (&[b, h, s, d], &[b2, g, t, d2], &[b3, g2, t2, e]) = (q, k, v) else {
        return Err(misfit());
    };
    let dtype = args.at(0)?.dtype();
    for i in 1..3 {
        if args.at(i)?.dtype() != dtype {
            return Err(OpError::dtype(i, &dtype.to_string(), args.at(i)?.dtype()));
        }
    }
    let fits = (b, b, d, g, t) == (b2, b3, d2, g2, t2) && (h == 0 || (g > 0 && h % g == 0));
    if fits { Ok(Sizes { b, h, g, s, t, d, e }) } else { Err(misfit()) }
}

/// What is added to each score `[B,H,S,T]`; `None` where a bool mask hides the key.
fn additive(mask: &Tensor, n: &Sizes) -> Result<Vec<Option<f64>>, OpError> {
    let full = broadcast_to(mask, &[n.b, n.h, n.s, n.t])?;
    let values = full.to_f64().unwrap_or_default();
    match mask.dtype() {
        DType::Bool => Ok(values.into_iter().map(|keep| (keep != 0.0).then_some(0.0)).collect()),
        d if d.is_float() => Ok(values.into_iter().map(Some).collect()),
        d => Err(OpError::dtype(3, "bool or a float", d)),
    }
}
