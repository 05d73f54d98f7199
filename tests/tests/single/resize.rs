//! Resize in the modes that need many taps. Tolerance: f32 coordinates and weights.

use super::*;
use ResizeCoordinates::*;
use cascata_ir::op::{NearestMode, ResizeAttrs, ResizeCoordinates, ResizeMode};
use cascata_types::Scalar;

fn attrs(mode: ResizeMode, coordinates: ResizeCoordinates, shape: &[i64]) -> ResizeAttrs {
    ResizeAttrs {
        mode,
        coordinates,
        nearest: NearestMode::RoundPreferFloor,
        shape: shape.iter().map(|d| Dim::from(*d)).collect(),
        scales: None,
        roi: vec![],
        cubic_coeff: Scalar::f32(-0.75),
        exclude_outside: false,
        extrapolation: Scalar::f32(0.0),
        antialias: false,
    }
}

const MODES: [ResizeMode; 2] = [ResizeMode::Linear, ResizeMode::Cubic];

#[test]
fn antialias_and_exclude_outside() {
    for mode in MODES {
        for (antialias, exclude_outside) in [(true, false), (false, true), (true, true)] {
            for (coordinates, to) in [(HalfPixel, [2, 3, 4, 3]), (AlignCorners, [2, 3, 13, 2])] {
                let mut a = attrs(mode, coordinates, &to);
                (a.antialias, a.exclude_outside) = (antialias, exclude_outside);
                check(Op::Resize(a), vec![Arg::Input(pattern(&[2, 3, 9, 7], 1))], 1e-4);
            }
        }
    }
}

#[test]
fn given_scales_with_fractional_lengths() {
    for mode in MODES {
        for coordinates in [HalfPixel, HalfPixelSymmetric, PytorchHalfPixel, AlignCorners] {
            let mut a = attrs(mode, coordinates, &[1, 5, 4]);
            a.scales = Some([1.0f32, 0.6, 1.45].map(Scalar::f32).to_vec());
            for antialias in [false, true] {
                a.antialias = antialias;
                check(Op::Resize(a.clone()), vec![Arg::Input(pattern(&[1, 9, 3], 2))], 1e-4);
            }
        }
    }
}

#[test]
fn crop_and_resize() {
    for mode in [ResizeMode::Nearest, ResizeMode::Linear, ResizeMode::Cubic] {
        let mut a = attrs(mode, TfCropAndResize, &[2, 4, 5]);
        a.roi = [0.0f32, 0.2, -0.3, 1.0, 0.9, 1.2].map(Scalar::f32).to_vec();
        a.extrapolation = Scalar::f32(9.0);
        check(Op::Resize(a), vec![Arg::Input(pattern(&[2, 6, 7], 3))], 1e-4);
    }
}

#[test]
fn other_dtypes_and_named_dims() {
    let bytes: Vec<u8> = (0..45).map(|i| (i * 91 % 256) as u8).collect();
    // Scales of a power of two: no result lies on a rounding boundary by chance.
    let a = attrs(ResizeMode::Linear, Asymmetric, &[1, 18, 5]);
    check(Op::Resize(a), vec![Arg::Input(t(&[1, 9, 5], bytes))], 0.0);
    let x = Arg::Named(pattern(&[3, 8, 5], 4), &["B", "H", ""]);
    check_graph(vec![x], 1e-4, |g, v| {
        let (b, h) = (g.tensor(v[0]).shape[0].clone(), g.tensor(v[0]).shape[1].clone());
        let mut a = attrs(ResizeMode::Linear, HalfPixel, &[0, 0, 11]);
        a.shape = [b, h.floor_div(&3.into()), 11.into()].into_iter().collect();
        a.antialias = true;
        g.add(Graph::ROOT, Op::Resize(a), v, "resize").unwrap()
    });
}
