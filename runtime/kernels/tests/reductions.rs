//! The reductions at each level.

mod support;

use cascata_artifact::abi::ReduceF32Fn;
use cascata_kernels::Kernels;
use support::{Buffer, Place, Rng, levels};

fn reduce(f: ReduceF32Fn, values: &[f32]) -> f32 {
    let src = Buffer::new(Place::AtGuard, values);
    // SAFETY: `src` holds `values.len()`.
    unsafe { f(src.as_ptr(), values.len() as i64) }
}

#[test]
fn sums_and_maxima_match_f64() {
    for isa in levels() {
        let (k, mut rng) = (Kernels::new(isa), Rng(31));
        for n in (0..150).chain([255, 256, 1000, 4097]) {
            let x = rng.units(n);
            let exact = |f: fn(f64) -> f64| x.iter().map(|&x| f(x as f64)).sum::<f64>();
            let bound = n as f64 * f32::EPSILON as f64 * exact(f64::abs);
            let error = (reduce(k.sum_f32, &x) as f64 - exact(|x| x)).abs();
            assert!(error <= bound, "{isa} sum of {n}");
            let error = (reduce(k.sum_sq_f32, &x) as f64 - exact(|x| x * x)).abs();
            assert!(error <= bound, "{isa} sum_sq of {n}");
            let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(reduce(k.max_f32, &x), max, "{isa} max of {n}");
        }
    }
}

#[test]
fn alignment_changes_no_bit() {
    for isa in levels() {
        let (k, x) = (Kernels::new(isa), Rng(32).units(1237));
        let mut copy = Buffer::new(Place::Aligned, &vec![0.0; 1400]);
        for f in [k.sum_f32, k.sum_sq_f32, k.max_f32] {
            let want = reduce(f, &x);
            for shift in 0..32 {
                copy[shift..shift + x.len()].copy_from_slice(&x);
                // SAFETY: `copy` holds `x` from `shift`.
                let got = unsafe { f(copy[shift..].as_ptr(), x.len() as i64) };
                assert_eq!(got.to_bits(), want.to_bits(), "{isa} at {shift}");
            }
        }
    }
}

#[test]
fn max_keeps_nan_wherever_it_is() {
    for isa in levels() {
        let max = Kernels::new(isa).max_f32;
        for n in [1, 5, 16, 64, 65, 130] {
            for at in 0..n {
                let mut x = Rng(33).units(n);
                x[at] = f32::NAN;
                assert!(reduce(max, &x).is_nan(), "{isa}: NaN at {at} of {n}");
                x[at] = f32::INFINITY;
                assert_eq!(reduce(max, &x), f32::INFINITY, "{isa}: inf at {at} of {n}");
            }
            assert_eq!(reduce(max, &vec![f32::NEG_INFINITY; n]), f32::NEG_INFINITY, "{isa}");
            assert_eq!(reduce(max, &vec![-2.5; n]), -2.5, "{isa}: tail of {n}");
        }
    }
}

#[test]
fn exp_sum_is_exp_and_its_sum() {
    for isa in levels() {
        let (k, mut rng) = (Kernels::new(isa), Rng(34));
        for n in (0..140).chain([1000]) {
            let x: Vec<f32> = rng.units(n).iter().map(|x| x * 20.0).collect();
            let src = Buffer::new(Place::AtGuard, &x);
            let mut dst = Buffer::new(Place::AtGuard, &vec![0.0; n]);
            // SAFETY: both hold `n`.
            let sum = unsafe { (k.exp_sum_f32)(dst.as_mut_ptr(), src.as_ptr(), n as i64, 3.5) };
            let mut want = x.iter().map(|x| x - 3.5).collect::<Vec<f32>>();
            // SAFETY: in place.
            unsafe { (k.exp_f32)(want.as_mut_ptr(), want.as_ptr(), n as i64) };
            assert_eq!(&dst[..], &want[..], "{isa} n {n}");
            let exact: f64 = dst.iter().map(|&y| y as f64).sum();
            assert!(
                (sum as f64 - exact).abs() <= exact * 1e-5,
                "{isa} n {n}: {sum} is not {exact}"
            );
            let mut place = Buffer::new(Place::AtGuard, &x);
            // SAFETY: in place.
            let again =
                unsafe { (k.exp_sum_f32)(place.as_mut_ptr(), place.as_ptr(), n as i64, 3.5) };
            assert_eq!((again.to_bits(), &place[..]), (sum.to_bits(), &want[..]), "{isa} n {n}");
        }
    }
}

/// A masked position (−inf) gets no weight.
#[test]
fn exp_sum_of_masked_positions() {
    for isa in levels() {
        let k = Kernels::new(isa);
        let mut x = vec![f32::NEG_INFINITY; 37];
        x[20] = 2.0;
        // SAFETY: in place.
        let sum = unsafe { (k.exp_sum_f32)(x.as_mut_ptr(), x.as_ptr(), 37, 2.0) };
        assert_eq!((sum, x[20], x[36]), (1.0, 1.0, 0.0), "{isa}");
    }
}
