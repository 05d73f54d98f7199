//! Attention of opset 23 and newer: the core op where it says all, else its parts.

use super::super::cx::Cx;
use super::super::emit::many;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use super::source::named_dtype;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{AttentionAttrs, BinaryOp, Op, PadMode, ReduceOp, UnaryOp};
use cascata_ir::types::{DType, Dim, Scalar};

pub const OPS: Table = &[("Attention", Many(attention))];

/// `[B, S, heads·D]` as `[B, heads, S, D]`; rank 4 stays.
pub fn split_heads(cx: &mut Cx<'_>, x: ValueId, name: &str) -> R<ValueId> {
    let s = cx.shape(x);
    match s.len() {
        4 => Ok(x),
        3 => {
            let Some(heads) = cx.opt_int(name)?.filter(|h| *h > 0) else {
                return malformed!("{name} is missing for operands of rank 3");
            };
            split_into(cx, x, heads)
        }
        rank => malformed!("an operand of rank {rank}, must be 3 or 4"),
    }
}

/// `[B, S, heads·D]` as `[B, heads, S, D]`.
pub fn split_into(cx: &mut Cx<'_>, x: ValueId, heads: i64) -> R<ValueId> {
    let s = cx.shape(x);
    if s.len() != 3 {
        return malformed!("an operand of rank {}, must be 3", s.len());
    }
    let Some(size) = s[2].exact_div(&heads.into()) else {
        return malformed!("{} does not divide into {heads} heads", cx.show(&s[2]));
    };
    let y = cx.reshape(x, vec![s[0].clone(), s[1].clone(), heads.into(), size])?;
    cx.transpose(y, vec![0, 2, 1, 3])
}

/// `[B, H, S, E]` as `[B, S, H·E]`.
pub fn join_heads(cx: &mut Cx<'_>, y: ValueId) -> R<ValueId> {
    let s = cx.shape(y);
    let y = cx.transpose(y, vec![0, 2, 1, 3])?;
    cx.reshape(y, vec![s[0].clone(), s[2].clone(), s[1].clone() * s[3].clone()])
}

/// Operands with heads split and the past keys and values in front.
pub struct Operands {
    pub q: ValueId,
    pub k: ValueId,
    pub v: ValueId,
    /// Of the scores.
    pub scale: f64,
}

/// Which keys a query may see.
#[derive(Default)]
pub struct Mask {
    /// Query `s` of S sees keys up to `s + T − S` of T.
    pub causal: bool,
    /// bool; hidden where false.
    pub visible: Option<ValueId>,
    /// Added to the scores.
    pub bias: Option<ValueId>,
    /// A row may see nothing; it gives zeros.
    pub empty_rows: bool,
}

fn attention(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let rank3 = cx.input_type(0)?.rank() == 3;
    let operands = operands(cx)?;
    let mask = mask(cx, &operands)?;
    let plain =
        !cx.wants(3) && cx.float("softcap", 0.0)? == 0.0 && !cx.has_attribute("softmax_precision");
    let (mut y, inspected) = match plain {
        true => (fused(cx, &operands, &mask)?, None),
        false => {
            let (y, inspected) = parts(cx, &operands, mask)?;
            (y, Some(inspected))
        }
    };
    if rank3 {
        y = join_heads(cx, y)?;
    }
    many([y, operands.k, operands.v].into_iter().chain(inspected))
}

fn operands(cx: &mut Cx<'_>) -> R<Operands> {
    let q = cx.input(0)?;
    let q = split_heads(cx, q, "q_num_heads")?;
    let (mut k, mut v) = (cx.input(1)?, cx.input(2)?);
    k = split_heads(cx, k, "kv_num_heads")?;
    v = split_heads(cx, v, "kv_num_heads")?;
    match (cx.optional(4)?, cx.optional(5)?) {
        (Some(past_k), Some(past_v)) => {
            k = cx.concat(&[past_k, k], 2)?;
            v = cx.concat(&[past_v, v], 2)?;
        }
        (None, None) => {}
        _ => return malformed!("past_key and past_value must be given together"),
    }
    let scale = match cx.opt_float("scale")? {
        Some(scale) => f64::from(scale),
        None => match cx.shape(q)[3].as_const() {
            Some(d) if d > 0 => 1.0 / (d as f64).sqrt(),
            _ => return unsupported!("no scale is given and the head size is not known"),
        },
    };
    Ok(Operands { q, k, v, scale })
}

