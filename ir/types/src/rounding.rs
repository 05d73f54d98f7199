//! Half floats from wider numbers with one rounding.

use half::{bf16, f16};

/// `x` rounded once to `f16`, to nearest even.
pub fn round_to_f16(x: f64) -> f16 {
    f16::from_f32(f32_to_odd(x))
}

/// `x` rounded once to `bf16`, to nearest even.
pub fn round_to_bf16(x: f64) -> bf16 {
    bf16::from_f32(f32_to_odd(x))
}

/// `x` rounded to `f32` so that an inexact result has an odd last bit. A later rounding
/// to two or more bits less is then as if done in one step (Boldo and Melquiond 2008);
/// `half`'s own `from_f64` rounds twice or drops low bits.
fn f32_to_odd(x: f64) -> f32 {
    let near = x as f32;
    let exact = f64::from(near) == x || x.is_nan();
    if exact || near.to_bits() & 1 == 1 {
        return near;
    }
    let toward_zero = f64::from(near).abs() > x.abs();
    f32::from_bits(if toward_zero { near.to_bits() - 1 } else { near.to_bits() + 1 })
}

/// As `f32_to_odd`, from integers to `f64`.
pub fn int_to_odd(x: i128) -> f64 {
    let near = x as f64;
    let back = near as i128;
    if back == x || near.to_bits() & 1 == 1 {
        return near;
    }
    let toward_zero = back.unsigned_abs() > x.unsigned_abs();
    f64::from_bits(if toward_zero { near.to_bits() - 1 } else { near.to_bits() + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f16_rounds_once() {
        // Halfway between 1 and 1+2^-10, plus less than an f32 can hold.
        let tie = 1.0 + f64::powi(2.0, -11);
        assert_eq!(round_to_f16(tie).to_f64(), 1.0);
        assert_eq!(round_to_f16(tie + f64::powi(2.0, -50)).to_f64(), 1.0 + f64::powi(2.0, -10));
        assert_eq!(round_to_f16(-tie - f64::powi(2.0, -50)).to_f64(), -1.0 - f64::powi(2.0, -10));
        assert_eq!(round_to_f16(65519.999).to_f64(), 65504.0);
        assert_eq!(round_to_f16(65520.0).to_f64(), f64::INFINITY);
        assert_eq!(round_to_f16(1e300).to_f64(), f64::INFINITY);
        assert_eq!(round_to_f16(f64::powi(2.0, -25)).to_f64(), 0.0);
        assert_eq!(round_to_f16(f64::powi(2.0, -25) * 1.0000001).to_f64(), f64::powi(2.0, -24));
        assert!(round_to_f16(f64::NAN).is_nan());
        assert_eq!(round_to_f16(-0.0).to_bits(), 0x8000);
    }

    #[test]
    fn bf16_rounds_once() {
        let tie = 1.0 + f64::powi(2.0, -8);
        assert_eq!(round_to_bf16(tie).to_f64(), 1.0);
        assert_eq!(round_to_bf16(tie + f64::powi(2.0, -40)).to_f64(), 1.0 + f64::powi(2.0, -7));
        let big = (1i128 << 62) + (1i128 << 54);
        assert_eq!(round_to_bf16(int_to_odd(big)).to_f64(), (1i128 << 62) as f64);
        assert_eq!(
            round_to_bf16(int_to_odd(big + 1)).to_f64(),
            ((1i128 << 62) + (1i128 << 55)) as f64
        );
        assert_eq!(
            round_to_bf16(int_to_odd(-big - 1)).to_f64(),
            -(((1i128 << 62) + (1i128 << 55)) as f64)
        );
    }
}
