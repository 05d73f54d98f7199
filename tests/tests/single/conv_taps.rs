//! Where the taps of convolutions lie: strides, dilations and padding that differ per axis, pixels
//! of several images in one block, and fewer pixels than a vector has lanes.

use super::*;
use cascata_ir::op::{ChannelLayout, ConvAttrs};

/// A convolution of `x[N,C,spatial…]`, whose spatial dims are dynamic.
fn taps(x: &[usize], w: &[usize], strides: &[i64], pads: &[(i64, i64)], dilations: &[i64]) {
    let groups = x[1] / w[1];
    let names: &[&str] = match x.len() {
        3 => &["N", "", "W"],
        4 => &["N", "", "H", "W"],
        _ => &["N", "", "D", "H", "W"],
    };
    let attrs = ConvAttrs {
        strides: strides.to_vec(),
        pads: pads.to_vec(),
        dilations: dilations.to_vec(),
        groups: groups as i64,
        layout: ChannelLayout::First,
    };
    let args = vec![Arg::Named(pattern(x, 3), names), Arg::Const(pattern(w, 5))];
    check(Op::Conv(attrs), args, 1e-5);
}

#[test]
fn depthwise() {
    taps(&[2, 9, 11, 17], &[9, 1, 3, 3], &[1, 1], &[(1, 1), (1, 1)], &[1, 1]);
    taps(&[3, 20, 13, 10], &[20, 1, 5, 3], &[2, 1], &[(2, 2), (0, 3)], &[1, 2]);
    taps(&[1, 33, 6, 40], &[33, 1, 2, 5], &[1, 3], &[(0, 1), (4, 4)], &[3, 1]);
    taps(&[1, 8, 2, 1], &[8, 1, 3, 3], &[1, 1], &[(1, 1), (1, 1)], &[1, 1]);
}

#[test]
fn of_one_and_of_three_axes() {
    taps(&[3, 6, 50], &[6, 1, 7], &[2], &[(3, 2)], &[2]);
    taps(&[2, 4, 31], &[11, 4, 3], &[1], &[(2, 2)], &[2]);
    taps(&[2, 3, 5, 6, 7], &[8, 3, 2, 3, 3], &[1, 2, 1], &[(1, 0), (1, 1), (0, 2)], &[2, 1, 1]);
}

#[test]
fn grouped() {
    taps(&[2, 12, 9, 14], &[18, 4, 3, 3], &[2, 1], &[(1, 2), (3, 0)], &[1, 2]);
}
