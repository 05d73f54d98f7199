//! Attention without softmax over a recurrent state, and the causal convolution beside it.

use super::super::cx::Cx;
use super::super::emit::many;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use super::attention::{join_heads, split_into};
use super::contraction::matmul;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, ChannelLayout, ConvAttrs, Op, UnaryOp};
use cascata_ir::types::{DType, Dim, Scalar};

pub const OPS: Table = &[
    ("CausalConvWithState", Many(causal_conv_with_state)),
    ("LinearAttention", Many(linear_attention)),
];

/// Most steps that are written out one after the other.
const MOST_STEPS: i64 = 256;

/// Depthwise over the state followed by the operand; the last elements are the next state.
fn causal_conv_with_state(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let (shape, kernel) = (cx.shape(x), cx.shape(w));
    let ([batch, channels, _], [_, one, taps]) = (shape.as_slice(), kernel.as_slice()) else {
        return malformed!("operands of rank {} and {}, must be 3", shape.len(), kernel.len());
    };
    let (Some(taps), Some(groups)) = (taps.as_const(), channels.as_const()) else {
        return unsupported!("the number of channels and taps must be known");
    };
    if !one.is(1) || taps < 1 {
        return malformed!("weights must be [channels, 1, taps]");
    }
    let past = match cx.optional(3)? {
        Some(past) => past,
        None => {
            let dtype = cx.dtype(x);
            let zeros = vec![batch.clone(), channels.clone(), (taps - 1).into()];
            cx.fill(Scalar::from_f64(dtype, 0.0), zeros)?
        }
    };
    let padded = if taps == 1 { x } else { cx.concat(&[past, x], 2)? };
    let attrs = ConvAttrs {
        strides: vec![1],
        pads: vec![(0, 0)],
        dilations: vec![1],
        groups,
        layout: ChannelLayout::First,
    };
    let operands: Vec<ValueId> = [padded, w].into_iter().chain(cx.optional(2)?).collect();
    let mut y = cx.emit(Op::Conv(attrs), &operands)?;
    match cx.string("activation", "none")?.as_str() {
        "none" => {}
        "silu" | "swish" => y = cx.unary(UnaryOp::Silu, y)?,
        other => return malformed!("activation '{other}' does not exist"),
    }
    let length = cx.shape(padded)[2].clone();
    let state = cx.slice_axis(padded, 2, length - (taps - 1), (taps - 1).into())?;
    many([y, state])
}

/// Operands in `f32` as `[B, heads, T, ·]`.
struct Steps {
    q: ValueId,
    k: ValueId,
    v: ValueId,
    decay: Option<ValueId>,
    beta: Option<ValueId>,
}

fn linear_attention(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let rule = cx.string("update_rule", "gated_delta")?;
    let (gated, delta) = match rule.as_str() {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return malformed!("update_rule '{other}' does not exist"),
    };
    if cx.has(4) != gated || cx.has(5) != delta {
        return malformed!("decay and beta do not fit update_rule '{rule}'");
    }
    let (heads, kv_heads) = (cx.int("q_num_heads", 0)?, cx.int("kv_num_heads", 0)?);
    if heads < 1 || kv_heads < 1 || heads % kv_heads != 0 {
        return malformed!("{heads} query heads over {kv_heads} heads");
    }
    let query = cx.input(0)?;
    let dtype = cx.dtype(query);
    let steps = operands(cx, heads, kv_heads)?;
    let (keys, values) = (cx.shape(steps.k), cx.shape(steps.v));
    let state_shape = vec![keys[0].clone(), kv_heads.into(), keys[3].clone(), values[3].clone()];
    let (state, state_dtype) = match cx.optional(3)? {
        Some(past) => (cx.cast(past, DType::F32)?, cx.dtype(past)),
        None => (cx.fill(Scalar::f32(0.0), state_shape)?, dtype),
    };
    let scale = match (cx.float("scale", 0.0)?, keys[3].as_const()) {
        (0.0, Some(d)) if d > 0 => 1.0 / (d as f64).sqrt(),
        (0.0, _) => return unsupported!("no scale is given and the head size is not known"),
        (scale, _) => f64::from(scale),
    };
    let (y, state) = unrolled(cx, &steps, state, heads / kv_heads)?;
    let y = cx.with_number(BinaryOp::Mul, y, scale)?;
    let y = join_heads(cx, y)?;
    many([cx.cast(y, dtype)?, cx.cast(state, state_dtype)?])
}

fn operands(cx: &mut Cx<'_>, heads: i64, kv_heads: i64) -> R<Steps> {
    let mut wide = |i: usize, heads: i64| -> R<ValueId> {
        let x = cx.input(i)?;
        let x = split_into(cx, x, heads)?;
        cx.cast(x, DType::F32)
    };
    let (q, k, v) = (wide(0, heads)?, wide(1, kv_heads)?, wide(2, kv_heads)?);
    let mut gate = |i: usize| -> R<Option<ValueId>> {
        let Some(x) = cx.optional(i)? else { return Ok(None) };
        let single = cx.shape(x).last().is_some_and(|d| d.is(1));
        let x = split_into(cx, x, if single { 1 } else { kv_heads })?;
        cx.cast(x, DType::F32).map(Some)
    };
    Ok(Steps { q, k, v, decay: gate(4)?, beta: gate(5)? })
}

/// The recurrence step by step; gives `[B, heads, T, ·]` before scaling, and the last state.
fn unrolled(
    cx: &mut Cx<'_>,
    steps: &Steps,
    mut state: ValueId,
    group: i64,
) -> R<(ValueId, ValueId)> {
    let Some(count) = cx.shape(steps.q)[2].as_const().filter(|n| (1..=MOST_STEPS).contains(n))
    else {
        return unsupported!("the number of steps must be known, 1 to {MOST_STEPS}");
    };
    let mut results = Vec::new();
    for t in 0..count {
        let mut at = |x: ValueId| cx.slice_axis(x, 2, t.into(), 1.into());
        let (q, k, mut v) = (at(steps.q)?, at(steps.k)?, at(steps.v)?);
        let (decay, beta) =
            (steps.decay.map(&mut at).transpose()?, steps.beta.map(&mut at).transpose()?);
        let column = cx.transpose(k, vec![0, 1, 3, 2])?;
        if let Some(decay) = decay {
            let kept = cx.unary(UnaryOp::Exp, decay)?;
            let kept = cx.transpose(kept, vec![0, 1, 3, 2])?;
            state = cx.binary(BinaryOp::Mul, state, kept)?;
        }
        if let Some(beta) = beta {
            let held = matmul(cx, k, state)?;
            let error = cx.binary(BinaryOp::Sub, v, held)?;
            v = cx.binary(BinaryOp::Mul, beta, error)?;
        }
        let written = cx.binary(BinaryOp::Mul, column, v)?;
        state = cx.binary(BinaryOp::Add, state, written)?;
        results.push(read(cx, q, state, group)?);
    }
    Ok((cx.concat(&results, 2)?, state))
}

/// `q·state`, each head of the state serving `group` heads of queries.
fn read(cx: &mut Cx<'_>, q: ValueId, state: ValueId, group: i64) -> R<ValueId> {
    let (shape, s) = (cx.shape(q), cx.shape(state));
    let by_state = vec![s[0].clone(), s[1].clone(), group.into(), shape[3].clone()];
    let q = cx.reshape(q, by_state)?;
    let y = matmul(cx, q, state)?;
    cx.reshape(y, vec![shape[0].clone(), shape[1].clone(), Dim::from(1), s[3].clone()])
}
