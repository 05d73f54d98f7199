//! Attention and rotary embedding of opset 23, decomposed; the recogniser finds them again.

use super::super::cx::Cx;
use super::super::emit::many;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use super::source::named_dtype;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op, UnaryOp};
use cascata_ir::types::{DType, Dim};

pub const OPS: Table = &[("Attention", Many(attention)), ("RotaryEmbedding", One(rotary))];

/// `[B, S, heads·D]` as `[B, heads, S, D]`; rank 4 stays.
fn split_heads(cx: &mut Cx<'_>, x: ValueId, name: &str) -> R<ValueId> {
    let s = cx.shape(x);
    match s.len() {
        4 => Ok(x),
        3 => {
            let Some(heads) = cx.opt_int(name)?.filter(|h| *h > 0) else {
                return malformed!("{name} is missing for operands of rank 3");
            };
            let Some(size) = s[2].exact_div(&heads.into()) else {
                return malformed!("{} does not divide into {heads} heads", cx.show(&s[2]));
            };
            let split = vec![s[0].clone(), s[1].clone(), heads.into(), size];
            let y = cx.reshape(x, split)?;
            cx.transpose(y, vec![0, 2, 1, 3])
        }
        rank => malformed!("an operand of rank {rank}, must be 3 or 4"),
    }
}

/// Each of `[B, G, T, D]`'s heads repeated for the query heads that share it.
fn share_heads(cx: &mut Cx<'_>, x: ValueId, heads: &Dim) -> R<ValueId> {
    let s = cx.shape(x);
    if s[1] == *heads {
        return Ok(x);
    }
    let Some(times) = heads.exact_div(&s[1]) else {
        return malformed!("{} query heads for {} heads", cx.show(heads), cx.show(&s[1]));
    };
    let column = cx.unsqueeze(x, &[2])?;
    let mut wide = cx.shape(column);
    wide[2] = times;
    let wide = cx.broadcast(column, wide)?;
    cx.reshape(wide, vec![s[0].clone(), heads.clone(), s[2].clone(), s[3].clone()])
}

fn attention(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    cx.require(!cx.has(6), "nonpad_kv_seqlen")?;
    let rank3 = cx.input_type(0)?.rank() == 3;
    let q = cx.input(0)?;
    let q = split_heads(cx, q, "q_num_heads")?;
    let (mut k, mut v) = (cx.input(1)?, cx.input(2)?);
    k = split_heads(cx, k, "kv_num_heads")?;
    v = split_heads(cx, v, "kv_num_heads")?;
    if let (Some(past_k), Some(past_v)) = (cx.optional(4)?, cx.optional(5)?) {
        k = cx.concat(&[past_k, k], 2)?;
        v = cx.concat(&[past_v, v], 2)?;
    }
    let present = (k, v);
    let heads = cx.shape(q)[1].clone();
    let (k, v) = (share_heads(cx, k, &heads)?, share_heads(cx, v, &heads)?);
    let dtype = cx.dtype(q);
    let scores = raw_scores(cx, q, k)?;
    let biased = add_mask(cx, scores, present.0, k, q)?;
    let capped = match cx.float("softcap", 0.0)? {
        0.0 => biased,
        cap => {
            let y = cx.with_number(BinaryOp::Div, biased, cap.into())?;
            let y = cx.unary(UnaryOp::Tanh, y)?;
            cx.with_number(BinaryOp::Mul, y, cap.into())?
        }
    };
    let precision = match cx.opt_int("softmax_precision")? {
        Some(code) => named_dtype(code)?,
        None => dtype,
    };
    let wide = cx.cast(capped, precision)?;
    let p = cx.emit(Op::Softmax { axis: 3 }, &[wide])?;
    let p = cx.cast(p, dtype)?;
    let mut y = cx.emit(Op::MatMul, &[p, v])?;
    if rank3 {
        let s = cx.shape(y);
        y = cx.transpose(y, vec![0, 2, 1, 3])?;
        y = cx.reshape(y, vec![s[0].clone(), s[2].clone(), s[1].clone() * s[3].clone()])?;
    }
    let inspected = match cx.int("qk_matmul_output_mode", 0)? {
        0 => scores,
        1 => biased,
        2 => capped,
        3 => p,
        other => return malformed!("qk_matmul_output_mode {other}"),
    };
    many([y, present.0, present.1, inspected])
}

/// `(q·√scale)·(k·√scale)ᵀ`: ONNX scales both sides, which keeps half floats in range.
fn raw_scores(cx: &mut Cx<'_>, q: ValueId, k: ValueId) -> R<ValueId> {
    let scale = match cx.opt_float("scale")? {
        Some(scale) => f64::from(scale),
        None => match cx.shape(q)[3].as_const() {
            Some(d) if d > 0 => 1.0 / (d as f64).sqrt(),
            _ => return unsupported!("no scale is given and the head size is not known"),
        },
    };
    let root = scale.abs().sqrt();
    let q = cx.with_number(BinaryOp::Mul, q, root.copysign(scale))?;
    let k = cx.with_number(BinaryOp::Mul, k, root)?;
    let k = cx.transpose(k, vec![0, 1, 3, 2])?;
    cx.emit(Op::MatMul, &[q, k])
}

