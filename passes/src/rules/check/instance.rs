//! Tokens, attributes and random data of rule examples.

use super::expression::Draw;
use crate::egraph::language::op_name;
use cascata_ir::interp::Tensor;
use cascata_ir::op::{
    AttentionAttrs, BinaryOp, ChannelLayout, ConvAttrs, ConvTransposeAttrs, NearestMode, Op,
    PadMode, PoolAttrs, PoolKind, ReduceOp, ResizeAttrs, ResizeCoordinates, ResizeMode, SliceRange,
    UnaryOp,
};
use cascata_types::{DType, Dim, Scalar};

/// Parentheses and words.
pub fn tokens(text: &str) -> Vec<String> {
    text.replace('(', " ( ").replace(')', " ) ").split_whitespace().map(str::to_string).collect()
}

/// The op of `name{attributes}`.
pub fn attributes(draw: &mut Draw, head: &str) -> Op {
    let (name, rest) = head.split_once('{').unwrap_or((head, ""));
    let parts: Vec<&str> = rest.trim_end_matches('}').split(';').collect();
    let mut list = |text: &str| -> Vec<i64> {
        text.split(',').filter(|t| !t.is_empty()).map(|t| draw.dim(t)).collect()
    };
    if let Some(op) = UnaryOp::from_name(name) {
        return Op::Unary(op);
    }
    if let Some(op) = BinaryOp::from_name(name) {
        return Op::Binary(op);
    }
    let axes = |v: Vec<i64>| v.into_iter().map(|x| x as usize).collect::<Vec<_>>();
    let shape = |v: Vec<i64>| v.into_iter().map(Dim::from).collect::<Vec<_>>();
    let one = |v: Vec<i64>| v[0] as usize;
    let op = match name {
        "matmul" => Op::MatMul,
        "select" => Op::Select,
        "cast" => Op::Cast { to: parts[0].parse().expect("a dtype") },
        "transpose" => Op::Transpose { perm: axes(list(parts[0])) },
        "reshape" => Op::Reshape { shape: shape(list(parts[0])) },
        "broadcast" => Op::Broadcast { shape: shape(list(parts[0])) },
        "softmax" => Op::Softmax { axis: one(list(parts[0])) },
        "gather" => Op::Gather { axis: one(list(parts[0])) },
        "concat" => Op::Concat { axis: one(list(parts[0])) },
        "iota" => Op::Iota {
            dtype: parts[0].parse().expect("a dtype"),
            shape: shape(list(parts[1])),
            axis: one(list(parts[2])),
        },
        "slice" => slice(&parts, &mut list),
        "pool" => pool(&parts, &mut list),
        "resize" => resize(&parts, &mut list),
        "attention" => attention(&parts),
        "layer_norm" => Op::LayerNorm { axis: one(list(parts[0])), epsilon: epsilon(parts[1]) },
        "rms_norm" => Op::RmsNorm { axis: one(list(parts[0])), epsilon: epsilon(parts[1]) },
        "pad" => {
            let mode =
                if parts.get(1) == Some(&"edge") { PadMode::Edge } else { PadMode::Constant };
            Op::Pad {
                pads: pairs(&list(parts[0]))
                    .iter()
                    .map(|(a, b)| ((*a).into(), (*b).into()))
                    .collect(),
                mode,
            }
        }
        "conv" => conv(&parts, &mut list),
        "conv_transpose" => conv_transpose(&parts, &mut list),
        _ => {
            let op = reduce_op(name).unwrap_or_else(|| panic!("unknown op '{name}'"));
            Op::Reduce { op, axes: axes(list(parts[0])), keep_dims: parts.len() > 1 }
        }
    };
    assert_eq!(op_name(&op), name);
    op
}

/// The scale, and `causal` if it is.
fn attention(parts: &[&str]) -> Op {
    let (scale, causal) = (epsilon(parts[0]), parts.len() > 1);
    Op::Attention(AttentionAttrs { scale, causal, zero_masked_rows: false })
}

/// `axis,start,len` per range; steps are 1.
fn slice(parts: &[&str], list: &mut dyn FnMut(&str) -> Vec<i64>) -> Op {
    let range = |text: &&str| {
        let v = list(text);
        SliceRange { axis: v[0] as usize, start: v[1].into(), len: v[2].into(), step: 1 }
    };
    Op::Slice { ranges: parts.iter().map(range).collect() }
}

