//! Instruction set levels.

#[cfg(target_arch = "x86_64")]
mod amx;

use std::fmt;
use std::str::FromStr;

/// An instruction set level; a higher one includes the lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust for any CPU: the reference of the others.
    Portable,
    /// 256-bit vectors: AVX2, FMA and F16C.
    Avx2,
    /// 512-bit vectors: AVX-512 F, VL, BW and DQ.
    Avx512,
    /// The same with VNNI: dot products of 8-bit and 16-bit integers.
    Avx512Vnni,
    /// The same with BF16: dot products of 16-bit floats.
    Avx512Bf16,
    /// The same with AMX-INT8 and AMX-BF16: products of matrices.
    Amx,
}

impl Isa {
    /// Every level, lowest first.
    pub const ALL: [Isa; 6] =
        [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Vnni, Isa::Avx512Bf16, Isa::Amx];

    /// The highest level that this CPU (and its operating system) supports.
    pub fn detect() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq");
            let vnni = is_x86_feature_detected!("avx512vnni");
            let bf16 = is_x86_feature_detected!("avx512bf16");
            // Each with all of those before it.
            let levels = [
                (avx2, Isa::Avx2),
                (avx512, Isa::Avx512),
                (vnni, Isa::Avx512Vnni),
                (bf16, Isa::Avx512Bf16),
                (bf16 && amx::is_allowed(), Isa::Amx),
            ];
            let there = levels.into_iter().take_while(|(there, _)| *there);
            there.last().map_or(Isa::Portable, |(_, isa)| isa)
        }
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Portable
    }

    /// The name that [`FromStr`] reads.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512-vnni",
            Isa::Avx512Bf16 => "avx512-bf16",
            Isa::Amx => "amx",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is no [`Isa::name`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownIsa(String);

impl fmt::Display for UnknownIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Isa::ALL.map(Isa::name).join(", ");
        write!(f, "unknown instruction set '{}'; choose one of: {known}", self.0)
    }
}

impl std::error::Error for UnknownIsa {}

impl FromStr for Isa {
    type Err = UnknownIsa;

    fn from_str(text: &str) -> Result<Isa, UnknownIsa> {
        let found = Isa::ALL.into_iter().find(|isa| isa.name() == text);
        found.ok_or_else(|| UnknownIsa(text.to_owned()))
    }
}
