//! Reproducible random operands.

use cascata_ir::kernel::interp::HostBuffer;
use cascata_ir::types::DType;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// In `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    /// In `low..high`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of a list.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Elements of moderate size; floats in `-4..4`, integers in `-100..100`.
    pub fn tame(&mut self, dtype: DType, len: usize) -> HostBuffer {
        let scale = if dtype.is_float() { 4.0 } else { 100.0 };
        let values: Vec<f64> = (0..len)
            .map(|_| match dtype {
                DType::Bool => self.below(2) as f64,
                d if d.is_unsigned_int() => self.uniform(0.0, scale),
                _ => self.uniform(-scale, scale),
            })
            .collect();
        HostBuffer::rounded(dtype, &values)
    }

    /// Elements with any bits, every third one special.
    pub fn wild(&mut self, dtype: DType, len: usize) -> HostBuffer {
        let special: &[f64] = match dtype {
            d if d.is_float() => &[
                0.0,
                -0.0,
                1.0,
                -1.0,
                0.5,
                2.0,
                3.0,
                1e-40,
                -1e-7,
                65504.0,
                65519.0,
                1e30,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NAN,
            ],
            _ => &[0.0, 1.0, -1.0, 2.0, 3.0, 7.0, 31.0, 63.0, -128.0, 255.0, -9.3e18, 1.9e19],
        };
        let size = dtype.size_bytes().unwrap_or(0);
        let mut bytes = Vec::with_capacity(len * size);
        for _ in 0..len {
            let element = match self.below(3) {
                0 => HostBuffer::rounded(dtype, &[self.pick(special)]).bytes,
                1 => self.tame(dtype, 1).bytes,
                _ if dtype == DType::Bool => vec![(self.bits() & 1) as u8],
                _ => self.bits().to_le_bytes()[..size].to_vec(),
            };
            bytes.extend(element);
        }
        HostBuffer { dtype, bytes, first_undefined: None }
    }
}
