//! Resize against the ONNX reference evaluator (1.23) on `pattern(&[1, 1, 3, 4], 1)`.

use super::*;
use ResizeCoordinates::*;
use ResizeMode::*;
use cascata_ir::op::{NearestMode, ResizeAttrs, ResizeCoordinates, ResizeMode};

fn attrs(mode: ResizeMode, coordinates: ResizeCoordinates, sizes: [i64; 2]) -> ResizeAttrs {
    ResizeAttrs {
        mode,
        coordinates,
        nearest: NearestMode::RoundPreferFloor,
        shape: [1, 1, sizes[0], sizes[1]].map(Into::into).to_vec(),
        scales: None,
        roi: vec![],
        cubic_coeff: f32s(-0.75),
        exclude_outside: false,
        extrapolation: f32s(9.0),
        antialias: false,
    }
}

#[track_caller]
fn check(attrs: ResizeAttrs, expected: &[f32]) {
    let dims: Vec<usize> = attrs.shape.iter().map(|d| d.as_const().unwrap() as usize).collect();
    let y = apply1(Op::Resize(attrs), &[pattern(&[1, 1, 3, 4], 1)]);
    close(&y, &t(&dims, expected.to_vec()), 2e-6);
}

fn scaled(mut attrs: ResizeAttrs, scales: [f32; 2]) -> ResizeAttrs {
    attrs.scales = Some([1.0, 1.0, scales[0], scales[1]].map(f32s).to_vec());
    attrs
}

#[test]
fn nearest() {
    check(
        attrs(Nearest, HalfPixel, [5, 7]),
        &[
            -0.25, -0.25, 0.625, 0.625, 0.125, -0.375, -0.375, -0.25, -0.25, 0.625, 0.625, 0.125,
            -0.375, -0.375, 0.5, 0.5, 0., 0., -0.5, 0.375, 0.375, -0.125, -0.125, -0.625, -0.625,
            0.25, -0.25, -0.25, -0.125, -0.125, -0.625, -0.625, 0.25, -0.25, -0.25,
        ],
    );
    let mut a = scaled(attrs(Nearest, Asymmetric, [6, 6]), [2.0, 1.5]);
    a.nearest = NearestMode::Floor;
    check(
        a,
        &[
            -0.25, -0.25, 0.625, 0.125, 0.125, -0.375, -0.25, -0.25, 0.625, 0.125, 0.125, -0.375,
            0.5, 0.5, 0., -0.5, -0.5, 0.375, 0.5, 0.5, 0., -0.5, -0.5, 0.375, -0.125, -0.125,
            -0.625, 0.25, 0.25, -0.25, -0.125, -0.125, -0.625, 0.25, 0.25, -0.25,
        ],
    );
    let mut a = attrs(Nearest, AlignCorners, [5, 3]);
    a.nearest = NearestMode::Ceil;
    check(
        a,
        &[
            -0.25, 0.125, -0.375, 0.5, -0.5, 0.375, 0.5, -0.5, 0.375, -0.125, 0.25, -0.25, -0.125,
            0.25, -0.25,
        ],
    );
    let mut a = attrs(Nearest, HalfPixel, [2, 6]);
    a.nearest = NearestMode::RoundPreferCeil;
    check(
        a,
        &[-0.25, 0.625, 0.625, 0.125, -0.375, -0.375, -0.125, -0.625, -0.625, 0.25, -0.25, -0.25],
    );
}

#[test]
fn linear() {
    check(
        attrs(Linear, HalfPixel, [5, 3]),
        &[
            -0.1041667,
            0.375,
            -0.2916667,
            0.1041667,
            0.125,
            -0.08333334,
            0.4166667,
            -0.25,
            0.2291667,
            0.04166667,
            -0.2125,
            -0.008333334,
            -0.2083333,
            -0.1875,
            -0.1666667,
        ],
    );
    check(
        attrs(Linear, AlignCorners, [2, 7]),
        &[
            -0.25, 0.1875, 0.625, 0.375, 0.125, -0.125, -0.375, -0.125, -0.375, -0.625, -0.1875,
            0.25, 0., -0.25,
        ],
    );
    check(
        attrs(Linear, PytorchHalfPixel, [1, 6]),
        &[-0.25, 0.1875, 0.5416667, 0.2083333, -0.125, -0.375],
    );
    check(
        scaled(attrs(Linear, HalfPixelSymmetric, [4, 2]), [1.5, 0.6]),
        &[
            0.3333334,
            -0.04166665,
            0.2222222,
            -0.1527778,
            -0.04166668,
            -0.1111111,
            -0.4583333,
            0.08333335,
        ],
    );
    // A fractional length after scaling (0.6·3 and 0.6·4) enters the coordinates.
    check(scaled(attrs(Linear, AlignCorners, [1, 2]), [0.6, 0.6]), &[-0.25, 0.0535715]);
}

