//! What the CPU has, and which code it can run.

use cascata_artifact::manifest::CodeVariant;

/// Architecture and system of this process, e.g. `x86_64-linux`.
pub(crate) fn host() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

/// Whether code for this target triple follows this process's calling convention.
fn triple_fits(triple: &str) -> bool {
    let mut parts = triple.split('-');
    parts.next() == Some(std::env::consts::ARCH)
        && parts.any(|p| p.starts_with(std::env::consts::OS))
}

/// Why a variant cannot run here; `None` if it can.
pub(crate) fn obstacle(variant: &CodeVariant) -> Option<String> {
    let level = &variant.level;
    if !triple_fits(&variant.triple) {
        return Some(format!("{level} is for {}", variant.triple));
    }
    let missing: Vec<&str> =
        variant.features.iter().map(String::as_str).filter(|f| !has_feature(f)).collect();
    (!missing.is_empty()).then(|| format!("{level} needs {}", missing.join(", ")))
}

/// Whether the CPU (and the system) has a feature, by its Rust name; a name that this
/// runtime does not know counts as missing.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_feature(name: &str) -> bool {
    macro_rules! detect {
        ($($feature:tt),*) => {
            match name {
                $($feature => std::arch::is_x86_feature_detected!($feature),)*
                _ => false,
            }
        };
    }
    detect!(
        "sse",
        "sse2",
        "sse3",
        "ssse3",
        "sse4.1",
        "sse4.2",
        "popcnt",
        "avx",
        "avx2",
        "fma",
        "f16c",
        "bmi1",
        "bmi2",
        "lzcnt",
        "movbe",
        "avx512f",
        "avx512bw",
        "avx512cd",
        "avx512dq",
        "avx512vl",
        "avx512vnni",
        "avx512bf16",
        "avx512vbmi",
        "avx512fp16",
        "avxvnni",
        "gfni"
    )
}

/// Whether the CPU has a feature; code of other architectures is not loaded yet (an
/// AArch64 loader must also flush the instruction cache).
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn has_feature(_name: &str) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_features_and_other_triples_are_obstacles() {
        let mut v = CodeVariant {
            triple: "x86_64-unknown-linux".into(),
            level: "x86-64-v9".into(),
            features: vec!["teleport".into()],
            functions: vec![],
        };
        assert_eq!(obstacle(&v).unwrap(), "x86-64-v9 needs teleport");
        v.triple = "riscv64gc-unknown-linux".into();
        assert_eq!(obstacle(&v).unwrap(), "x86-64-v9 is for riscv64gc-unknown-linux");
    }
}
