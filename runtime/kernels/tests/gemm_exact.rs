//! `gemm_bf16@1`, `gemm_i16@1` and `gemm_u8@1` at each level against sums that are exact, and
//! wrap.

mod support;

use cascata_artifact::abi::{Bf16, GemmArgs};
use cascata_kernels::Kernels;
use support::exact::{ExactGemm, Factor};
use support::{Buffer, GemmShape, Place, Rng, Rows, levels};

const CANARY: i32 = -1_234_567;

/// Where a call's sums start.
#[derive(Clone, Copy, Debug)]
enum Start {
    Zero,
    Bias,
    C,
}

/// C before a call; canaries between its rows.
fn c_before<A: Factor>(shape: GemmShape, stride: usize) -> Vec<i32> {
    let len = if shape.m == 0 { 0 } else { (shape.m - 1) * stride + shape.n };
    let value = |i: usize| match i % stride < shape.n {
        true => A::start((i as i32).wrapping_mul(0x1234_5671)),
        false => CANARY,
    };
    (0..len).map(value).collect()
}

fn check<A: Factor>(
    kernels: &Kernels,
    case: &ExactGemm<A>,
    start: Start,
    stride: usize,
    what: &str,
) {
    let before = c_before::<A>(case.shape, stride);
    let sums: Vec<A::Sum> = before.iter().map(|x| A::sum(*x)).collect();
    let mut c = Buffer::new(Place::AtGuard, &sums);
    let mut args = case.args(c.as_mut_ptr(), stride);
    match start {
        Start::Zero => {}
        Start::Bias => args.bias = case.bias.as_ptr(),
        Start::C => args.accumulate = 1,
    }
    // SAFETY: `case` and `c` own what `args` describes.
    unsafe { A::kernel(kernels)(&args) };
    for (at, (&got, &before)) in c.iter().zip(&before).enumerate() {
        let (i, j) = (at / stride, at % stride);
        if j >= case.shape.n {
            assert_eq!(got, A::sum(CANARY), "{what}: wrote past column n at [{i}, {j}]");
            continue;
        }
        let start = match start {
            Start::Zero => 0,
            Start::Bias => case.bias_numbers[j],
            Start::C => before,
        };
        assert_eq!(got, A::sum(case.exact(start, i, j)), "{what}: [{i}, {j}] of {:?}", case.shape);
    }
}

fn random_calls_are_exact_and_stay_in_bounds<A: Factor>() {
    for isa in levels() {
        let (kernels, mut rng) = (Kernels::new(isa), Rng(21));
        for round in 0..300 {
            // Deep enough for whole tiles of K and ends of them.
            let shape = GemmShape::random(&mut rng, 150);
            let case = ExactGemm::<A>::random(&mut rng, Place::AtGuard, shape);
            let start = [Start::Zero, Start::Bias, Start::C][rng.below(3)];
            let stride = shape.n + rng.below(4);
            check(kernels, &case, start, stride, &format!("{isa}, {round}, {start:?}"));
        }
    }
}

/// Rows that end at a guard page with half of a pair.
fn every_tile_height_and_width<A: Factor>() {
    for isa in levels() {
        let (kernels, mut rng) = (Kernels::new(isa), Rng(22));
        for m in 1..=14 {
            for n in (1..=9).chain([15, 16, 17, 24, 31, 33, 48, 50, 64, 65, 97, 129]) {
                for k in [1, 2, 3, 4, 7] {
                    let rows = if (m + n) % 2 == 0 { Rows::Strided(1) } else { Rows::Offsets(4) };
                    let shape = GemmShape { m, n, k, k_last: k - 1, batch: 2, rows };
                    let case = ExactGemm::<A>::random(&mut rng, Place::AtGuard, shape);
                    check(kernels, &case, Start::Zero, n + 1, isa.name());
                }
            }
        }
    }
}

/// K beyond one pass, in one block and in several.
fn deep_sums<A: Factor>() {
    for isa in levels() {
        let (kernels, mut rng) = (Kernels::new(isa), Rng(23));
        for (m, k, k_last, batch) in [
            (29, 1501, 1501, 1),
            (29, 1500, 41, 2),
            (5, 701, 600, 3),
            (40, 63, 13, 90),
            (17, 4099, 4099, 1),
            (2, 5000, 3, 2),
        ] {
            let shape = GemmShape { m, n: 37, k, k_last, batch, rows: Rows::Offsets(5) };
            let case = ExactGemm::<A>::random(&mut rng, Place::AtGuard, shape);
            check(kernels, &case, Start::Bias, 37, isa.name());
        }
    }
}

fn empty_calls<A: Factor>() {
    for isa in levels() {
        let (kernels, mut rng) = (Kernels::new(isa), Rng(24));
        for shape in GemmShape::empty() {
            for start in [Start::Zero, Start::Bias, Start::C] {
                let case = ExactGemm::<A>::random(&mut rng, Place::AtGuard, shape);
                check(kernels, &case, start, shape.n.max(1), isa.name());
            }
        }
    }
}

/// Runs each for every kind of factors.
macro_rules! tests {
    ($($name:ident)*) => {$(
        mod $name {
            #[test]
            fn bf16() {
                super::$name::<super::Bf16>();
            }
            #[test]
            fn i16() {
                super::$name::<i16>();
            }
            #[test]
            fn u8() {
                super::$name::<u8>();
            }
        }
    )*};
}

tests! {
    random_calls_are_exact_and_stay_in_bounds
    every_tile_height_and_width
    deep_sums
    empty_calls
}

/// Of fractions, between bounds: as near to f64 as the roundings of f32, whatever their order.
#[test]
fn halves_are_summed_in_f32_and_clamped() {
    let shape = GemmShape { m: 37, n: 50, k: 77, k_last: 41, batch: 2, rows: Rows::Offsets(4) };
    for isa in levels() {
        let mut case = ExactGemm::<Bf16>::random(&mut Rng(25), Place::AtGuard, shape);
        let mut rng = Rng(26);
        for x in case.a.iter_mut().chain(case.b.iter_mut()).filter(|x| x.0 != 0) {
            *x = Bf16((rng.unit().to_bits() >> 16) as u16);
        }
        let mut c = Buffer::new(Place::AtGuard, &vec![0f32; 37 * 50]);
        let args = GemmArgs { min: -0.5, max: 2.0, ..case.args(c.as_mut_ptr(), 50) };
        // SAFETY: `case` and `c` own what `args` describes.
        unsafe { (Kernels::new(isa).gemm_bf16)(&args) };
        for (at, got) in c.iter().enumerate() {
            let (sum, size) =
                case.products(at / 50, at % 50).fold((0.0, 0.0), |(s, m), x| (s + x, m + x.abs()));
            let (want, bound) = (sum.clamp(-0.5, 2.0), 120.0 * f64::from(f32::EPSILON) * size);
            let apart = (f64::from(*got) - want).abs();
            assert!(apart <= bound, "{isa} [{}, {}]: {got}, not {want}", at / 50, at % 50);
        }
    }
}
