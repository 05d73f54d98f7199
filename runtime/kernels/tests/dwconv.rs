//! `dwconv_f32@1` at each level against f64 sums.

mod support;

use cascata_kernels::Kernels;
use support::{Buffer, DwConv, Place, Rng, levels};

const CANARY: f32 = 777.25;

fn check(isa: cascata_kernels::Isa, rng: &mut Rng, [m, channels, taps]: [usize; 3], clamp: bool) {
    let case = DwConv::random(rng, Place::AtGuard, [m, channels, taps], taps > 2);
    let stride = channels + rng.below(3);
    let len = if m == 0 { 0 } else { (m - 1) * stride + channels };
    let mut c = Buffer::new(Place::AtGuard, &vec![CANARY; len]);
    let mut args = case.args(c.as_mut_ptr(), stride);
    let with_bias = rng.below(2) == 0;
    if with_bias {
        args.bias = case.bias.as_ptr();
    }
    if clamp {
        (args.min, args.max) = (0.0, 0.75);
    }
    // SAFETY: `case` and `c` own what `args` describes.
    unsafe { (Kernels::new(isa).dwconv_f32)(&args) };
    for (at, &got) in c.iter().enumerate() {
        let (i, j) = (at / stride, at % stride);
        if j >= channels {
            assert_eq!(got, CANARY, "{isa}: wrote past the channels");
            continue;
        }
        let bias = if with_bias { case.bias[j] as f64 } else { 0.0 };
        let exact = (bias + case.exact(i, j)).clamp(args.min, args.max);
        let bound = (taps + 1) as f64 * (taps + 1) as f64 * f32::EPSILON as f64;
        let what = format!("{isa}: m {m} channels {channels} taps {taps}");
        assert!((got as f64 - exact).abs() <= bound, "{what} [{i}, {j}]: {got} is not {exact}");
    }
}

#[test]
fn random_calls_match_f64_and_stay_in_bounds() {
    for isa in levels() {
        let mut rng = Rng(21);
        for channels in 1..=150 {
            let (m, clamp) = (1 + rng.below(23), channels % 2 == 0);
            check(isa, &mut rng, [m, channels, [1, 9, 25, 3, 7][channels % 5]], clamp);
        }
        for empty in [[0, 5, 9], [5, 0, 9], [5, 7, 0]] {
            check(isa, &mut rng, empty, false);
        }
    }
}

#[test]
fn splitting_the_pixels_changes_no_bit_and_nan_stays() {
    for isa in levels() {
        let kernels = Kernels::new(isa);
        let (m, channels) = (19, 83);
        let mut case = DwConv::random(&mut Rng(22), Place::AtGuard, [m, channels, 9], true);
        case.w[5 * channels + 80] = f32::NAN;
        let (mut whole, mut parts) = (vec![0.0; m * channels], vec![0.0; m * channels]);
        let mut args = case.args(whole.as_mut_ptr(), channels);
        (args.min, args.max) = (-0.5, 0.5);
        // SAFETY: `case` and `whole` own what `args` describes.
        unsafe { (kernels.dwconv_f32)(&args) };
        for i in 0..m {
            let offsets: Vec<i32> = (0..9).map(|t| case.offsets[t * m + i]).collect();
            (args.m, args.a_offsets) = (1, offsets.as_ptr());
            args.c = parts[i * channels..].as_mut_ptr();
            // SAFETY: one pixel of it.
            unsafe { (kernels.dwconv_f32)(&args) };
        }
        for (at, (a, b)) in whole.iter().zip(&parts).enumerate() {
            assert_eq!(a.to_bits(), b.to_bits(), "{isa} at {at}");
            assert_eq!(a.is_nan(), at % channels == 80, "{isa} at {at}");
        }
    }
}
