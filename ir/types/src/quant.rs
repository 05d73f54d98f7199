//! What a block of each GGUF format stands for: the definition that kernels are held to.
//!
//! A block is a fixed number of consecutive elements of a row. Each element is a small
//! integer `q` times a scale, plus an offset, shared by 16 or 32 elements:
//!
//! | format | elements | bytes | element |
//! |---|---:|---:|---|
//! | `q8_0` | 32 | 34 | `d·q`, q in −128..=127 |
//! | `q4_0` | 32 | 18 | `d·(q − 8)`, q in 0..=15 |
//! | `q4_1` | 32 | 20 | `d·q + m` |
//! | `q4_k` | 256 | 144 | `d·s·q − dmin·m`, s and m 6 bits for each 32 elements |
//! | `q5_k` | 256 | 176 | the same with q of 5 bits |
//! | `q6_k` | 256 | 210 | `d·s·(q − 32)`, s 8 bits for each 16 elements |
//!
//! `d`, `m` and `dmin` are f16. Products and sums are f32, in the order written here, so that
//! every implementation can give the same bits.

use crate::QuantFormat;
use half::f16;

impl QuantFormat {
    /// The elements of whole blocks; bytes behind the last whole block are not read.
    pub fn dequantise(self, bytes: &[u8]) -> Vec<f32> {
        let (size, elements) = (self.block_bytes() as usize, self.block_elements() as usize);
        let blocks = bytes.chunks_exact(size);
        let mut out = vec![0.0; blocks.len() * elements];
        for (block, out) in blocks.zip(out.chunks_exact_mut(elements)) {
            match self {
                QuantFormat::Q8_0 => q8_0(block, out),
                QuantFormat::Q4_0 => q4_0(block, out),
                QuantFormat::Q4_1 => q4_1(block, out),
                QuantFormat::Q4K => q4_k(block, out),
                QuantFormat::Q5K => q5_k(block, out),
                QuantFormat::Q6K => q6_k(block, out),
            }
        }
        out
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// `d, q[32]`.
fn q8_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    for (y, q) in out.iter_mut().zip(&block[2..]) {
        *y = d * f32::from(*q as i8);
    }
}

/// `d, q[16]`: element `i` is the low half of byte `i`, element `16 + i` the high one.
fn q4_0(block: &[u8], out: &mut [f32]) {
    let d = half(block, 0);
    let (low, high) = out.split_at_mut(16);
    for (i, q) in block[2..].iter().enumerate() {
        low[i] = d * (f32::from(q & 15) - 8.0);
        high[i] = d * (f32::from(q >> 4) - 8.0);
    }
}

/// `d, m, q[16]`, halves as in [`q4_0`].
fn q4_1(block: &[u8], out: &mut [f32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    let (low, high) = out.split_at_mut(16);
    for (i, q) in block[4..].iter().enumerate() {
        low[i] = d * f32::from(q & 15) + m;
        high[i] = d * f32::from(q >> 4) + m;
    }
}

/// Scale and offset of the `i`-th 32 elements: 6 bits each, eight of both in 12 bytes. The
/// first four lie in the low bits; the others have their upper two bits above those.
fn scale_and_min(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, min) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        let (upper_scale, upper_min) = (packed[i - 4] >> 6, packed[i] >> 6);
        (packed[i + 4] & 15 | upper_scale << 4, packed[i + 4] >> 4 | upper_min << 4)
    };
    (f32::from(scale), f32::from(min))
}

/// `d, dmin, scales[12], q[128]`: 64 elements in 32 bytes, the low halves first.
fn q4_k(block: &[u8], out: &mut [f32]) {
    k_block(block, out, &block[16..], |_, _| 0);
}

/// `d, dmin, scales[12], high[32], q[128]`: as [`q4_k`], with bit 4 of the `i`-th 32
/// elements in bit `i` of `high`.
fn q5_k(block: &[u8], out: &mut [f32]) {
    k_block(block, out, &block[48..], |i, l| (block[16 + l] >> i & 1) << 4);
}

fn k_block(block: &[u8], out: &mut [f32], codes: &[u8], upper: impl Fn(usize, usize) -> u8) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    for (i, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], i);
        let (scale, min) = (d * scale, dmin * min);
        let codes = &codes[i / 2 * 32..];
        for (l, y) in out.iter_mut().enumerate() {
            let q = codes[l] >> (i % 2 * 4) & 15 | upper(i, l);
            *y = scale * f32::from(q) - min;
        }
    }
}

/// `low[128], high[64], scales[16], d`: of each 128 elements, the low 4 bits lie in 64 bytes
/// (low halves first), the upper 2 bits of elements `32i + l` in bits `2i` of byte `l`.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let d = half(block, 208);
    for (i, out) in out.chunks_exact_mut(32).enumerate() {
        let (part, i) = (i / 4, i % 4);
        let low = &block[part * 64 + i % 2 * 32..];
        let high = &block[128 + part * 32..];
        let scales = &block[192 + part * 8 + i * 2..];
        for (l, y) in out.iter_mut().enumerate() {
            let q = low[l] >> (i / 2 * 4) & 15 | (high[l] >> (2 * i) & 3) << 4;
            *y = d * f32::from(scales[l / 16] as i8) * (f32::from(q) - 32.0);
        }
    }
}