fn mask(cx: &mut Cx<'_>, o: &Operands) -> R<Mask> {
    let (rows, columns) = (cx.shape(o.q)[2].clone(), cx.shape(o.k)[2].clone());
    let causal = cx.flag("is_causal", false)?;
    let (left, right) = (cx.int("left_window_size", -1)?, cx.int("right_window_size", -1)?);
    let past = match cx.has(4) {
        true => cx.input_type(4)?.shape[2].clone(),
        false => Dim::from(0),
    };
    let lens = cx.optional(6)?;
    let windowed = left >= 0 || right >= 0;
    let mut mask = Mask {
        causal: causal && lens.is_none() && past == columns.clone() - rows.clone(),
        empty_rows: lens.is_some() || windowed || cx.has(3),
        ..Mask::default()
    };
    let column = cx.iota(DType::I64, vec![1.into(), columns.clone()], 1)?;
    if (causal && !mask.causal) || windowed {
        let row = cx.iota(DType::I64, vec![rows.clone(), 1.into()], 0)?;
        let offset = offset(cx, lens, past, rows)?;
        let row = cx.binary(BinaryOp::Add, row, offset)?;
        if causal && !mask.causal {
            let seen = cx.binary(BinaryOp::Le, column, row)?;
            mask.see(cx, seen)?;
        }
        if left >= 0 {
            let first = cx.with_number(BinaryOp::Sub, row, left as f64)?;
            let seen = cx.binary(BinaryOp::Ge, column, first)?;
            mask.see(cx, seen)?;
        }
        if right >= 0 {
            let last = cx.with_number(BinaryOp::Add, row, right as f64)?;
            let seen = cx.binary(BinaryOp::Le, column, last)?;
            mask.see(cx, seen)?;
        }
    }
    if let Some(lens) = lens {
        let lens = cx.unsqueeze(lens, &[1, 2, 3])?;
        let seen = cx.binary(BinaryOp::Lt, column, lens)?;
        mask.see(cx, seen)?;
    }
    if let Some(given) = cx.optional(3)? {
        let given = widen(cx, given, &columns)?;
        match cx.dtype(given) {
            DType::Bool => mask.see(cx, given)?,
            _ => mask.bias = Some(given),
        }
    }
    Ok(mask)
}

/// How many keys come before the first query: per batch where lengths are given.
fn offset(cx: &mut Cx<'_>, lens: Option<ValueId>, past: Dim, rows: Dim) -> R<ValueId> {
    let Some(lens) = lens else { return cx.dim_scalar(past, DType::I64) };
    let lens = cx.unsqueeze(lens, &[1, 2, 3])?;
    let rows = cx.dim_scalar(rows, DType::I64)?;
    cx.binary(BinaryOp::Sub, lens, rows)
}

/// A mask for fewer keys hides the rest.
fn widen(cx: &mut Cx<'_>, mask: ValueId, columns: &Dim) -> R<ValueId> {
    let Some(last) = cx.rank(mask).checked_sub(1) else { return Ok(mask) };
    let own = cx.shape(mask)[last].clone();
    if own == *columns || own.is(1) {
        return Ok(mask);
    }
    let mut pads = vec![(Dim::from(0), Dim::from(0)); last + 1];
    pads[last].1 = columns.clone() - own;
    let hidden = if cx.dtype(mask) == DType::Bool { 0.0 } else { f64::NEG_INFINITY };
    let hidden = cx.number_like(mask, hidden)?;
    cx.emit(Op::Pad { pads, mode: PadMode::Constant }, &[mask, hidden])
}

impl Mask {
    /// Hides what `seen` says is hidden, too.
    fn see(&mut self, cx: &mut Cx<'_>, seen: ValueId) -> R<()> {
        self.visible = Some(match self.visible {
            Some(visible) => cx.binary(BinaryOp::And, visible, seen)?,
            None => seen,
        });
        Ok(())
    }
}

fn hide(cx: &mut Cx<'_>, scores: ValueId, visible: ValueId) -> R<ValueId> {
    let hidden = cx.number_like(scores, f64::NEG_INFINITY)?;
    cx.select(visible, scores, hidden)
}

