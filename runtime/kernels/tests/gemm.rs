//! `gemm_f32@1` at each level against f64 sums.

mod support;

use cascata_artifact::abi::GemmF32Args;
use cascata_kernels::{Isa, Kernels};
use support::{Buffer, Gemm, GemmShape, Place, Rng, Rows, levels};

const CANARY: f32 = -12345.5;

/// How a call starts and ends.
#[derive(Clone, Copy, Debug)]
struct Ends {
    bias: bool,
    accumulate: bool,
    clamp: Option<(f64, f64)>,
}

const PLAIN: Ends = Ends { bias: false, accumulate: false, clamp: None };

fn random_ends(rng: &mut Rng) -> Ends {
    let clamp = match rng.below(3) {
        0 => None,
        1 => Some((0.0, f64::INFINITY)),
        _ => Some((-0.75, 0.5)),
    };
    Ends { bias: rng.below(2) == 0, accumulate: rng.below(3) == 0, clamp }
}

/// C before a call: rows of `stride`, the last one cut after `n`; canaries between.
fn c_before(shape: GemmShape, stride: usize) -> Vec<f32> {
    let len = shape.m.saturating_sub(1) * stride + shape.n;
    let value = |i: usize| {
        if i % stride < shape.n { (i % 19) as f32 / 19.0 - 0.4 } else { CANARY }
    };
    (0..if shape.m == 0 { 0 } else { len }).map(value).collect()
}

fn set_ends(args: &mut GemmF32Args, case: &Gemm, ends: Ends) {
    args.accumulate = ends.accumulate as i64;
    if ends.bias {
        args.bias = case.bias.as_ptr();
    }
    if let Some((min, max)) = ends.clamp {
        (args.min, args.max) = (min, max);
    }
}

/// The call's C, with `stride` between rows, in buffers that end at guard pages.
fn run(kernels: &Kernels, case: &Gemm, ends: Ends, stride: usize) -> Vec<f32> {
    let mut c = Buffer::new(Place::AtGuard, &c_before(case.shape, stride));
    let mut args = case.args(c.as_mut_ptr(), stride);
    set_ends(&mut args, case, ends);
    // SAFETY: `case` and `c` own what `args` describes.
    unsafe { (kernels.gemm_f32)(&args) };
    c.to_vec()
}

fn check(case: &Gemm, ends: Ends, stride: usize, got: &[f32], what: &str) {
    let before = c_before(case.shape, stride);
    let depth = case.shape.batch * case.shape.k + 2;
    for (at, (&got, &before)) in got.iter().zip(&before).enumerate() {
        let (i, j) = (at / stride, at % stride);
        if j >= case.shape.n {
            assert_eq!(got, CANARY, "{what}: wrote past column n at [{i}, {j}]");
            continue;
        }
        let start = match ends {
            Ends { accumulate: true, .. } => before as f64,
            Ends { bias: true, .. } => case.bias[j] as f64,
            _ => 0.0,
        };
        let (sum, size) = case.exact(i, j);
        let mut exact = start + sum;
        if let Some((min, max)) = ends.clamp {
            exact = exact.clamp(min, max);
        }
        // Each of the chain's roundings is at most half an ulp of a partial sum.
        let bound = depth as f64 * (f32::EPSILON as f64) * (size + start.abs()) + 1e-30;
        assert!((got as f64 - exact).abs() <= bound, "{what}: [{i}, {j}] {got} is not {exact}");
    }
}

#[test]
fn random_calls_match_f64_and_stay_in_bounds() {
    for isa in levels() {
        let (kernels, mut rng) = (Kernels::new(isa), Rng(7));
        for round in 0..300 {
            let (shape, ends) = (GemmShape::random(&mut rng, 80), random_ends(&mut rng));
            let case = Gemm::random(&mut rng, Place::AtGuard, shape);
            let stride = shape.n + rng.below(4);
            let got = run(kernels, &case, ends, stride);
            check(&case, ends, stride, &got, &format!("{isa}, {round}: {shape:?} {ends:?}"));
        }
    }
}

#[test]
fn every_tile_height_and_width() {
    for isa in levels() {
        let (kernels, mut rng) = (Kernels::new(isa), Rng(8));
        for m in 1..=30 {
            for n in (1..=9).chain([
                15, 16, 17, 24, 31, 33, 40, 48, 50, 56, 64, 65, 72, 79, 81, 88, 97, 113, 129, 144,
                161,
            ]) {
                let rows = if (m + n) % 2 == 0 { Rows::Strided(1) } else { Rows::Offsets(4) };
                let shape = GemmShape { m, n, k: 3, k_last: 2, batch: 2, rows };
                let case = Gemm::random(&mut rng, Place::AtGuard, shape);
                let got = run(kernels, &case, PLAIN, n + 1);
                check(&case, PLAIN, n + 1, &got, &format!("{isa}: {shape:?}"));
            }
        }
    }
}

