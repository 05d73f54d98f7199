//! Attention of flat rows over a KV cache that is empty.
//!
//! A row at position `p` belongs to the sequence of the `p` rows before it, which stand at
//! positions `0..p`.

use super::attention::mix;
use super::compute::Operands;
use super::error::OpError;
use super::tensor::{Tensor, checked_elements};
use crate::op::CacheAttentionAttrs;

pub(super) fn cache_attention(
    args: &Operands,
    attrs: &CacheAttentionAttrs,
) -> Result<Tensor, OpError> {
    let (&[rows, heads, depth], &[_, groups, _]) = (args.at(0)?.dims(), args.at(1)?.dims()) else {
        return Err(OpError::Shape("q and k must have three axes".into()));
    };
    let (q, k, v) = (args.floats(0)?, args.floats(1)?, args.floats(2)?);
    let positions = args.ints(3)?;
    let stored = rows * groups * depth;
    let fits = k.len() == stored && v.len() == stored && positions.len() == rows;
    if !fits || groups == 0 || heads % groups != 0 {
        return Err(OpError::Shape("q, k, v and positions do not attend".into()));
    }
    let mut y = vec![0.0; checked_elements(&[rows, heads, depth])?];
    for (at, out) in y.chunks_exact_mut(depth.max(1)).enumerate() {
        let (row, head) = (at / heads, at % heads);
        let query = &q[at * depth..][..depth];
        let keys = first_key(&positions, row, attrs)?..row + 1;
        let scored = keys.map(|key| {
            let at = (key * groups + head * groups / heads) * depth;
            (score(query, &k[at..at + depth], attrs), &v[at..at + depth])
        });
        mix(&scored.collect::<Vec<_>>(), true, out);
    }
    Tensor::from_f64(args.at(0)?.dtype(), &[rows, heads, depth], y)
}

fn score(query: &[f64], key: &[f64], attrs: &CacheAttentionAttrs) -> f64 {
    let dot: f64 = query.iter().zip(key).map(|(a, b)| a * b).sum();
    let score = attrs.scale.to_f64() * dot;
    match attrs.soft_cap.map(|c| c.to_f64()) {
        Some(cap) => cap * libm::tanh(score / cap),
        None => score,
    }
}

/// The first row whose key a row sees.
fn first_key(positions: &[i64], row: usize, attrs: &CacheAttentionAttrs) -> Result<usize, OpError> {
    let position = positions[row];
    let start = usize::try_from(position).ok().and_then(|p| row.checked_sub(p));
    let start = start.filter(|s| positions[*s..=row].iter().copied().eq(0..=position));
    let start = start.filter(|_| position < attrs.max_positions).ok_or_else(|| {
        OpError::Unsupported(format!(
            "row {row} at position {position}: the interpreter's cache is empty, so the rows \
             before it must stand at positions from 0 on, all below {}",
            attrs.max_positions
        ))
    })?;
    let window = attrs.window.and_then(|w| usize::try_from(w).ok());
    Ok(window.map_or(start, |w| start.max((row + 1).saturating_sub(w))))
}
