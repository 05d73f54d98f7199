//! The steps of an online softmax, and conversions, at each level against plain loops.

mod support;

use cascata_kernels::online::{Rescale, Weigh, rescale, weigh};
use cascata_kernels::{narrow_bf16, widen_bf16_pairs, widen_f16, widen_i8};
use half::{bf16, f16};
use support::{Rng, levels};

const INF: f32 = f32::INFINITY;

fn random(rng: &mut Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.below(1 << 16) as f32 / 8192.0 - 4.0).collect()
}

/// State of one row after a tile: `m`, `l`, the factor, the weights; in f64.
fn naive(scores: &[f32], cap: Option<f32>, max: f32, sum: f32) -> (f64, f64, f64, Vec<f64>) {
    let capped = |s: &f32| cap.map_or(f64::from(*s), |c| f64::from(c) * f64::from(*s).tanh());
    let scores: Vec<f64> = scores.iter().map(capped).collect();
    let new = scores.iter().fold(f64::from(max), |m, s| m.max(*s));
    if new == f64::NEG_INFINITY {
        return (new, f64::from(sum), 1.0, vec![0.0; scores.len()]);
    }
    let weights: Vec<f64> = scores.iter().map(|s| (s - new).exp()).collect();
    let factor = (f64::from(max) - new).exp();
    (new, f64::from(sum) * factor + weights.iter().sum::<f64>(), factor, weights)
}

#[test]
fn weights_and_states() {
    for isa in levels() {
        let mut rng = Rng(41);
        for (rows, stride, tokens, cap) in [
            (1, 4, 0..3, None),
            (7, 64, 0..64, None),
            (128, 32, 5..31, Some(3.0)),
            (9, 20, 1..20, None),
        ] {
            let mut scores = random(&mut rng, rows * stride);
            let (mut max, mut sum) = (random(&mut rng, rows), random(&mut rng, rows));
            // The first row has seen nothing, and sees nothing yet.
            max[0] = -INF;
            sum[0] = 0.0;
            if cap.is_none() {
                scores[..stride].fill(-INF);
            }
            let before = (scores.clone(), max.clone(), sum.clone());
            let mut factor = vec![f32::NAN; rows];
            weigh(
                isa,
                Weigh {
                    scores: &mut scores,
                    stride,
                    tokens: tokens.clone(),
                    cap,
                    max: &mut max,
                    sum: &mut sum,
                    factor: &mut factor,
                },
            );
            for row in 0..rows {
                let at = row * stride;
                let (m, l, f, w) = naive(
                    &before.0[at..at + stride][tokens.clone()],
                    cap,
                    before.1[row],
                    before.2[row],
                );
                let near = |a: f32, b: f64| {
                    a == b as f32 || (f64::from(a) - b).abs() < 2e-5 * (1.0 + b.abs())
                };
                assert!(
                    near(max[row], m) && near(sum[row], l) && near(factor[row], f),
                    "{isa} {row}"
                );
                let found = &scores[at..at + stride];
                assert!(
                    found[tokens.clone()].iter().zip(&w).all(|(a, b)| near(*a, *b)),
                    "{isa} {row}"
                );
                let untouched = |i: &usize| !tokens.contains(i);
                assert!(
                    (0..stride).filter(untouched).all(|i| found[i] == before.0[at + i]),
                    "{isa}"
                );
            }
        }
    }
}

#[test]
fn a_nan_wins() {
    for isa in levels() {
        let (mut scores, mut max, mut sum, mut factor) =
            ([1.0, f32::NAN, 2.0], [5.0], [1.0], [0.0]);
        weigh(
            isa,
            Weigh {
                scores: &mut scores,
                stride: 3,
                tokens: 0..3,
                cap: None,
                max: &mut max,
                sum: &mut sum,
                factor: &mut factor,
            },
        );
        assert!(max[0].is_nan() && sum[0].is_nan(), "{isa}");
    }
}

#[test]
fn sums_are_rescaled() {
    for isa in levels() {
        let mut rng = Rng(42);
        for (rows, width) in [(1, 1), (5, 20), (33, 64)] {
            let (sums, more) = (random(&mut rng, rows * width), random(&mut rng, rows * width));
            let mut factor = random(&mut rng, rows);
            factor[0] = 1.0;
            for more in [&more[..], &[]] {
                let mut found = sums.clone();
                rescale(isa, Rescale { sums: &mut found, more, factor: &factor, width });
                for (i, found) in found.iter().enumerate() {
                    let want = sums[i] * factor[i / width] + more.get(i).unwrap_or(&0.0);
                    assert!((found - want).abs() < 1e-5, "{isa}: {found} for {want}");
                }
            }
        }
    }
}

#[test]
fn conversions() {
    for isa in levels() {
        let mut rng = Rng(43);
        let mut floats = random(&mut rng, 77);
        floats.extend([INF, -INF, f32::NAN, 0.0, -0.0, 1e-40, f32::MAX, 1.003_906_3, 1.011_718_8]);
        let mut halves = vec![0u16; floats.len()];
        narrow_bf16(isa, (&mut halves, &floats));
        for (half, float) in halves.iter().zip(&floats) {
            let want = bf16::from_f32(*float);
            let both_nan = want.is_nan() && bf16::from_bits(*half).is_nan();
            assert!(*half == want.to_bits() || both_nan, "{isa}: {float}");
        }
        // Three panels' worth of pairs.
        let bits: Vec<u16> = (0..96).map(|i| i * 521).collect();
        let mut wide = vec![0.0; 96];
        widen_bf16_pairs(isa, (&mut wide, &bits));
        for (i, bits) in bits.iter().enumerate() {
            let (pair, column, odd) = (i / 32, i % 32 / 2, i % 2);
            let found = wide[pair * 32 + odd * 16 + column];
            assert_eq!(found.to_bits(), u32::from(*bits) << 16, "{isa}");
        }
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let mut wide = vec![0.0; bits.len()];
        widen_f16(isa, (&mut wide, &bits));
        let right = |(w, b): (&f32, &u16)| {
            let want = f16::from_bits(*b).to_f32();
            *w == want || w.is_nan() && want.is_nan()
        };
        assert!(wide.iter().zip(&bits).all(right), "{isa}");
        let bytes: Vec<i8> = (i8::MIN..=i8::MAX).collect();
        let mut wide = vec![0.0; bytes.len()];
        widen_i8(isa, (&mut wide, &bytes));
        assert!(wide.iter().zip(&bytes).all(|(w, b)| *w == f32::from(*b)), "{isa}");
    }
}
