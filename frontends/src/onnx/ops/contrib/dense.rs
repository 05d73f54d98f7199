//! Activations and products with something fused to them.

use super::super::super::cx::Cx;
use super::super::super::error::{R, malformed, unsupported};
use super::super::super::registry::{Importer::*, Table};
use super::super::activation::formula;
use super::super::contraction::{gemm, matmul};
use super::super::conv::conv_of;
use super::only;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, UnaryOp};
use cascata_ir::types::{DType, Dim, Scalar};

pub const OPS: Table = &[
    ("BiasGelu", One(|cx| with_bias(cx, UnaryOp::GeluErf))),
    ("FastGelu", One(|cx| with_bias(cx, UnaryOp::GeluTanh))),
    ("FusedConv", One(fused_conv)),
    ("FusedGemm", One(fused_gemm)),
    ("FusedMatMul", One(fused_matmul)),
    ("Gelu", One(|cx| with_bias(cx, UnaryOp::GeluErf))),
    ("MatMulNBits", One(matmul_n_bits)),
    ("QuickGelu", One(quick_gelu)),
];

/// `f(x + bias)`.
fn with_bias(cx: &mut Cx<'_>, f: UnaryOp) -> R<ValueId> {
    let mut x = cx.input(0)?;
    if let Some(bias) = cx.optional(1)? {
        x = cx.binary(BinaryOp::Add, x, bias)?;
    }
    cx.unary(f, x)
}

fn quick_gelu(cx: &mut Cx<'_>) -> R<ValueId> {
    let alpha = cx.float("alpha", 1.702)?;
    formula(cx, |cx, x| {
        let gate = cx.with_number(BinaryOp::Mul, x, alpha.into())?;
        let gate = cx.unary(UnaryOp::Sigmoid, gate)?;
        cx.binary(BinaryOp::Mul, x, gate)
    })
}

fn fused_matmul(cx: &mut Cx<'_>) -> R<ValueId> {
    only(cx, &[("transBatchA", 0), ("transBatchB", 0)])?;
    let (mut a, mut b) = (cx.input(0)?, cx.input(1)?);
    for (x, name) in [(&mut a, "transA"), (&mut b, "transB")] {
        let rank = cx.rank(*x);
        // A vector has nothing to transpose.
        if cx.flag(name, false)? && rank > 1 {
            let mut perm: Vec<usize> = (0..rank).collect();
            perm.swap(rank - 2, rank - 1);
            *x = cx.transpose(*x, perm)?;
        }
    }
    let y = matmul(cx, a, b)?;
    match cx.float("alpha", 1.0)? {
        1.0 => Ok(y),
        alpha => cx.with_number(BinaryOp::Mul, y, alpha.into()),
    }
}

/// The activation that is named, with its parameters in order.
fn activated(cx: &mut Cx<'_>, y: ValueId, parameters: &[f64]) -> R<ValueId> {
    let parameter = |i: usize, default: f64| parameters.get(i).copied().unwrap_or(default);
    match cx.string("activation", "")?.as_str() {
        "" => Ok(y),
        "Relu" => cx.unary(UnaryOp::Relu, y),
        "Tanh" => cx.unary(UnaryOp::Tanh, y),
        "Sigmoid" => cx.unary(UnaryOp::Sigmoid, y),
        "LeakyRelu" => {
            let negative = cx.with_number(BinaryOp::Mul, y, parameter(0, 0.01))?;
            let below = cx.with_number(BinaryOp::Lt, y, 0.0)?;
            cx.select(below, negative, y)
        }
        "Clip" => cx.clamp(y, parameter(0, f64::NEG_INFINITY), parameter(1, f64::INFINITY)),
        "HardSigmoid" => {
            let y = cx.with_number(BinaryOp::Mul, y, parameter(0, 0.2))?;
            let y = cx.with_number(BinaryOp::Add, y, parameter(1, 0.5))?;
            cx.clamp(y, 0.0, 1.0)
        }
        other => unsupported!("activation '{other}'"),
    }
}

fn fused_conv(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let bias = cx.optional(2)?;
    let mut y = conv_of(cx, x, w, bias)?;
    if let Some(z) = cx.optional(3)? {
        y = cx.binary(BinaryOp::Add, y, z)?;
    }
    let parameters = cx.floats("activation_params")?.unwrap_or_default();
    activated(cx, y, &parameters.into_iter().map(f64::from).collect::<Vec<f64>>())
}

