//! The exported model through our own importer and compiler: what ONNX Runtime is asked, we
//! are asked too.

use super::Exported;
use crate::compare::relative_difference;
use crate::pipeline;
use anyhow::{Context, Result, ensure};
use cascata_codegen::build::BuildError;
use cascata_codegen::cpu::CpuLevel;
use cascata_frontends::onnx::{ImportOptions, import};
use cascata_ir::interp::{self, Tensor};
use cascata_passes::pipeline::OptLevel;
use cascata_runtime::Runtime;
use std::collections::HashMap;
use std::path::Path;

/// The values of a model by name, with how far results may be off.
type Values = HashMap<String, (Tensor, f64)>;

/// Imports the model, and compares the interpreter's and the compiled code's results with
/// the values of the graph that was exported.
///
/// # Errors
/// The importer refuses the model, or a result is wrong.
pub(super) fn check(exported: &Exported, model: &Path, runtime: &Runtime) -> Result<()> {
    let imported = import(model, &ImportOptions::default()).context("import")?.graph;
    let values = exported.values()?;
    let named = |v| {
        let name = &imported.values[v].name;
        let (tensor, _) = values.get(name).with_context(|| format!("no value for '{name}'"))?;
        Ok((name.clone(), tensor.clone()))
    };
    let inputs = imported.inputs().iter().map(|v| named(*v)).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<Tensor> = inputs.iter().map(|(_, t)| t.clone()).collect();
    let names = imported.output_names.clone();
    let interpreted = interp::run(&imported, &tensors).context("interpreter on the import")?;
    compare(&names, &interpreted, &values).context("interpreter on the import")?;
    let fused = pipeline::fused_graph(imported, OptLevel::O2)?;
    let bytes = match pipeline::artifact(&fused, &[CpuLevel::V3]) {
        Ok(bytes) => bytes,
        // Named refusals are counted where plain random graphs are.
        Err(e) if matches!(e.downcast_ref(), Some(BuildError::Unsupported(_))) => return Ok(()),
        Err(e) => return Err(e),
    };
    let session = pipeline::session(&bytes, runtime)?;
    let outputs = pipeline::run(&session, &inputs).context("compiled import")?;
    compare(&names, &outputs, &values).context("compiled import")
}

fn compare(names: &[String], outputs: &[Tensor], values: &Values) -> Result<()> {
    for (name, got) in names.iter().zip(outputs) {
        let (want, allowed) = values.get(name).with_context(|| format!("no value '{name}'"))?;
        let apart = match want.dtype().is_float() {
            true => relative_difference(got, want),
            false => f64::from(u8::from(got != want)),
        };
        let shapes = (got.dims(), want.dims());
        ensure!(apart <= *allowed, "{name} {shapes:?} is {apart:.2e} apart, {allowed:.2e} allowed");
    }
    Ok(())
}
