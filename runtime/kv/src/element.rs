//! How one number of a key or a value is stored.

use cascata_types::DType;
use std::fmt;
use std::str::FromStr;

/// The stored form of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KvElement {
    /// As computed.
    F32,
    /// IEEE half precision: an error of 2^-11 of each number.
    F16,
    /// The upper half of an f32: an error of 2^-8 of each number.
    BF16,
    /// Eight bits and one f32 scale for each token and head: an error of 1/254 of the largest
    /// number of that token's head. The scale depends on nothing else, so what a token's
    /// neighbours are changes nothing.
    I8,
}

impl KvElement {
    /// All of them.
    pub const ALL: [KvElement; 4] =
        [KvElement::F32, KvElement::F16, KvElement::BF16, KvElement::I8];

    /// The element type in memory.
    pub const fn dtype(self) -> DType {
        match self {
            KvElement::F32 => DType::F32,
            KvElement::F16 => DType::F16,
            KvElement::BF16 => DType::BF16,
            KvElement::I8 => DType::I8,
        }
    }

    /// Bytes of one stored number.
    pub fn number_bytes(self) -> u64 {
        self.dtype().stored_bytes() as u64
    }

    /// Bytes of what goes with one head's key (or value) of one token.
    pub const fn scale_bytes(self) -> u64 {
        match self {
            KvElement::I8 => 4,
            KvElement::F32 | KvElement::F16 | KvElement::BF16 => 0,
        }
    }
}

impl fmt::Display for KvElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.dtype().name())
    }
}

impl FromStr for KvElement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|e| e.dtype().name() == text);
        found.ok_or_else(|| format!("'{text}' is no KV element; use f32, f16, bf16 or i8"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for element in KvElement::ALL {
            assert_eq!(element.to_string().parse(), Ok(element));
        }
        assert!("f64".parse::<KvElement>().unwrap_err().contains("bf16"));
    }

    #[test]
    fn a_scale_is_counted() {
        let bytes = |e: KvElement| 64 * e.number_bytes() + e.scale_bytes();
        assert_eq!(KvElement::ALL.map(bytes), [256, 128, 128, 68]);
    }
}
