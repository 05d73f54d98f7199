//! Ops with attributes that nobody sane would write.

use super::Rng;
use cascata_ir::graph::{ConstId, RegionId};
use cascata_ir::op::*;
use cascata_ir::types::*;

fn index(r: &mut Rng) -> usize {
    r.pick(&[0, 0, 1, 1, 2, 3, 7, usize::MAX])
}

fn int(r: &mut Rng) -> i64 {
    r.pick(&[0, 1, 1, 1, 2, 3, -1, i64::MAX, i64::MIN])
}

fn dim(r: &mut Rng, symbols: &[SymbolId]) -> Dim {
    match r.below(4) {
        0 => Dim::sym(r.pick(symbols)) * int(r) + int(r),
        1 => Dim::sym(r.pick(symbols)).floor_div(&int(r).into()),
        _ => int(r).into(),
    }
}

fn many<T>(r: &mut Rng, mut item: impl FnMut(&mut Rng) -> T) -> Vec<T> {
    (0..r.below(4)).map(|_| item(r)).collect()
}

fn scalar(r: &mut Rng) -> Scalar {
    let dtype = r.pick(&[DType::F32, DType::F32, DType::F32, DType::BF16, DType::I64, DType::Bool]);
    Scalar::from_f64(dtype, r.pick(&[0.0, 1e-5, -1.0, f64::NAN, f64::INFINITY]))
}

fn pairs(r: &mut Rng) -> Vec<(i64, i64)> {
    many(r, |r| (int(r), int(r)))
}

fn layout(r: &mut Rng) -> ChannelLayout {
    r.pick(&[ChannelLayout::First, ChannelLayout::Last])
}

fn encoding(r: &mut Rng) -> Encoding {
    let number = |r: &mut Rng| r.pick(&[0u64, 1, 2, 12, u64::MAX]);
    match r.below(4) {
        0 => Encoding::Dense,
        1 => {
            let [k, n, k_block, k_group] = std::array::from_fn(|_| number(r));
            Encoding::Panels(PanelEncoding { k, n, k_block, k_group })
        }
        2 => Encoding::Quant(r.pick(&QuantFormat::ALL)),
        _ => Encoding::BlockSparse { rows: number(r) as u32, cols: number(r) as u32 },
    }
}

fn recurrent(r: &mut Rng) -> RecurrentAttrs {
    let activation =
        |r: &mut Rng| Activation { kind: ActivationKind::Elu, alpha: scalar(r), beta: scalar(r) };
    RecurrentAttrs {
        direction: r.pick(&[Direction::Forward, Direction::Reverse, Direction::Bidirectional]),
        activations: many(r, activation),
        clip: r.flag().then(|| scalar(r)),
        linear_before_reset: r.flag(),
        input_forget: r.flag(),
    }
}