/// Attention with the node's soft cap, `[B, H, S, E]`.
pub fn attend(cx: &mut Cx<'_>, o: &Operands, mask: Mask) -> R<ValueId> {
    match cx.float("softcap", 0.0)? {
        0.0 => fused(cx, o, &mask),
        _ => parts(cx, o, mask).map(|(y, _)| y),
    }
}

/// The core op.
fn fused(cx: &mut Cx<'_>, o: &Operands, mask: &Mask) -> R<ValueId> {
    let joined = match (mask.visible, mask.bias) {
        (Some(visible), Some(bias)) => Some(hide(cx, bias, visible)?),
        (visible, bias) => visible.or(bias),
    };
    let attrs = AttentionAttrs {
        scale: Scalar::f32(o.scale as f32),
        causal: mask.causal,
        zero_masked_rows: mask.empty_rows,
    };
    let operands: Vec<ValueId> = [o.q, o.k, o.v].into_iter().chain(joined).collect();
    cx.emit(Op::Attention(attrs), &operands)
}

/// Scores, soft cap, mask, softmax and product, one by one; gives the result and the
/// intermediate that `qk_matmul_output_mode` asks for.
fn parts(cx: &mut Cx<'_>, o: &Operands, mut mask: Mask) -> R<(ValueId, ValueId)> {
    let heads = cx.shape(o.q)[1].clone();
    let (k, v) = (share_heads(cx, o.k, &heads)?, share_heads(cx, o.v, &heads)?);
    let dtype = cx.dtype(o.q);
    let raw = scores(cx, o, k)?;
    let capped = match cx.float("softcap", 0.0)? {
        0.0 => raw,
        cap => {
            let y = cx.with_number(BinaryOp::Div, raw, cap.into())?;
            let y = cx.unary(UnaryOp::Tanh, y)?;
            cx.with_number(BinaryOp::Mul, y, cap.into())?
        }
    };
    if mask.causal {
        let (rows, columns) = (cx.shape(o.q)[2].clone(), cx.shape(k)[2].clone());
        let row = cx.iota(DType::I64, vec![rows.clone(), 1.into()], 0)?;
        let past = cx.dim_scalar(columns.clone() - rows, DType::I64)?;
        let row = cx.binary(BinaryOp::Add, row, past)?;
        let column = cx.iota(DType::I64, vec![1.into(), columns], 1)?;
        let seen = cx.binary(BinaryOp::Le, column, row)?;
        mask.see(cx, seen)?;
    }
    let mut biased = capped;
    if let Some(bias) = mask.bias {
        biased = cx.binary(BinaryOp::Add, biased, bias)?;
    }
    if let Some(visible) = mask.visible {
        biased = hide(cx, biased, visible)?;
    }
    let precision = match cx.opt_int("softmax_precision")? {
        Some(code) => named_dtype(code)?,
        None => dtype,
    };
    let wide = cx.cast(biased, precision)?;
    let mut p = cx.emit(Op::Softmax { axis: 3 }, &[wide])?;
    if mask.empty_rows {
        let largest = cx.reduce(ReduceOp::Max, wide, &[3], true)?;
        let empty = cx.with_number(BinaryOp::Eq, largest, f64::NEG_INFINITY)?;
        let zero = cx.number_like(p, 0.0)?;
        p = cx.select(empty, zero, p)?;
    }
    let p = cx.cast(p, dtype)?;
    let y = cx.emit(Op::MatMul, &[p, v])?;
    let inspected = match cx.int("qk_matmul_output_mode", 0)? {
        0 => raw,
        1 => capped,
        2 => biased,
        3 => p,
        other => return malformed!("qk_matmul_output_mode {other}"),
    };
    Ok((y, inspected))
}

/// Each of `[B, G, T, D]`'s heads repeated for the query heads that share it.
pub fn share_heads(cx: &mut Cx<'_>, x: ValueId, heads: &Dim) -> R<ValueId> {
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

/// `(q·√scale)·(k·√scale)ᵀ`: ONNX scales both sides, which keeps half floats in range.
pub fn scores(cx: &mut Cx<'_>, o: &Operands, k: ValueId) -> R<ValueId> {
    let root = o.scale.abs().sqrt();
    let q = cx.with_number(BinaryOp::Mul, o.q, root.copysign(o.scale))?;
    let k = cx.with_number(BinaryOp::Mul, k, root)?;
    let k = cx.transpose(k, vec![0, 1, 3, 2])?;
    cx.emit(Op::MatMul, &[q, k])
}
