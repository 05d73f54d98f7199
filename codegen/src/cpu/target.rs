//! The x86-64 levels that code is generated for.

use super::CodegenError;
use super::ops::Features;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use std::fmt;

/// A microarchitecture level of the x86-64 psABI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CpuLevel {
    /// SSE2: every x86-64 CPU. No fused multiply-add, so results differ in rounding.
    V1,
    /// AVX2, FMA, BMI.
    V3,
    /// AVX-512 F, BW, DQ, VL.
    V4,
}

impl CpuLevel {
    /// Every level, lowest first.
    pub const ALL: [CpuLevel; 3] = [CpuLevel::V1, CpuLevel::V3, CpuLevel::V4];

    /// The psABI's name.
    pub const fn name(self) -> &'static str {
        match self {
            CpuLevel::V1 => "x86-64-v1",
            CpuLevel::V3 => "x86-64-v3",
            CpuLevel::V4 => "x86-64-v4",
        }
    }

    /// The Cranelift feature flags of the level.
    const fn features(self) -> &'static [&'static str] {
        const V3: &[&str] = &[
            "has_sse3",
            "has_ssse3",
            "has_sse41",
            "has_sse42",
            "has_popcnt",
            "has_avx",
            "has_avx2",
            "has_bmi1",
            "has_bmi2",
            "has_fma",
            "has_lzcnt",
        ];
        const V4: &[&str] = &[
            "has_sse3",
            "has_ssse3",
            "has_sse41",
            "has_sse42",
            "has_popcnt",
            "has_avx",
            "has_avx2",
            "has_bmi1",
            "has_bmi2",
            "has_fma",
            "has_lzcnt",
            "has_avx512f",
            "has_avx512dq",
            "has_avx512vl",
        ];
        match self {
            CpuLevel::V1 => &[],
            CpuLevel::V3 => V3,
            CpuLevel::V4 => V4,
        }
    }
}

impl fmt::Display for CpuLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How much Cranelift's mid-end does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MidEnd {
    /// Nothing: instructions stay where this back end put them.
    Off,
    /// Global value numbering, code motion and peepholes.
    On,
}

/// A level with Cranelift configured for it; cheap to clone and shared between threads.
#[derive(Clone)]
pub struct CpuTarget {
    level: CpuLevel,
    isa: OwnedTargetIsa,
}

impl CpuTarget {
    /// The target of a level, with the settings that measure best.
    ///
    /// `// PERF:` (`cpu_speed`, Zen 4) without the mid-end, which moves constants out of
    /// loops and then spills them: gelu_erf 8.6 µs against 11.4, silu 5.9 against 6.8,
    /// the rest alike. The single-pass register allocator compiles in 60 % of the time to
    /// code 2 to 10 times slower (layernorm row 2,150 ns against 200).
    ///
    /// # Errors
    /// Cranelift does not know a setting.
    pub fn new(level: CpuLevel) -> Result<Self, CodegenError> {
        Self::with_mid_end(level, MidEnd::Off)
    }

    /// [`CpuTarget::new`] with a choice of mid-end, to measure it.
    ///
    /// # Errors
    /// Cranelift does not know a setting.
    pub fn with_mid_end(level: CpuLevel, mid_end: MidEnd) -> Result<Self, CodegenError> {
        let failed = |what: String| CodegenError::Backend { kernel: level.to_string(), what };
        let mut flags = settings::builder();
        let opt_level = match mid_end {
            MidEnd::Off => "none",
            MidEnd::On => "speed",
        };
        let verify = if cfg!(debug_assertions) { "true" } else { "false" };
        for (name, value) in [
            ("opt_level", opt_level),
            ("regalloc_algorithm", "backtracking"),
            ("is_pic", "true"),
            ("unwind_info", "false"),
            ("enable_probestack", "false"),
            ("enable_verifier", verify),
        ] {
            flags.set(name, value).map_err(|e| failed(format!("setting {name}: {e}")))?;
        }
        let mut builder = isa::lookup_by_name("x86_64-unknown-linux-gnu")
            .map_err(|e| failed(format!("no x86-64 back end: {e}")))?;
        for feature in level.features() {
            builder.enable(feature).map_err(|e| failed(format!("feature {feature}: {e}")))?;
        }
        let isa = builder
            .finish(settings::Flags::new(flags))
            .map_err(|e| failed(format!("the settings do not fit together: {e}")))?;
        Ok(Self { level, isa })
    }

    /// The level.
    pub fn level(&self) -> CpuLevel {
        self.level
    }

    pub(super) fn isa(&self) -> &OwnedTargetIsa {
        &self.isa
    }

    /// What formulas may use.
    pub(super) fn features(&self) -> Features {
        let v3 = self.level >= CpuLevel::V3;
        Features { fma: v3, sse41: v3, avx: v3 }
    }
}
