//! A row of logits as unnormalised probabilities.
//!
//! PERF: a vocabulary has 50,000 to 250,000 entries and every row is read for every token, so
//! these loops are written for the vectoriser (fixed lanes, no calls, no branches). Greedy
//! over 49,152 logits takes 27 µs (`--example overhead`); with a branch for NaN it took 360.

/// Numbers that are summed together; the order of a sum is fixed by it.
const CHUNK: usize = 64;
const LANES: usize = 8;

/// The largest logit; none if one is NaN or +∞, or all are −∞.
pub(crate) fn largest(logits: &[f32]) -> Option<f32> {
    let (mut max, mut bad) = ([f32::NEG_INFINITY; LANES], [0u32; LANES]);
    let (chunks, rest) = logits.as_chunks::<LANES>();
    let mut last = [f32::NEG_INFINITY; LANES];
    last[..rest.len()].copy_from_slice(rest);
    for chunk in chunks.iter().chain([&last]) {
        for lane in 0..LANES {
            let logit = chunk[lane];
            max[lane] = if logit > max[lane] { logit } else { max[lane] };
            // Not below +∞: +∞ or NaN.
            bad[lane] |= u32::from(logit < f32::INFINITY) ^ 1;
        }
    }
    let max = max.into_iter().fold(f32::NEG_INFINITY, f32::max);
    (bad == [0; LANES] && max > f32::NEG_INFINITY).then_some(max)
}

/// `e^x` for `x ≤ 0`, within 2 units in the last place; 0 below −87.
fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5·2²³ rounds to a whole number, which the low bits then hold.
    const ROUND: f32 = 12_582_912.0;
    let bounded = if x > -88.0 { x } else { -88.0 };
    let shifted = bounded * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, so that the rest of the division is exact.
    let r = bounded - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4 * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3F80_0000));
    if x < -87.0 { 0.0 } else { (p * r * r + r + 1.0) * power }
}

/// `out[i] = e^((logits[i] − max) · scale)`, at most 1.
pub(crate) fn fill(logits: &[f32], max: f32, scale: f32, out: &mut Vec<f32>) {
    out.clear();
    out.extend(logits.iter().map(|logit| exp((logit - max) * scale)));
}

fn chunk_sum(chunk: &[f32]) -> f64 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = chunk.as_chunks::<LANES>();
    for numbers in chunks {
        for lane in 0..LANES {
            lanes[lane] += numbers[lane];
        }
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane += x);
    lanes.iter().map(|x| f64::from(*x)).sum()
}

/// The sum of all.
pub(crate) fn sum(weights: &[f32]) -> f64 {
    weights.chunks(CHUNK).map(chunk_sum).sum()
}

/// The first place where the sum of what came before and this one is above `target`; the last
/// one with any weight if rounding leaves none.
pub(crate) fn find(weights: &[f32], target: f64) -> Option<usize> {
    let mut before = 0.0;
    for (number, chunk) in weights.chunks(CHUNK).enumerate() {
        let after = before + chunk_sum(chunk);
        if after > target {
            let mut sum = before;
            let above = |w: &f32| {
                sum += f64::from(*w);
                sum > target
            };
            if let Some(at) = chunk.iter().position(above) {
                return Some(number * CHUNK + at);
            }
        }
        before = after;
    }
    weights.iter().rposition(|w| *w > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_right_to_two_units() {
        for i in 0..870_000 {
            let x = i as f32 * -1e-4;
            let want = f64::from(x).exp();
            let error = (f64::from(exp(x)) - want).abs() / want;
            assert!(error <= 2.0 * f64::from(f32::EPSILON), "e^{x}: {error}");
        }
        assert_eq!([exp(0.0), exp(f32::NEG_INFINITY), exp(-1e9)], [1.0, 0.0, 0.0]);
    }

    #[test]
    fn the_largest_is_found_and_bad_rows_are_refused() {
        let row: Vec<f32> = (0..101).map(|i| -((i as f32) - 77.0).abs()).collect();
        assert_eq!(largest(&row), Some(0.0));
        for bad in [f32::NAN, f32::INFINITY] {
            for at in [0, 50, 100] {
                let mut row = row.clone();
                row[at] = bad;
                assert_eq!(largest(&row), None);
            }
        }
        assert_eq!(largest(&[f32::NEG_INFINITY; 9]), None);
        assert_eq!(largest(&[]), None);
    }

    #[test]
    fn places_are_found_as_by_counting() {
        let weights: Vec<f32> = (0..150).map(|i| if i % 3 == 0 { 0.0 } else { 1.0 }).collect();
        assert_eq!(sum(&weights), 100.0);
        for target in 0..100 {
            let at = find(&weights, f64::from(target)).unwrap();
            let before = weights[..at].iter().sum::<f32>();
            assert!(weights[at] == 1.0 && before == target as f32);
        }
        assert_eq!(find(&weights, 100.0), Some(149));
        assert_eq!(find(&[0.0; 3], 0.0), None);
    }
}