/// `max` or `average`; `k` window, `s` strides, `p` begin and end per axis.
fn pool(parts: &[&str], list: &mut dyn FnMut(&str) -> Vec<i64>) -> Op {
    let mut get = |key: char| {
        parts[1..].iter().find_map(|p| p.strip_prefix(key)).map(&mut *list).expect("a list")
    };
    let (kernel, strides, pads) = (get('k'), get('s'), pairs(&get('p')));
    let kind = match parts[0] {
        "max" => PoolKind::Max { indices: false, column_major: false },
        _ => PoolKind::Average { count_pad: false },
    };
    let (dilations, layout) = (vec![1; kernel.len()], ChannelLayout::First);
    Op::Pool(PoolAttrs { kind, kernel, strides, pads, dilations, ceil_mode: false, layout })
}

/// A linear resize to this shape.
fn resize(parts: &[&str], list: &mut dyn FnMut(&str) -> Vec<i64>) -> Op {
    Op::Resize(ResizeAttrs {
        mode: ResizeMode::Linear,
        coordinates: ResizeCoordinates::HalfPixel,
        nearest: NearestMode::Floor,
        shape: list(parts[0]).into_iter().map(Dim::from).collect(),
        scales: None,
        roi: vec![],
        cubic_coeff: Scalar::f32(-0.75),
        exclude_outside: false,
        extrapolation: Scalar::f32(0.0),
        antialias: false,
    })
}

fn epsilon(text: &str) -> Scalar {
    Scalar::f32(text.parse().expect("a number"))
}

fn reduce_op(name: &str) -> Option<ReduceOp> {
    Some(match name {
        "reduce_sum" => ReduceOp::Sum,
        "reduce_mean" => ReduceOp::Mean,
        "reduce_max" => ReduceOp::Max,
        "reduce_min" => ReduceOp::Min,
        _ => return None,
    })
}

fn pairs(list: &[i64]) -> Vec<(i64, i64)> {
    list.chunks(2).map(|c| (c[0], c[1])).collect()
}

/// `s` strides; `p` begin and end per axis; `g` groups.
fn conv(parts: &[&str], list: &mut dyn FnMut(&str) -> Vec<i64>) -> Op {
    let mut get = |key: char| parts.iter().find_map(|p| p.strip_prefix(key)).map(&mut *list);
    let strides = get('s').expect("strides");
    let dilations = vec![1; strides.len()];
    let pads = pairs(&get('p').expect("pads"));
    let groups = get('g').map_or(1, |g| g[0]);
    Op::Conv(ConvAttrs { strides, pads, dilations, groups, layout: ChannelLayout::First })
}

fn conv_transpose(parts: &[&str], list: &mut dyn FnMut(&str) -> Vec<i64>) -> Op {
    let Op::Conv(c) = conv(parts, list) else { panic!("a convolution") };
    let output_padding = vec![0; c.strides.len()];
    Op::ConvTranspose(ConvTransposeAttrs {
        strides: c.strides,
        pads: c.pads,
        dilations: c.dilations,
        output_padding,
        groups: c.groups,
        layout: c.layout,
    })
}

/// Random numbers in about ±2 (integers ±4), or what the suffix says.
pub fn data(draw: &mut Draw, dtype: DType, dims: &[i64], suffix: &str) -> Tensor {
    let n: i64 = dims.iter().product();
    let last = dims.last().copied().unwrap_or(1).max(1);
    let below: Option<u64> = suffix.strip_prefix('%').map(|t| t.parse().expect("a number"));
    let mut element = |i: i64| match (suffix, below) {
        (":iota", _) => (i % last) as f64,
        (":by3", _) => (i / 3) as f64,
        // Of a square: on and below the diagonal, above it.
        (":tril", _) => (i % last <= i / last) as i64 as f64,
        (":triu", _) => (i % last > i / last) as i64 as f64,
        (":causal", _) if i % last <= i / last => 0.0,
        (":causal", _) => f64::NEG_INFINITY,
        (":inf", _) if i == 1 => f64::INFINITY,
        (_, Some(m)) => (draw.next() % m) as f64,
        _ if dtype.is_int() => (draw.next() % 9) as f64 - 4.0,
        _ => (draw.next() % 4001) as f64 / 1000.0 - 2.0,
    };
    let values: Vec<f64> = (0..n).map(&mut element).collect();
    let dims: Vec<usize> = dims.iter().map(|&d| d as usize).collect();
    match dtype.is_float() {
        true => Tensor::from_f64(dtype, &dims, values).expect("sizes agree"),
        false => {
            let ints: Vec<i128> = values.iter().map(|x| *x as i128).collect();
            Tensor::from_i128(dtype, &dims, &ints).expect("sizes agree")
        }
    }
}
