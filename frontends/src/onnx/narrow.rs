//! Element types of 8 bits and less that have no dtype of their own.
//!
//! Floats of 8 and 4 bits are kept as codes of one byte each (`u8`), integers of 4 and 2
//! bits as numbers of one byte each (`i8`, `u8`); a model's inputs and outputs of such a
//! type are byte tensors like that. The importer knows which values are meant so
//! ([`super::importer::Importer::narrow`]): data movement passes them on, casts and
//! quantisation convert them, everything else refuses them.

use super::proto::tensor_proto::DataType;
use cascata_ir::types::DType;

/// An element type kept as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrow {
    /// A float as its code.
    Float(Format),
    /// A signed integer of so many bits as `i8`.
    Int(u32),
    /// An unsigned integer of so many bits as `u8`.
    UInt(u32),
}

/// How a code stands for a number: sign, exponent, mantissa from the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The ONNX name.
    pub name: &'static str,
    /// Bits of a code.
    pub bits: u32,
    /// Bits of the mantissa.
    pub mantissa: u32,
    /// What the exponent field counts from.
    pub bias: i32,
    /// The code of the largest finite number.
    pub largest: u8,
    /// The code of infinity.
    pub infinity: Option<u8>,
    /// The code of NaN.
    pub nan: Option<u8>,
    /// Has a sign, a zero and denormals; one without is a bare power of two.
    pub signed: bool,
    /// The code of zero with the sign set is a negative zero.
    pub negative_zero: bool,
}

const E4M3FN: Format = Format {
    name: "FLOAT8E4M3FN",
    bits: 8,
    mantissa: 3,
    bias: 7,
    largest: 0x7e,
    infinity: None,
    nan: Some(0x7f),
    signed: true,
    negative_zero: true,
};
const E4M3FNUZ: Format = Format {
    name: "FLOAT8E4M3FNUZ",
    bias: 8,
    largest: 0x7f,
    nan: Some(0x80),
    negative_zero: false,
    ..E4M3FN
};
const E5M2: Format = Format {
    name: "FLOAT8E5M2",
    mantissa: 2,
    bias: 15,
    largest: 0x7b,
    infinity: Some(0x7c),
    nan: Some(0x7e),
    ..E4M3FN
};
const E5M2FNUZ: Format = Format { name: "FLOAT8E5M2FNUZ", mantissa: 2, bias: 16, ..E4M3FNUZ };
const E8M0: Format = Format {
    name: "FLOAT8E8M0",
    mantissa: 0,
    bias: 127,
    largest: 0xfe,
    nan: Some(0xff),
    signed: false,
    negative_zero: false,
    ..E4M3FN
};
const E2M1: Format =
    Format { name: "FLOAT4E2M1", bits: 4, mantissa: 1, bias: 1, largest: 7, nan: None, ..E4M3FN };

impl Narrow {
    /// The type of an ONNX data type code, if it is such a one.
    pub fn of_code(code: i32) -> Option<Narrow> {
        Some(match DataType::try_from(code).ok()? {
            DataType::Float8e4m3fn => Narrow::Float(E4M3FN),
            DataType::Float8e4m3fnuz => Narrow::Float(E4M3FNUZ),
            DataType::Float8e5m2 => Narrow::Float(E5M2),
            DataType::Float8e5m2fnuz => Narrow::Float(E5M2FNUZ),
            DataType::Float8e8m0 => Narrow::Float(E8M0),
            DataType::Float4e2m1 => Narrow::Float(E2M1),
            DataType::Int4 => Narrow::Int(4),
            DataType::Int2 => Narrow::Int(2),
            DataType::Uint4 => Narrow::UInt(4),
            DataType::Uint2 => Narrow::UInt(2),
            _ => return None,
        })
    }

    /// The ONNX name.
    pub fn name(self) -> String {
        match self {
            Narrow::Float(format) => format.name.to_string(),
            Narrow::Int(bits) => format!("INT{bits}"),
            Narrow::UInt(bits) => format!("UINT{bits}"),
        }
    }

