//! Convolutions whose kernel rows become one tap, with and without padding of their own.

use super::*;
use cascata_ir::op::{ChannelLayout, ConvAttrs};

/// A convolution of `x[N,C,spatial…]` with `w[O,C,kernel…]`; spatial dims are dynamic.
struct Case {
    x: &'static [usize],
    w: &'static [usize],
    strides: &'static [i64],
    pads: &'static [(i64, i64)],
    dilations: &'static [i64],
}

fn check(case: &Case) {
    let names: &[&str] = if case.x.len() == 3 { &["N", "", "W"] } else { &["N", "", "H", "W"] };
    let args = vec![Arg::Named(pattern(case.x, 3), names), Arg::Const(pattern(case.w, 5))];
    let attrs = ConvAttrs {
        strides: case.strides.to_vec(),
        pads: case.pads.to_vec(),
        dilations: case.dilations.to_vec(),
        groups: 1,
        layout: ChannelLayout::First,
    };
    super::check(Op::Conv(attrs), args, 1e-5);
}

#[test]
fn pictures_of_three_channels() {
    for (x, w, strides, pads) in [
        (&[2, 3, 9, 13], &[24, 3, 3, 3], &[1, 1], &[(1, 1), (1, 1)]),
        (&[1, 3, 23, 17], &[40, 3, 7, 7], &[2, 2], &[(3, 3), (3, 3)]),
        (&[1, 1, 5, 30], &[7, 1, 2, 5], &[1, 3], &[(0, 1), (2, 0)]),
        (&[3, 8, 6, 5], &[16, 8, 1, 4], &[2, 1], &[(0, 0), (0, 3)]),
    ] {
        check(&Case { x, w, strides, pads, dilations: &[1, 1] });
    }
}

#[test]
fn rows_that_need_no_padding() {
    for (x, w, strides, pads, dilations) in [
        (&[1, 20, 8, 11], &[33, 20, 3, 3], &[1, 2], &[(1, 1), (0, 0)], &[2, 1]),
        (&[2, 5, 7, 9], &[8, 5, 3, 2], &[1, 1], &[(0, 0), (0, 0)], &[1, 2]),
        (&[1, 17, 4, 70], &[56, 17, 2, 6], &[1, 1], &[(0, 0), (0, 0)], &[1, 1]),
    ] {
        check(&Case { x, w, strides, pads, dilations });
    }
}

#[test]
fn one_spatial_axis() {
    for (x, w, strides, pads) in
        [(&[2, 3, 40], &[9, 3, 5], &[2], &[(2, 2)]), (&[1, 30, 21], &[8, 30, 3], &[1], &[(0, 0)])]
    {
        check(&Case { x, w, strides, pads, dilations: &[1] });
    }
}
