//! Convolutions that no micro-kernel takes: groups with computed weights, other dtypes.

use super::*;
use cascata_ir::op::{ChannelLayout, ConvAttrs, ConvTransposeAttrs};
use cascata_types::DType;

fn plain(groups: i64) -> Op {
    Op::Conv(ConvAttrs {
        strides: vec![2, 1],
        pads: vec![(1, 0), (0, 2)],
        dilations: vec![1, 2],
        groups,
        layout: ChannelLayout::First,
    })
}

fn transposed(groups: i64) -> Op {
    Op::ConvTranspose(ConvTransposeAttrs {
        strides: vec![2, 3],
        pads: vec![(1, 0), (0, 1)],
        dilations: vec![1, 2],
        output_padding: vec![1, 0],
        groups,
        layout: ChannelLayout::First,
    })
}

fn args(w: [usize; 4], outputs: usize, dtype: DType, constant: bool) -> Vec<Arg> {
    // Whole numbers stay whole in every dtype.
    let make = |dims: &[usize], seed: usize| {
        let eighths = pattern(dims, seed).to_f64().unwrap().iter().map(|x| x * 8.0).collect();
        Tensor::from_f64(dtype, dims, eighths).unwrap()
    };
    let w = make(&w, 2);
    let w = if constant { Arg::Const(w) } else { Arg::Input(w) };
    vec![Arg::Input(make(&[2, 6, 5, 4], 1)), w, Arg::Input(make(&[outputs], 3))]
}

#[test]
fn groups_with_computed_weights() {
    for dtype in [DType::F32, DType::F64, DType::I32, DType::F16] {
        for constant in [false, true] {
            check(plain(3), args([9, 2, 3, 2], 9, dtype, constant), 1e-4);
            check(transposed(3), args([6, 4, 3, 2], 12, dtype, constant), 1e-4);
        }
    }
}

#[test]
fn transposed_of_every_dtype() {
    for dtype in [DType::F32, DType::F64, DType::I32, DType::BF16] {
        check(transposed(1), args([6, 4, 3, 2], 4, dtype, false), 1e-2);
    }
}
