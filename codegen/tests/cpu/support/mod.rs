//! Compiles a kernel for every level that runs here and compares it with the interpreter.

pub mod exec;
pub mod memory;
pub mod random;

use cascata_codegen::cpu::{CpuLevel, CpuTarget, compile};
use cascata_ir::kernel::interp::{HostBuffer, Outcome, Program, RunOptions, launch_buffers};
use cascata_ir::kernel::{Kernel, Space};
use cascata_ir::types::{DType, Scalar};
use cascata_kernels::Isa;
use exec::Loaded;
use memory::Edge;
use std::sync::LazyLock;

/// How far a float result may be from the interpreter's.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// In units of the last place of the result.
    pub ulps: f64,
    /// Absolute.
    pub absolute: f64,
}

/// The same bits, NaN for NaN.
pub const EXACT: Tolerance = Tolerance { ulps: 0.0, absolute: 0.0 };

/// The targets that this CPU runs.
pub static TARGETS: LazyLock<Vec<CpuTarget>> = LazyLock::new(|| {
    let highest = match Isa::detect() {
        Isa::Portable => CpuLevel::V1,
        Isa::Avx2 => CpuLevel::V3,
        _ => CpuLevel::V4,
    };
    let levels = CpuLevel::ALL.into_iter().filter(|level| *level <= highest);
    levels.map(|level| CpuTarget::new(level).expect("a target")).collect()
});

/// Runs `kernel` everywhere over inputs from `fill(name, dtype, len)` and compares.
/// Returns the outputs of the interpreter.
pub fn check(
    kernel: &Kernel,
    params: &[i64],
    fill: &mut dyn FnMut(&str, DType, usize) -> HostBuffer,
    tolerance: Tolerance,
) -> Vec<HostBuffer> {
    let mut given = launch_buffers(kernel, params).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
    for (declared, buffer) in kernel.buffers.values().zip(&mut given) {
        if declared.space == Space::Input {
            *buffer = fill(&declared.name, declared.dtype, buffer.len());
        }
    }
    check_given(kernel, params, &given, tolerance)
}

/// [`check`] with every launch buffer given.
pub fn check_given(
    kernel: &Kernel,
    params: &[i64],
    given: &[HostBuffer],
    tolerance: Tolerance,
) -> Vec<HostBuffer> {
    let mut expected = given.to_vec();
    let program = Program::new(kernel).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
    let outcome = program.run(params, &mut expected, &RunOptions::default());
    let outcome = outcome.unwrap_or_else(|e| panic!("{e}\n{kernel}"));
    for target in TARGETS.iter() {
        check_target(kernel, target, params, given, &expected, &outcome, tolerance);
    }
    expected
}

fn check_target(
    kernel: &Kernel,
    target: &CpuTarget,
    params: &[i64],
    given: &[HostBuffer],
    expected: &[HostBuffer],
    outcome: &Outcome,
    tolerance: Tolerance,
) {
    let level = target.level();
    let compiled = compile(kernel, target).unwrap_or_else(|e| panic!("{level}: {e}\n{kernel}"));
    let loaded = Loaded::new(&compiled);
    let tiles = kernel.grid.eval(&|s| params.get(s.0 as usize).copied()).expect("a grid");
    let splits: [&[(i64, i64)]; 2] =
        [&[(0, tiles)], &[(tiles / 3, tiles), (0, tiles / 3), (tiles, tiles)]];
    let mut results = Vec::new();
    for (split, edge) in splits.into_iter().zip([Edge::End, Edge::Start]) {
        let mut buffers = given.to_vec();
        let status = loaded.run(params, &mut buffers, split, edge);
        match outcome {
            Outcome::Done => assert_eq!(status, 0, "{level}: status of\n{kernel}"),
            Outcome::Failed(message) => {
                let found = kernel.messages.get(status as usize - 1);
                assert_eq!(found, Some(message), "{level}: status of\n{kernel}");
                return;
            }
        }
        results.push(buffers);
    }
    assert_eq!(bits(&results[0]), bits(&results[1]), "{level}: split changes\n{kernel}");
    compare(kernel, level, &results[0], expected, params, tolerance);
}

fn bits(buffers: &[HostBuffer]) -> Vec<&[u8]> {
    buffers.iter().map(|b| b.bytes.as_slice()).collect()
}

fn compare(
    kernel: &Kernel,
    level: CpuLevel,
    found: &[HostBuffer],
    expected: &[HostBuffer],
    params: &[i64],
    tolerance: Tolerance,
) {
    for ((declared, found), expected) in kernel.buffers.values().zip(found).zip(expected) {
        for (i, (f, e)) in found.scalars().into_iter().zip(expected.scalars()).enumerate() {
            if !close(f, e, tolerance) {
                let at = format!("{level}: %{}[{i}] with params {params:?}", declared.name);
                panic!("{at}: {} is not {} in\n{kernel}", f.to_f64(), e.to_f64());
            }
        }
    }
}

/// Whether a result is as near as it must be.
pub fn close(found: Scalar, expected: Scalar, tolerance: Tolerance) -> bool {
    let (f, e) = (found.to_f64(), expected.to_f64());
    if found.bits == expected.bits || f.is_nan() && e.is_nan() {
        return true;
    }
    if !found.dtype.is_float() || f.is_infinite() != e.is_infinite() {
        return false;
    }
    (f - e).abs() <= tolerance.absolute + tolerance.ulps * ulp(found.dtype, e)
}

/// Distance of neighbours at `x`.
pub fn ulp(dtype: DType, x: f64) -> f64 {
    let (digits, lowest) = match dtype {
        DType::F16 => (11, -14),
        DType::BF16 => (8, -126),
        DType::F32 => (24, -126),
        _ => (53, -1022),
    };
    let exponent = if x == 0.0 { lowest } else { (x.abs().log2().floor() as i32).max(lowest) };
    f64::from(exponent - digits + 1).exp2()
}