    /// Bits of an element in a file.
    pub fn bits(self) -> u32 {
        match self {
            Narrow::Float(format) => format.bits,
            Narrow::Int(bits) | Narrow::UInt(bits) => bits,
        }
    }

    /// The dtype of the bytes.
    pub fn storage(self) -> DType {
        if matches!(self, Narrow::Int(_)) { DType::I8 } else { DType::U8 }
    }

    /// `count` elements of packed bytes, the first in the lowest bits, one byte each.
    pub fn unpack(self, packed: &[u8], count: usize) -> Vec<u8> {
        let bits = self.bits();
        let per_byte = (8 / bits) as usize;
        let element = |i: usize| {
            let raw = packed[i / per_byte] >> (bits as usize * (i % per_byte));
            let spare = 8 - bits;
            match self {
                Narrow::Int(_) => (((raw << spare) as i8) >> spare) as u8,
                _ => (raw << spare) >> spare,
            }
        };
        (0..count).map(element).collect()
    }
}

impl Format {
    /// The number of every code, which all are exact in `f32`.
    pub fn numbers(&self) -> Vec<f32> {
        (0..1u32 << self.bits).map(|code| self.number(code as u8)).collect()
    }

    fn number(&self, code: u8) -> f32 {
        let top = self.signed as u32;
        let magnitude = code & (u8::MAX >> (8 - self.bits + top));
        let negative = self.signed && code >> (self.bits - 1) & 1 == 1;
        let undefined = match self.nan {
            // Every magnitude above the last number is a NaN, not only the one written.
            Some(_) if self.negative_zero => magnitude > self.infinity.unwrap_or(self.largest),
            nan => nan == Some(code),
        };
        let size = match magnitude {
            _ if undefined => f64::NAN,
            m if self.infinity == Some(m) => f64::INFINITY,
            m => self.finite(m),
        };
        (if negative { -size } else { size }) as f32
    }

    fn finite(&self, magnitude: u8) -> f64 {
        let unit = f64::from(1u32 << self.mantissa);
        let fraction = f64::from(magnitude & ((1u16 << self.mantissa) - 1) as u8) / unit;
        let exponent = i32::from(magnitude >> self.mantissa);
        match exponent {
            0 if self.signed => fraction * f64::powi(2.0, 1 - self.bias),
            e => (1.0 + fraction) * f64::powi(2.0, e - self.bias),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_codes() {
        let at = |f: Format, code: u8| f.numbers()[code as usize];
        assert_eq!(
            [at(E4M3FN, 0x7e), at(E4M3FN, 1), at(E4M3FN, 0xb8)],
            [448.0, f32::powi(2.0, -9), -1.0]
        );
        assert!(at(E4M3FN, 0x7f).is_nan() && at(E4M3FN, 0xff).is_nan());
        assert_eq!(
            [at(E4M3FNUZ, 0x7f), at(E5M2FNUZ, 0x7f), at(E5M2, 0x7b)],
            [240.0, 57344.0, 57344.0]
        );
        assert!(at(E4M3FNUZ, 0x80).is_nan() && at(E5M2, 0x7d).is_nan());
        assert_eq!(
            [at(E5M2, 0xfc), at(E8M0, 0), at(E8M0, 128)],
            [f32::NEG_INFINITY, f32::powi(2.0, -127), 2.0]
        );
        assert_eq!(E2M1.numbers()[..8], [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]);
        assert_eq!(E2M1.numbers().len(), 16);
    }

    #[test]
    fn packed_elements() {
        assert_eq!(Narrow::Int(4).unpack(&[0x8f, 0x07], 3), [255, 248, 7]);
        assert_eq!(Narrow::UInt(2).unpack(&[0b11_10_01_00], 4), [0, 1, 2, 3]);
        assert_eq!(Narrow::Int(2).unpack(&[0b10_01_11_00], 4), [0, 255, 1, 254]);
    }
}