/// Any op with any attributes; long because it lists every op.
pub fn hostile_op(r: &mut Rng, symbols: &[SymbolId]) -> Op {
    let shape = |r: &mut Rng| many(r, |r| dim(r, symbols));
    let symbol = |r: &mut Rng| r.pick(&[SymbolId(0), SymbolId(1), SymbolId(u32::MAX)]);
    let region = |r: &mut Rng| RegionId(r.pick(&[0, 1, u32::MAX]));
    let reduce =
        |r: &mut Rng| r.pick(&[ScatterReduce::None, ScatterReduce::Add, ScatterReduce::Max]);
    match r.below(55) {
        0 => Op::Const(ConstId(r.pick(&[u32::MAX, 99999]))),
        1 => Op::Fill { value: scalar(r), shape: shape(r) },
        2 => Op::DimValues { dims: shape(r), scalar: r.flag() },
        3 => Op::Iota { dtype: r.pick(&DType::ALL), shape: shape(r), axis: index(r) },
        4 => Op::Random(RandomAttrs {
            distribution: Distribution::Uniform { low: scalar(r), high: scalar(r) },
            dtype: r.pick(&DType::ALL),
            shape: shape(r),
            seed: r.next(),
        }),
        5 => Op::Unary(r.pick(UnaryOp::ALL)),
        6 => Op::Binary(r.pick(BinaryOp::ALL)),
        7 => Op::Select,
        8 => Op::Cast { to: r.pick(&DType::ALL) },
        9 => Op::Reshape { shape: shape(r) },
        10 => Op::Transpose { perm: many(r, index) },
        11 => Op::Broadcast { shape: shape(r) },
        12 => Op::Concat { axis: index(r) },
        13 => Op::Slice {
            ranges: many(r, |r| SliceRange {
                axis: index(r),
                start: dim(r, symbols),
                len: dim(r, symbols),
                step: int(r),
            }),
        },
        14 => Op::Pad {
            pads: many(r, |r| (dim(r, symbols), dim(r, symbols))),
            mode: r.pick(&[PadMode::Constant, PadMode::Edge, PadMode::Wrap]),
        },
        15 => Op::Gather { axis: index(r) },
        16 => Op::GatherElements { axis: index(r) },
        17 => Op::GatherNd { batch_dims: index(r) },
        18 => Op::ScatterElements { axis: index(r), reduce: reduce(r) },
        19 => Op::ScatterNd { reduce: reduce(r) },
        20 => Op::Resize(ResizeAttrs {
            mode: ResizeMode::Linear,
            coordinates: ResizeCoordinates::TfCropAndResize,
            nearest: NearestMode::Floor,
            shape: shape(r),
            scales: r.flag().then(|| many(r, scalar)),
            roi: many(r, scalar),
            cubic_coeff: scalar(r),
            exclude_outside: r.flag(),
            extrapolation: scalar(r),
            antialias: r.flag(),
        }),
        21 => Op::Pack { encoding: encoding(r) },
        22 => Op::Reduce {
            op: r.pick(&[ReduceOp::Mean, ReduceOp::Prod, ReduceOp::Min]),
            axes: many(r, index),
            keep_dims: r.flag(),
        },
        23 => Op::ArgReduce {
            max: r.flag(),
            axis: index(r),
            keep_dims: r.flag(),
            select_last: r.flag(),
        },
        24 => Op::CumSum { axis: index(r), exclusive: r.flag(), reverse: r.flag() },
        25 => Op::TopK { k: dim(r, symbols), axis: index(r), largest: r.flag(), sorted: r.flag() },
        26 => Op::NonZero { count: symbol(r) },
        27 => Op::NonMaxSuppression { center_point_box: r.flag(), count: symbol(r) },
        28 => Op::MatMul,
        29 => Op::Conv(ConvAttrs {
            strides: many(r, int),
            pads: pairs(r),
            dilations: many(r, int),
            groups: int(r),
            layout: layout(r),
        }),
        30 => Op::ConvTranspose(ConvTransposeAttrs {
            strides: many(r, int),
            pads: pairs(r),
            dilations: many(r, int),
            output_padding: many(r, int),
            groups: int(r),
            layout: layout(r),
        }),
        31 => Op::Pool(PoolAttrs {
            kind: PoolKind::Lp { p: int(r) },
            kernel: many(r, int),
            strides: many(r, int),
            pads: pairs(r),
            dilations: many(r, int),
            ceil_mode: r.flag(),
            layout: layout(r),
        }),
        32 => Op::Softmax { axis: index(r) },
        33 => Op::LayerNorm { axis: index(r), epsilon: scalar(r) },
        34 => Op::RmsNorm { axis: index(r), epsilon: scalar(r) },
        35 => Op::Attention(AttentionAttrs {
            scale: scalar(r),
            causal: r.flag(),
            zero_masked_rows: r.flag(),
        }),
        36 => {
            Op::Lrn(LrnAttrs { size: int(r), alpha: scalar(r), beta: scalar(r), bias: scalar(r) })
        }
        37 => Op::Lstm(recurrent(r)),
        38 => Op::Gru(recurrent(r)),
        39 => Op::Rnn(recurrent(r)),
        40 => Op::If {
            then_region: region(r),
            else_region: region(r),
            dims: many(r, |r| ((index(r), index(r)), symbol(r))),
        },
        41 => Op::Loop {
            body: region(r),
            carried: index(r),
            count: symbol(r),
            dims: many(r, |r| (symbol(r), symbol(r))),
        },
        42 => Op::Scan(ScanAttrs {
            body: region(r),
            states: index(r),
            inputs: many(r, |r| (index(r), r.flag())),
            outputs: many(r, |r| (index(r), r.flag())),
        }),
        43 => Op::BindDims {
            symbols: many(r, symbol),
            mode: BindMode::Reshape { operand: shape(r), allow_zero: r.flag() },
        },
        44 => Op::StateEmpty {
            ty: TensorType { encoding: encoding(r), ..TensorType::dense(DType::F32, shape(r)) },
            axis: index(r),
        },
        45 => Op::StateAppend,
        46 => Op::StateRead { ty: TensorType::dense(DType::F32, shape(r)), length: symbol(r) },
        47 => Op::BitCast { to: r.pick(&DType::ALL) },
        48 => Op::TextConcat,
        49 => Op::TextCase { upper: r.flag() },
        50 => Op::TextMatch { pattern: r.pick(&["a\\d", "(", "\"\n"]).into() },
        51 => Op::TextCount { delimiter: r.pick(&["", "\u{1f}\""]).into(), at_most: r.next() },
        52 => Op::TextSplit {
            delimiter: r.pick(&["", " "]).into(),
            at_most: r.next(),
            parts: dim(r, symbols),
        },
        53 => Op::CacheAttention(CacheAttentionAttrs {
            layer: int(r),
            max_positions: int(r),
            scale: scalar(r),
            window: r.flag().then(|| int(r)),
            soft_cap: r.flag().then(|| scalar(r)),
        }),
        _ => Op::Group { kind: GroupKind::Single, body: region(r) },
    }
}
