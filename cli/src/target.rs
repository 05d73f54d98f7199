//! Targets by name.

use cascata_codegen::cpu::CpuLevel;
use cascata_runtime::Isa;

/// The text is no list of targets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no target '{0}', only x86-64-v1, x86-64-v3, x86-64-v4 and native")]
pub struct UnknownTarget(String);

/// The highest level that this machine runs.
pub fn native_level() -> CpuLevel {
    match Isa::detect() {
        Isa::Portable => CpuLevel::V1,
        Isa::Avx2 => CpuLevel::V3,
        Isa::Avx512 => CpuLevel::V4,
    }
}

/// Reads `x86-64-v3,native`: levels in ascending order, each once.
///
/// # Errors
/// A name that is no target.
pub fn parse_targets(text: &str) -> Result<Vec<CpuLevel>, UnknownTarget> {
    let one = |name: &str| match name.trim() {
        "native" => Ok(native_level()),
        name => {
            let level = CpuLevel::ALL.into_iter().find(|l| l.name() == name);
            level.ok_or_else(|| UnknownTarget(name.into()))
        }
    };
    let mut levels = text.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
    levels.sort_unstable();
    levels.dedup();
    Ok(levels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_sorted_and_unknown_ones_named() {
        assert_eq!(
            parse_targets("x86-64-v4, x86-64-v3,x86-64-v4").unwrap(),
            [CpuLevel::V3, CpuLevel::V4]
        );
        assert_eq!(parse_targets("native").unwrap(), [native_level()]);
        assert!(parse_targets("x86-64-v3,arm").unwrap_err().to_string().contains("'arm'"));
    }
}
