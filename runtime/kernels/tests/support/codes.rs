//! Calls of products by matrices that are narrow in memory, and the same of f32.

use super::{Buffer, PANEL, Place, Rng};
use cascata_artifact::abi::{BlockFn, GemmCodesArgs, GemmF32Args};
use cascata_kernels::Kernels;

/// What B is in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    /// Pairs of bf16.
    Bf16,
    /// i8 with a scale for so many rows.
    Q8 { group: usize, wide: bool, offsets: bool },
    /// Nibbles with a scale for 32 rows.
    Q4 { zero: i64, wide: bool, offsets: bool },
}

impl Format {
    /// Those that files have, and where a scale has another length.
    pub const ALL: [Format; 8] = [
        Format::Bf16,
        Format::Q8 { group: 32, wide: false, offsets: false },
        Format::Q8 { group: 32, wide: true, offsets: true },
        Format::Q8 { group: 16, wide: true, offsets: false },
        Format::Q8 { group: 24, wide: false, offsets: true },
        Format::Q4 { zero: 8, wide: false, offsets: false },
        Format::Q4 { zero: 0, wide: false, offsets: true },
        Format::Q4 { zero: 0, wide: true, offsets: true },
    ];

    /// Rows that share a scale; 1 without.
    pub fn group(self) -> usize {
        match self {
            Format::Bf16 => 1,
            Format::Q8 { group, .. } => group,
            Format::Q4 { .. } => 32,
        }
    }

    /// The level's kernel.
    pub fn kernel(self, kernels: &Kernels) -> BlockFn<GemmCodesArgs> {
        match self {
            Format::Bf16 => kernels.gemm_f32_bf16,
            Format::Q8 { .. } => kernels.gemm_f32_q8,
            Format::Q4 { .. } => kernels.gemm_f32_q4,
        }
    }

    fn wide(self) -> bool {
        matches!(self, Format::Q8 { wide: true, .. } | Format::Q4 { wide: true, .. })
    }

    fn offsets(self) -> bool {
        matches!(self, Format::Q8 { offsets: true, .. } | Format::Q4 { offsets: true, .. })
    }

    /// Bytes of a panel's codes of `k` rows.
    fn panel_bytes(self, k: usize) -> usize {
        match self {
            Format::Bf16 => k.next_multiple_of(2) * 2 * PANEL,
            Format::Q8 { .. } => k * PANEL,
            Format::Q4 { .. } => k / 2 * PANEL,
        }
    }

    /// Bytes of a panel's scales.
    fn scale_bytes(self, k: usize) -> usize {
        match self {
            Format::Bf16 => 0,
            _ => {
                let size = if self.wide() { 4 } else { 2 };
                let kinds = if self.offsets() { 2 } else { 1 };
                k / self.group() * kinds * PANEL * size
            }
        }
    }
}

/// The operands of a call, and the same numbers as f32.
pub struct CodesGemm {
    pub format: Format,
    /// m, n, k.
    pub shape: [usize; 3],
    pub a: Buffer,
    pub b: Buffer<u8>,
    pub scales: Buffer<u8>,
    pub bias: Buffer,
    /// B as panels of f32.
    pub numbers: Buffer,
}

impl CodesGemm {
    /// Random operands; `k` is a multiple of the format's group.
    pub fn random(rng: &mut Rng, place: Place, format: Format, [m, n, k]: [usize; 3]) -> Self {
        let panels = n.div_ceil(PANEL);
        let mut b: Vec<u8> =
            (0..panels * format.panel_bytes(k)).map(|_| rng.next() as u8).collect();
        if format == Format::Bf16 {
            // Finite numbers near 1.
            for x in b.chunks_exact_mut(2) {
                x.copy_from_slice(&((rng.unit().to_bits() >> 16) as u16).to_le_bytes());
            }
        }
        let scales = scales(rng, format, panels * format.scale_bytes(k));
        let mut numbers = vec![0f32; panels * k * PANEL];
        for (at, x) in numbers.iter_mut().enumerate() {
            let (panel, row, col) = (at / PANEL / k.max(1), at / PANEL % k.max(1), at % PANEL);
            *x = number(format, k, (&b, &scales), [panel, row, col]);
        }
        let units = |rng: &mut Rng, n| Buffer::new(place, &rng.units(n));
        CodesGemm {
            format,
            shape: [m, n, k],
            a: units(rng, m * k),
            bias: units(rng, n),
            b: Buffer::new(place, &b),
            scales: Buffer::new(place, &scales),
            numbers: Buffer::new(place, &numbers),
        }
    }

