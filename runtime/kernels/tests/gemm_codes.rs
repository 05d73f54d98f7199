//! `gemm_f32_bf16@1`, `gemm_f32_q8@1` and `gemm_f32_q4@1` at each level: the bits of `gemm_f32@1`
//! on the same numbers.

mod support;

use cascata_kernels::{Isa, Kernels};
use support::codes::{CodesGemm, Format};
use support::{Buffer, Place, Rng, levels};

const CANARY: f32 = -12345.5;

/// How a call starts and ends.
#[derive(Clone, Copy, Debug)]
struct Ends {
    bias: bool,
    bounds: (f64, f64),
}

const PLAIN: Ends = Ends { bias: false, bounds: (f64::NEG_INFINITY, f64::INFINITY) };

/// C with `stride` between rows, canaries between.
fn output(case: &CodesGemm, stride: usize) -> Buffer {
    let [m, n, _] = case.shape;
    let len = if m == 0 { 0 } else { (m - 1) * stride + n };
    Buffer::new(Place::AtGuard, &vec![CANARY; len])
}

/// The rows `from..to` of the call.
fn run_rows(kernels: &Kernels, case: &CodesGemm, ends: Ends, c: &mut [f32], rows: [usize; 3]) {
    let [from, to, stride] = rows;
    let mut args = case.args(c[from * stride..].as_mut_ptr(), stride);
    args.a = args.a.wrapping_add(from * case.shape[2]);
    args.m = (to - from) as i64;
    (args.min, args.max) = ends.bounds;
    if ends.bias {
        args.bias = case.bias.as_ptr();
    }
    // SAFETY: rows of a call whose operands `case` and `c` own.
    unsafe { case.format.kernel(kernels)(&args) };
}

fn run(kernels: &Kernels, case: &CodesGemm, ends: Ends, stride: usize) -> Vec<u32> {
    let mut c = output(case, stride);
    run_rows(kernels, case, ends, &mut c, [0, case.shape[0], stride]);
    c.iter().map(|x| x.to_bits()).collect()
}

/// The same by `gemm_f32@1`.
fn wide(kernels: &Kernels, case: &CodesGemm, ends: Ends, stride: usize) -> Vec<u32> {
    let mut c = output(case, stride);
    let mut args = case.wide_args(c.as_mut_ptr(), stride);
    (args.min, args.max) = ends.bounds;
    if ends.bias {
        args.bias = case.bias.as_ptr();
    }
    // SAFETY: `case` and `c` own what `args` describes.
    unsafe { (kernels.gemm_f32)(&args) };
    c.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn numbers_are_those_of_f32_whatever_the_sizes() {
    for isa in levels() {
        let (kernels, mut rng) = (Kernels::new(isa), Rng(31));
        for format in Format::ALL {
            for m in [1, 2, 3, 7, 33] {
                for n in [1, 7, 15, 16, 17, 33, 63, 64, 65, 79, 131] {
                    for groups in [1, 3, 5] {
                        let k = groups * format.group();
                        let case = CodesGemm::random(&mut rng, Place::AtGuard, format, [m, n, k]);
                        let (got, want) =
                            (run(kernels, &case, PLAIN, n + 3), wide(kernels, &case, PLAIN, n + 3));
                        assert_eq!(got, want, "{isa}, {format:?}, {m}x{n}x{k}");
                    }
                }
            }
        }
    }
}

/// Longer than what is unpacked at once, with and without a rest; halves end with half a pair.
#[test]
fn deep_sums_begin_with_a_bias_and_end_between_bounds() {
    for isa in levels() {
        let (kernels, mut rng) = (Kernels::new(isa), Rng(32));
        for format in Format::ALL {
            for (m, groups) in [(1, 19), (2, 16), (5, 24), (70, 20)] {
                let k =
                    if format == Format::Bf16 { groups * 32 - 1 } else { groups * format.group() };
                let ends = Ends { bias: true, bounds: (-0.75, 0.5) };
                let case = CodesGemm::random(&mut rng, Place::AtGuard, format, [m, 93, k]);
                let (got, want) = (run(kernels, &case, ends, 93), wide(kernels, &case, ends, 93));
                assert_eq!(got, want, "{isa}, {format:?}, {m}x93x{k}");
            }
        }
    }
}

/// The sums themselves, against f64.
#[test]
fn sums_are_those_of_the_definition() {
    for isa in levels() {
        for format in Format::ALL {
            let [m, n, k] = [3, 21, 96];
            let case = CodesGemm::random(&mut Rng(33), Place::AtGuard, format, [m, n, k]);
            for (at, bits) in run(Kernels::new(isa), &case, PLAIN, n).into_iter().enumerate() {
                let (i, j) = (at / n, at % n);
                let term = |l: usize| {
                    let b = case.numbers[(j / 16 * k + l) * 16 + j % 16];
                    f64::from(case.a[i * k + l]) * f64::from(b)
                };
                let (sum, size) =
                    (0..k).map(term).fold((0.0, 0.0), |(s, z), x: f64| (s + x, z + x.abs()));
                let bound = 100.0 * f64::from(f32::EPSILON) * size;
                let got = f64::from(f32::from_bits(bits));
                assert!(
                    (got - sum).abs() <= bound,
                    "{isa}, {format:?}: [{i}, {j}] {got}, not {sum}"
                );
            }
        }
    }
}

#[test]
fn splitting_the_rows_changes_no_bit() {
    for isa in levels() {
        let (kernels, mut rng) = (Kernels::new(isa), Rng(34));
        for format in Format::ALL {
            let [m, n, k] = [23, 70, 9 * 32];
            let case = CodesGemm::random(&mut rng, Place::AtGuard, format, [m, n, k]);
            let mut c = output(&case, n);
            let mut from = 0;
            while from < m {
                let to = (from + 1 + rng.below(4)).min(m);
                run_rows(kernels, &case, PLAIN, &mut c, [from, to, n]);
                from = to;
            }
            let parts: Vec<u32> = c.iter().map(|x| x.to_bits()).collect();
            assert_eq!(run(kernels, &case, PLAIN, n), parts, "{isa}, {format:?}");
        }
    }
}

#[test]
fn empty_calls() {
    for isa in levels() {
        for format in Format::ALL {
            for shape in [[0, 20, 96], [4, 0, 96], [1, 20, 0], [4, 20, 0]] {
                let case = CodesGemm::random(&mut Rng(35), Place::AtGuard, format, shape);
                let ends = Ends { bias: true, bounds: (-0.2, 0.3) };
                let stride = shape[1].max(1);
                let (got, want) = (
                    run(Kernels::new(isa), &case, ends, stride),
                    wide(Kernels::new(isa), &case, ends, stride),
                );
                assert_eq!(got, want, "{isa}, {format:?}, {shape:?}");
            }
        }
    }
}

/// Stronger than promised: both FMA levels walk the same chain.
#[test]
fn fma_levels_agree_bitwise() {
    let [low, high] = [Isa::Avx2, Isa::Avx512].map(Kernels::new);
    for format in Format::ALL {
        let case = CodesGemm::random(&mut Rng(36), Place::AtGuard, format, [3, 77, 192]);
        assert_eq!(run(low, &case, PLAIN, 77), run(high, &case, PLAIN, 77), "{format:?}");
    }
}
