//! Random numbers by position, not by history: Philox4x32-10 (Salmon et al., "Parallel random
//! numbers: as easy as 1, 2, 3", SC 2011). The number for token `index` of sample `sample`
//! under `seed` is the same whatever ran before it, beside it, or was taken back.

/// A number in `[0, 1)` with 53 random bits.
pub(crate) fn uniform(seed: u64, sample: u32, index: u32) -> f64 {
    let out = philox([index, sample, 0, 0], [seed as u32, (seed >> 32) as u32]);
    let bits = (u64::from(out[0]) << 32) | u64::from(out[1]);
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        let high = |x: u64| (x >> 32) as u32;
        counter =
            [high(b) ^ counter[1] ^ key[0], b as u32, high(a) ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the authors' known-answer tests.
    #[test]
    fn known_answers() {
        let zero = [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8];
        assert_eq!(philox([0; 4], [0; 2]), zero);
        let ones = [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd];
        assert_eq!(philox([u32::MAX; 4], [u32::MAX; 2]), ones);
    }

    #[test]
    fn neighbours_are_uniform_and_unlike() {
        let numbers: Vec<f64> = (0..4096).map(|i| uniform(7, i / 64, i % 64)).collect();
        let mean = numbers.iter().sum::<f64>() / 4096.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        let product = numbers.windows(2).map(|w| (w[0] - 0.5) * (w[1] - 0.5)).sum::<f64>();
        assert!((product / 4095.0).abs() < 0.005, "{product}");
        assert_ne!(uniform(7, 0, 0), uniform(8, 0, 0));
    }
}
