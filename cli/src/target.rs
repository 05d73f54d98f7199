//! Targets by name.

use cascata_artifact::gpu::GpuTarget;
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
        _ => CpuLevel::V4,
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

/// The text is no list of GPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no GPU target '{0}', only sm_80, sm_90, sm_90a and all")]
pub struct UnknownGpu(String);

/// Reads `sm_80,sm_90a` or `all`: targets in ascending order, each once.
///
/// # Errors
/// A name that is no target.
pub fn parse_gpus(text: &str) -> Result<Vec<GpuTarget>, UnknownGpu> {
    let mut targets = Vec::new();
    for name in text.split(',').map(str::trim) {
        let known = GpuTarget::ALL.into_iter().filter(|t| name == "all" || t.name() == name);
        let before = targets.len();
        targets.extend(known);
        if targets.len() == before {
            return Err(UnknownGpu(name.into()));
        }
    }
    targets.sort_unstable();
    targets.dedup();
    Ok(targets)
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

    #[test]
    fn gpus_are_sorted_and_unknown_ones_named() {
        let [sm_80, _, sm_90a] = GpuTarget::ALL;
        assert_eq!(parse_gpus("sm_90a, sm_80,sm_90a").unwrap(), [sm_80, sm_90a]);
        assert_eq!(parse_gpus("sm_80,all").unwrap(), GpuTarget::ALL);
        for unknown in ["", "sm_80,", "sm_8"] {
            assert!(parse_gpus(unknown).unwrap_err().to_string().contains("no GPU target"));
        }
    }
}