fn fused_gemm(cx: &mut Cx<'_>) -> R<ValueId> {
    let y = gemm(cx)?;
    let mut parameters = Vec::new();
    for name in ["activation_alpha", "activation_beta"] {
        match cx.opt_float(name)? {
            Some(x) => parameters.push(f64::from(x)),
            None => break,
        }
    }
    activated(cx, y, &parameters)
}

/// `packed[…, bytes]` of `bits` each as numbers `[…, bytes·8/bits]`, the first in the
/// lowest bits.
fn unpacked(cx: &mut Cx<'_>, packed: ValueId, bits: i64) -> R<ValueId> {
    let rank = cx.rank(packed);
    let mut parts = Vec::new();
    for i in 0..8 / bits {
        let by = cx.fill(Scalar::from_i64(DType::U8, i * bits), vec![])?;
        let mask = cx.fill(Scalar::from_i64(DType::U8, (1 << bits) - 1), vec![])?;
        let low = if i == 0 { packed } else { cx.binary(BinaryOp::Shr, packed, by)? };
        let part = cx.binary(BinaryOp::BitAnd, low, mask)?;
        parts.push(cx.unsqueeze(part, &[rank])?);
    }
    let joined = cx.concat(&parts, rank)?;
    let mut shape = cx.shape(packed);
    shape[rank - 1] = shape[rank - 1].clone() * (8 / bits);
    cx.reshape(joined, shape)
}

/// `a·Wᵀ` with weights of 2, 4 or 8 bits in blocks along K, a scale and a zero point each.
fn matmul_n_bits(cx: &mut Cx<'_>) -> R<ValueId> {
    super::without_inputs(cx, &[(4, "g_idx")])?;
    only(cx, &[("weight_prepacked", 0)])?;
    let (k, n) = (cx.int("K", 0)?, cx.int("N", 0)?);
    let (bits, block) = (cx.int("bits", 4)?, cx.int("block_size", 0)?);
    if !matches!(bits, 2 | 4 | 8)
        || !(8 / bits..1 << 31).contains(&block)
        || [k, n].iter().any(|x| !(1..1 << 31).contains(x))
    {
        return unsupported!("{n}·{k} weights of {bits} bits in blocks of {block}");
    }
    let (a, packed, scales) = (cx.input(0)?, cx.input(1)?, cx.input(2)?);
    let dtype = cx.dtype(a);
    let blocks = (k + block - 1) / block;
    let packed = cx.reshape(packed, vec![n.into(), blocks.into(), (block * bits / 8).into()])?;
    let codes = unpacked(cx, packed, bits)?;
    let codes = cx.cast(codes, DType::F32)?;
    let zero = match cx.optional(3)? {
        None => cx.number(DType::F32, f64::from(1u32 << (bits - 1)))?,
        Some(zero) => {
            let zero = zero_points(cx, zero, n, blocks, bits)?;
            cx.unsqueeze(zero, &[2])?
        }
    };
    let scales = cx.reshape(scales, vec![n.into(), blocks.into(), 1.into()])?;
    let scales = cx.cast(scales, DType::F32)?;
    let centred = cx.binary(BinaryOp::Sub, codes, zero)?;
    let weights = cx.binary(BinaryOp::Mul, centred, scales)?;
    let weights = cx.reshape(weights, vec![n.into(), (blocks * block).into()])?;
    let weights = cx.slice_axis(weights, 1, 0.into(), k.into())?;
    let weights = cx.transpose(weights, vec![1, 0])?;
    let a = cx.cast(a, DType::F32)?;
    let mut y = matmul(cx, a, weights)?;
    if let Some(bias) = cx.optional(5)? {
        let bias = cx.cast(bias, DType::F32)?;
        y = cx.binary(BinaryOp::Add, y, bias)?;
    }
    cx.cast(y, dtype)
}

/// A zero point per block as `f32[n, blocks]`: packed like the weights, or floats.
fn zero_points(cx: &mut Cx<'_>, zero: ValueId, n: i64, blocks: i64, bits: i64) -> R<ValueId> {
    let all = |width: i64| vec![Dim::from(n), Dim::from(width)];
    if cx.dtype(zero).is_float() {
        let zero = cx.reshape(zero, all(blocks))?;
        return cx.cast(zero, DType::F32);
    }
    if cx.dtype(zero) != DType::U8 {
        return malformed!("zero points of type {}", cx.dtype(zero));
    }
    let per_byte = 8 / bits;
    let zero = cx.reshape(zero, all((blocks + per_byte - 1) / per_byte))?;
    let zero = unpacked(cx, zero, bits)?;
    let zero = cx.slice_axis(zero, 1, 0.into(), blocks.into())?;
    cx.cast(zero, DType::F32)
}