#[test]
fn antialias() {
    let mut a = attrs(Linear, HalfPixel, [2, 3]);
    a.antialias = true;
    check(a.clone(), &[0.1136364, 0.1666667, -0.1136364, -0.0530303, -0.2083333, -0.03030303]);
    a.exclude_outside = true;
    check(a, &[0.1390625, 0.140625, -0.0984375, -0.040625, -0.2109375, -0.0203125]);
    let mut a = attrs(Cubic, HalfPixel, [2, 2]);
    a.antialias = true;
    check(a, &[0.2121342, -0.0429179, -0.1439733, -0.08373512]);
}

#[test]
fn cubic() {
    check(
        attrs(Cubic, HalfPixel, [4, 3]),
        &[
            -0.1554092, 0.5672722, -0.3515896, 0.3090557, -0.0818119, 0.08594996, 0.2638165,
            -0.4069214, 0.1559513, -0.2585244, -0.1737614, -0.192033,
        ],
    );
    let mut a = attrs(Cubic, HalfPixel, [4, 6]);
    a.exclude_outside = true;
    a.cubic_coeff = f32s(-0.5);
    check(
        a,
        &[
            -0.3514702,
            0.1857989,
            0.6588758,
            0.261885,
            -0.1744952,
            -0.4517992,
            0.2630456,
            0.3052193,
            0.2007918,
            -0.2739098,
            -0.1118211,
            0.1690631,
            0.3585817,
            0.03787212,
            -0.3153594,
            -0.2989284,
            -0.02053183,
            0.2244888,
            -0.1247547,
            -0.4486392,
            -0.5659959,
            0.2025138,
            0.04214223,
            -0.3202694,
        ],
    );
    check(
        attrs(Cubic, Asymmetric, [6, 4]),
        &[
            -0.25, 0.625, 0.125, -0.375, 0.1835938, 0.3710938, -0.2578125, 0.05859375, 0.5, 0.,
            -0.5, 0.375, 0.2578125, -0.3710938, -0.1835938, 0.1328125, -0.125, -0.625, 0.25, -0.25,
            -0.1835938, -0.6835938, 0.3203125, -0.3085938,
        ],
    );
}

#[test]
fn crop_and_resize() {
    let roi = [0.0, 0.0, 0.4, -0.2, 1.0, 1.0, 0.6, 1.1].map(f32s).to_vec();
    let mut a = attrs(Linear, TfCropAndResize, [3, 5]);
    a.roi = roi.clone();
    check(
        a,
        &[
            9.,
            0.265625,
            -0.05000005,
            -0.1799999,
            9.,
            9.,
            0.3125,
            -0.175,
            -0.2156249,
            9.,
            9.,
            0.1875,
            -0.20375,
            -0.1549999,
            9.,
        ],
    );
    let mut a = attrs(Nearest, TfCropAndResize, [2, 4]);
    a.roi = roi;
    check(a, &[9., 0., -0.5, 9., 9., 0., -0.5, 9.]);
}

#[test]
fn integers_round_and_errors_are_named() {
    let x = pattern(&[1, 1, 3, 4], 1);
    let bytes =
        x.as_slice::<f32>().unwrap().iter().map(|v| (v * 80.0 + 100.0) as u8).collect::<Vec<_>>();
    let y = apply1(Op::Resize(attrs(Linear, HalfPixel, [5, 3])), &[t(&[1, 1, 3, 4], bytes)]);
    assert_eq!(
        y,
        t(&[1, 1, 5, 3], [92u8, 130, 77, 108, 110, 93, 133, 80, 118, 103, 83, 99, 83, 85, 87])
    );
    assert_eq!(
        apply1(Op::Resize(attrs(Cubic, HalfPixel, [0, 3])), std::slice::from_ref(&x)).dims(),
        [1, 1, 0, 3]
    );
    let zero = scaled(attrs(Linear, HalfPixel, [2, 2]), [0.0, 1.0]);
    assert!(fails(Op::Resize(zero), std::slice::from_ref(&x)).contains("axis 2 of 3 elements"));
    let empty = attrs(Linear, HalfPixel, [2, 2]);
    assert!(
        fails(Op::Resize(empty), &[t::<f32>(&[1, 1, 0, 4], [])]).contains("axis 2 of 0 elements")
    );
}