    /// The argument block without bias and bounds, for output rows of `stride` at `c`.
    pub fn args(&self, c: *mut f32, stride: usize) -> GemmCodesArgs {
        let ([m, n, k], format) = (self.shape, self.format);
        GemmCodesArgs {
            a: self.a.as_ptr(),
            a_row_stride: k as i64,
            b: self.b.as_ptr(),
            b_panel_stride: format.panel_bytes(k) as i64,
            b_zero: if let Format::Q4 { zero, .. } = format { zero } else { 0 },
            scales: self.scales.as_ptr(),
            scales_panel_stride: format.scale_bytes(k) as i64,
            group: format.group() as i64,
            wide: format.wide().into(),
            offsets: format.offsets().into(),
            c,
            c_row_stride: stride as i64,
            bias: std::ptr::null(),
            m: m as i64,
            n: n as i64,
            k: k as i64,
            min: f64::NEG_INFINITY,
            max: f64::INFINITY,
        }
    }

    /// The same call of `gemm_f32@1`.
    pub fn wide_args(&self, c: *mut f32, stride: usize) -> GemmF32Args {
        let ([m, n, k], args) = (self.shape, self.args(c, stride));
        GemmF32Args {
            a: args.a,
            a_offsets: std::ptr::null(),
            a_row_stride: args.a_row_stride,
            a_batch_stride: 0,
            zeros: std::ptr::null(),
            b: self.numbers.as_ptr(),
            b_panel_stride: (k * PANEL) as i64,
            b_batch_stride: 0,
            c,
            c_row_stride: args.c_row_stride,
            bias: args.bias,
            m: m as i64,
            n: n as i64,
            k: k as i64,
            k_last: k as i64,
            batch: 1,
            accumulate: 0,
            min: args.min,
            max: args.max,
            a_zero: 0,
        }
    }
}

/// f16 with few bits, or f32 with many, of any sign.
fn scales(rng: &mut Rng, format: Format, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes);
    while out.len() < bytes {
        match format.wide() {
            true => out.extend((rng.unit() / 64.0).to_le_bytes()),
            // Exponents around 2^-6, and now and then a subnormal one.
            false => {
                let exponent = if rng.below(9) == 0 { 0 } else { 7 + rng.below(3) as u16 };
                let half = (rng.next() as u16 & 0x83ff) | exponent << 10;
                out.extend(half.to_le_bytes());
            }
        }
    }
    out
}

fn half(bits: u16) -> f32 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        e => (1024.0 + fraction) * 2f32.powi(e - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

/// `B[row, panel·16 + col]` by the definition.
fn number(format: Format, k: usize, (b, scales): (&[u8], &[u8]), at: [usize; 3]) -> f32 {
    let [panel, row, col] = at;
    let b = &b[panel * format.panel_bytes(k)..];
    let code = match format {
        Format::Bf16 => {
            let at = (row / 2 * 32 + col * 2 + row % 2) * 2;
            return f32::from_bits(u32::from(u16::from_le_bytes([b[at], b[at + 1]])) << 16);
        }
        Format::Q8 { .. } => i64::from(b[row * PANEL + col] as i8),
        Format::Q4 { zero, .. } => {
            let byte = b[(row / 8 * PANEL + col) * 4 + row % 8 / 2];
            i64::from(byte >> (row % 2 * 4) & 15) - zero
        }
    };
    let scales = &scales[panel * format.scale_bytes(k)..];
    let kinds = if format.offsets() { 2 } else { 1 };
    let scale = |kind: usize| {
        let i = (row / format.group() * kinds + kind) * PANEL + col;
        match format.wide() {
            true => f32::from_le_bytes(scales[4 * i..4 * i + 4].try_into().unwrap()),
            false => half(u16::from_le_bytes([scales[2 * i], scales[2 * i + 1]])),
        }
    };
    let offset = if format.offsets() { f64::from(scale(1)) } else { -0.0 };
    (f64::from(scale(0)) * code as f64 + offset) as f32
}
