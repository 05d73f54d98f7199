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

use crate::{DType, QuantFormat};
use half::f16;

/// Codes of 4 bits in a word, which are eight rows of a column.
pub const CODES_OF_WORD: u64 = 8;

/// An offset that changes nothing, not even the sign of 0.
const NO_OFFSET: f32 = -0.0;

/// How codes and scales lie in an artifact; see `GemmCodesArgs` in the kernel ABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeFormat {
    /// i8, or u32 of [`CODES_OF_WORD`] codes of 4 bits.
    pub codes: DType,
    /// What codes of 4 bits are less.
    pub zero: u32,
    /// f16, or f32 where blocks have scales of scales.
    pub scales: DType,
    /// Elements that share a scale.
    pub group: u64,
    /// Offsets follow the scales.
    pub offsets: bool,
}

impl CodeFormat {
    /// Elements of codes for a column of `k` elements: bytes, or words.
    pub const fn code_elements(self, k: u64) -> u64 {
        if self.has_words() { k / CODES_OF_WORD } else { k }
    }
    /// Scales and offsets of a column of `k` elements.
    pub const fn scale_elements(self, k: u64) -> u64 {
        k / self.group * if self.offsets { 2 } else { 1 }
    }
    /// Whether codes have 4 bits.
    pub const fn has_words(self) -> bool {
        matches!(self.codes, DType::U32)
    }
}

/// Blocks taken apart: element `i` is `scale·code + offset` with the pair of its group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Codes {
    /// One for each element, zero points subtracted.
    pub codes: Vec<i8>,
    /// Scale and offset of each group.
    pub scales: Vec<[f32; 2]>,
}

impl QuantFormat {
    /// How blocks lie in an artifact.
    pub fn codes(self) -> CodeFormat {
        let of = |codes, zero, scales, group, offsets| CodeFormat {
            codes,
            zero,
            scales,
            group,
            offsets,
        };
        match self {
            QuantFormat::Q8_0 => of(DType::I8, 0, DType::F16, 32, false),
            QuantFormat::Q4_0 => of(DType::U32, 8, DType::F16, 32, false),
            QuantFormat::Q4_1 => of(DType::U32, 0, DType::F16, 32, true),
            QuantFormat::Q4K => of(DType::U32, 0, DType::F32, 32, true),
            QuantFormat::Q5K => of(DType::I8, 0, DType::F32, 32, true),
            QuantFormat::Q6K => of(DType::I8, 0, DType::F32, 16, false),
        }
    }

    /// Whole blocks taken apart; bytes behind the last whole block are not read.
    pub fn take_apart(self, bytes: &[u8]) -> Codes {
        let (size, elements) = (self.block_bytes() as usize, self.block_elements() as usize);
        let groups = elements / self.codes().group as usize;
        let blocks = bytes.chunks_exact(size);
        let mut out = Codes {
            codes: vec![0; blocks.len() * elements],
            scales: vec![[0.0; 2]; blocks.len() * groups],
        };
        let parts = out.codes.chunks_exact_mut(elements).zip(out.scales.chunks_exact_mut(groups));
        for (block, (codes, scales)) in blocks.zip(parts) {
            match self {
                QuantFormat::Q8_0 => q8_0(block, codes, scales),
                QuantFormat::Q4_0 => q4_0(block, codes, scales),
                QuantFormat::Q4_1 => q4_1(block, codes, scales),
                QuantFormat::Q4K => q4_k(block, codes, scales),
                QuantFormat::Q5K => q5_k(block, codes, scales),
                QuantFormat::Q6K => q6_k(block, codes, scales),
            }
        }
        out
    }

    /// The elements of whole blocks; bytes behind the last whole block are not read.
    pub fn dequantise(self, bytes: &[u8]) -> Vec<f32> {
        let Codes { codes, scales } = self.take_apart(bytes);
        let groups = codes.chunks_exact(self.codes().group as usize).zip(scales);
        let elements = |(codes, [scale, offset]): (&[i8], [f32; 2])| {
            codes.iter().map(|q| scale * f32::from(*q) + offset).collect::<Vec<_>>()
        };
        groups.flat_map(elements).collect()
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// `d, q[32]`.
fn q8_0(block: &[u8], codes: &mut [i8], scales: &mut [[f32; 2]]) {
    scales[0] = [half(block, 0), NO_OFFSET];
    for (code, q) in codes.iter_mut().zip(&block[2..]) {
        *code = *q as i8;
    }
}

/// 32 codes of 4 bits: element `i` is the low half of byte `i`, element `16 + i` the high one.
fn nibbles(bytes: &[u8], zero: i8, codes: &mut [i8]) {
    let (low, high) = codes.split_at_mut(16);
    for (i, q) in bytes.iter().enumerate() {
        low[i] = (q & 15) as i8 - zero;
        high[i] = (q >> 4) as i8 - zero;
    }
}

/// `d, q[16]`, the codes 8 too high.
fn q4_0(block: &[u8], codes: &mut [i8], scales: &mut [[f32; 2]]) {
    scales[0] = [half(block, 0), NO_OFFSET];
    nibbles(&block[2..], 8, codes);
}

/// `d, m, q[16]`.
fn q4_1(block: &[u8], codes: &mut [i8], scales: &mut [[f32; 2]]) {
    scales[0] = [half(block, 0), half(block, 2)];
    nibbles(&block[4..], 0, codes);
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
fn q4_k(block: &[u8], codes: &mut [i8], scales: &mut [[f32; 2]]) {
    k_block(block, codes, scales, &block[16..], |_, _| 0);
}

/// `d, dmin, scales[12], high[32], q[128]`: as [`q4_k`], with bit 4 of the `i`-th 32
/// elements in bit `i` of `high`.
fn q5_k(block: &[u8], codes: &mut [i8], scales: &mut [[f32; 2]]) {
    k_block(block, codes, scales, &block[48..], |i, l| (block[16 + l] >> i & 1) << 4);
}

fn k_block(
    block: &[u8],
    codes: &mut [i8],
    scales: &mut [[f32; 2]],
    packed: &[u8],
    upper: impl Fn(usize, usize) -> u8,
) {
    let (d, dmin) = (half(block, 0), half(block, 2));
    for (i, codes) in codes.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_and_min(&block[4..16], i);
        scales[i] = [d * scale, -(dmin * min)];
        let packed = &packed[i / 2 * 32..];
        for (l, code) in codes.iter_mut().enumerate() {
            *code = (packed[l] >> (i % 2 * 4) & 15 | upper(i, l)) as i8;
        }
    }
}

/// `low[128], high[64], scales[16], d`: of each 128 elements, the low 4 bits lie in 64 bytes
/// (low halves first), the upper 2 bits of elements `32i + l` in bits `2i` of byte `l`.
fn q6_k(block: &[u8], codes: &mut [i8], scales: &mut [[f32; 2]]) {
    let d = half(block, 208);
    for (scale, s) in scales.iter_mut().zip(&block[192..208]) {
        *scale = [d * f32::from(*s as i8), NO_OFFSET];
    }
    for (i, codes) in codes.chunks_exact_mut(32).enumerate() {
        let (part, i) = (i / 4, i % 4);
        let low = &block[part * 64 + i % 2 * 32..];
        let high = &block[128 + part * 32..];
        for (l, code) in codes.iter_mut().enumerate() {
            *code = (low[l] >> (i / 2 * 4) & 15 | (high[l] >> (2 * i) & 3) << 4) as i8 - 32;
        }
    }
}