/// Adds the mask operand (bool: −∞ where false) and the causal mask.
fn add_mask(
    cx: &mut Cx<'_>,
    scores: ValueId,
    present: ValueId,
    k: ValueId,
    q: ValueId,
) -> R<ValueId> {
    let mut scores = scores;
    let (rows, columns) = (cx.shape(q)[2].clone(), cx.shape(k)[2].clone());
    if cx.flag("is_causal", false)? {
        // Queries follow the past keys: query s sees keys up to s + past.
        let past = match cx.has(4) {
            true => cx.input_type(4)?.shape[2].clone(),
            false => cx.shape(present)[2].clone() - columns.clone(),
        };
        let row = cx.iota(DType::I64, vec![rows, 1.into()], 0)?;
        let past = cx.dim_scalar(past, DType::I64)?;
        let row = cx.binary(BinaryOp::Add, row, past)?;
        let column = cx.iota(DType::I64, vec![1.into(), columns.clone()], 1)?;
        let visible = cx.binary(BinaryOp::Le, column, row)?;
        scores = masked(cx, scores, visible)?;
    }
    let Some(mut mask) = cx.optional(3)? else { return Ok(scores) };
    let last = cx.rank(mask) - 1;
    let short = columns.clone() - cx.shape(mask)[last].clone();
    if !short.is(0) && !cx.shape(mask)[last].is(1) {
        // A mask for fewer keys hides the rest.
        let mut pads = vec![(Dim::from(0), Dim::from(0)); last + 1];
        pads[last].1 = short;
        let hidden = if cx.dtype(mask) == DType::Bool { 0.0 } else { f64::NEG_INFINITY };
        let hidden = cx.number_like(mask, hidden)?;
        let mode = cascata_ir::op::PadMode::Constant;
        mask = cx.emit(Op::Pad { pads, mode }, &[mask, hidden])?;
    }
    if cx.dtype(mask) == DType::Bool {
        return masked(cx, scores, mask);
    }
    cx.binary(BinaryOp::Add, scores, mask)
}

fn masked(cx: &mut Cx<'_>, scores: ValueId, visible: ValueId) -> R<ValueId> {
    let hidden = cx.number_like(scores, f64::NEG_INFINITY)?;
    cx.select(visible, scores, hidden)
}

/// Rotates pairs of the first `rotary_embedding_dim` elements of each head.
fn rotary(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let rank3 = cx.rank(x) == 3;
    let by_head = split_heads(cx, x, "num_heads")?;
    let s = cx.shape(by_head);
    let Some(size) = s[3].as_const() else {
        return unsupported!("a head size that is not known");
    };
    let rotated = match cx.int("rotary_embedding_dim", 0)? {
        0 => size,
        d => d,
    };
    if rotated < 2 || rotated % 2 != 0 || rotated > size {
        return malformed!("rotary_embedding_dim {rotated} for heads of {size}");
    }
    let half = rotated / 2;
    let (cos, sin) = (angles(cx, 1)?, angles(cx, 2)?);
    let head = cx.slice_axis(by_head, 3, 0.into(), rotated.into())?;
    let rest = cx.slice_axis(by_head, 3, rotated.into(), (size - rotated).into())?;
    let interleaved = cx.flag("interleaved", false)?;
    let lead = || s[..3].to_vec();
    let (pairs, part) = match interleaved {
        true => ([lead(), vec![half.into(), 2.into()]].concat(), 4),
        false => ([lead(), vec![2.into(), half.into()]].concat(), 3),
    };
    let split = cx.reshape(head, pairs)?;
    let mut side = |i: i64| -> R<ValueId> {
        let one = cx.slice_axis(split, part, i.into(), 1.into())?;
        cx.reshape(one, [lead(), vec![half.into()]].concat())
    };
    let (a, b) = (side(0)?, side(1)?);
    let (a_cos, b_sin) = (cx.binary(BinaryOp::Mul, a, cos)?, cx.binary(BinaryOp::Mul, b, sin)?);
    let (a_sin, b_cos) = (cx.binary(BinaryOp::Mul, a, sin)?, cx.binary(BinaryOp::Mul, b, cos)?);
    let real = cx.binary(BinaryOp::Sub, a_cos, b_sin)?;
    let imaginary = cx.binary(BinaryOp::Add, a_sin, b_cos)?;
    let parts = [cx.unsqueeze(real, &[part])?, cx.unsqueeze(imaginary, &[part])?];
    let joined = cx.concat(&parts, part)?;
    let mut y = cx.reshape(joined, [lead(), vec![rotated.into()]].concat())?;
    if rotated < size {
        y = cx.concat(&[y, rest], 3)?;
    }
    if rank3 {
        let shape = cx.shape(x);
        y = cx.transpose(y, vec![0, 2, 1, 3])?;
        y = cx.reshape(y, shape)?;
    }
    Ok(y)
}

/// Cosines or sines as `[B, 1, S, half]`, looked up by position where positions are given.
fn angles(cx: &mut Cx<'_>, i: usize) -> R<ValueId> {
    let table = cx.input(i)?;
    let picked = match cx.optional(3)? {
        Some(positions) => cx.emit(Op::Gather { axis: 0 }, &[table, positions])?,
        None => table,
    };
    if cx.rank(picked) != 3 {
        return malformed!("the angles have rank {}, must be 3", cx.rank(picked));
    }
    cx.unsqueeze(picked, &[1])
}