/// K beyond one pass, in one block and in several.
#[test]
fn deep_sums() {
    for isa in levels() {
        let (kernels, mut rng) = (Kernels::new(isa), Rng(9));
        for (m, k, k_last, batch) in [
            (29, 1500, 1500, 1),
            (29, 1500, 40, 2),
            (5, 700, 600, 3),
            (40, 64, 13, 20),
            (17, 512, 1, 2),
        ] {
            let shape = GemmShape { m, n: 37, k, k_last, batch, rows: Rows::Offsets(5) };
            let ends = Ends { bias: true, accumulate: false, clamp: Some((-3.0, 3.0)) };
            let case = Gemm::random(&mut rng, Place::AtGuard, shape);
            let got = run(kernels, &case, ends, 37);
            check(&case, ends, 37, &got, &format!("{isa}: {shape:?}"));
        }
    }
}

#[test]
fn empty_calls() {
    for isa in levels() {
        let (kernels, mut rng) = (Kernels::new(isa), Rng(10));
        for shape in GemmShape::empty() {
            for rows in [Rows::Strided(0), Rows::Offsets(2)] {
                for accumulate in [false, true] {
                    let ends = Ends { bias: true, accumulate, clamp: Some((-0.2, 0.3)) };
                    let case = Gemm::random(&mut rng, Place::AtGuard, GemmShape { rows, ..shape });
                    let got = run(kernels, &case, ends, shape.n.max(1));
                    check(&case, ends, shape.n.max(1), &got, &format!("{isa}: {shape:?}"));
                }
            }
        }
    }
}

/// The rows `from..to` of `case`'s call, into `c`.
fn run_rows(kernels: &Kernels, case: &Gemm, ends: Ends, c: &mut [f32], from: usize, to: usize) {
    let GemmShape { m, n, batch, .. } = case.shape;
    let mut args = case.args(c[from * n..].as_mut_ptr(), n);
    set_ends(&mut args, case, ends);
    let offsets: Vec<i32> = match case.shape.rows {
        Rows::Offsets(_) => {
            (0..batch).flat_map(|t| case.offsets[t * m + from..t * m + to].to_vec()).collect()
        }
        Rows::Strided(_) => Vec::new(),
    };
    if args.a_offsets.is_null() {
        args.a = args.a.wrapping_offset(from as isize * args.a_row_stride as isize);
    } else {
        args.a_offsets = offsets.as_ptr();
    }
    args.m = (to - from) as i64;
    // SAFETY: a part of the rows of a valid call.
    unsafe { (kernels.gemm_f32)(&args) };
}

#[test]
fn splitting_the_rows_changes_no_bit() {
    for isa in levels() {
        let (kernels, mut rng) = (Kernels::new(isa), Rng(11));
        for round in 0..120 {
            let deep = round % 6 == 0;
            let mut shape = GemmShape::random(&mut rng, 80);
            if deep {
                (shape.k, shape.k_last) = (1300, 1100);
            }
            let ends = random_ends(&mut rng);
            let case = Gemm::random(&mut rng, Place::AtGuard, shape);
            let whole = run(kernels, &case, ends, shape.n);
            let mut parts = c_before(shape, shape.n);
            let mut from = 0;
            while from < shape.m {
                let to = (from + 1 + rng.below(16)).min(shape.m);
                run_rows(kernels, &case, ends, &mut parts, from, to);
                from = to;
            }
            let bits = |c: &[f32]| c.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&whole), bits(&parts), "{isa}: {shape:?} {ends:?}");
        }
    }
}

/// Stronger than promised: both FMA levels walk the same chain.
#[test]
fn fma_levels_agree_bitwise() {
    let [low, high] = [Isa::Avx2, Isa::Avx512].map(Kernels::new);
    let mut rng = Rng(12);
    for _ in 0..50 {
        let (shape, ends) = (GemmShape::random(&mut rng, 80), random_ends(&mut rng));
        let case = Gemm::random(&mut rng, Place::AtGuard, shape);
        assert_eq!(run(low, &case, ends, shape.n), run(high, &case, ends, shape.n), "{shape:?}");
    }
}

#[test]
fn special_values() {
    for isa in levels() {
        let kernels = Kernels::new(isa);
        let shape = GemmShape { m: 13, n: 35, k: 9, k_last: 9, batch: 2, rows: Rows::Strided(0) };
        let mut case = Gemm::random(&mut Rng(13), Place::AtGuard, shape);
        let ends = Ends { clamp: Some((-0.1, 0.1)), ..PLAIN };
        let clean = run(kernels, &case, ends, 35);
        case.a[4 * 18 + 7] = f32::NAN;
        case.a[6 * 18 + 11] = f32::INFINITY;
        case.a[8 * 18 + 11] = f32::from_bits(1);
        let got = run(kernels, &case, ends, 35);
        for (at, (&got, &clean)) in got.iter().zip(&clean).enumerate() {
            match at / 35 {
                4 => assert!(got.is_nan(), "{isa}: NaN is lost in the clamp"),
                6 => assert!(got.abs() == 0.1, "{isa}: inf clamps to a bound, not {got}"),
                8 => {}
                _ => assert_eq!(got, clean, "{isa}: a special value left its row"),
            }
        }
    }
}
