//! The GPU programs of an artifact, for `cascata inspect`.

use crate::support::exit::{No, Usage};
use crate::support::file::ArtifactFile;
use crate::support::table::{Table, bytes, count, short};
use anyhow::Result;
use cascata::artifact::gpu::{GpuProgram, GpuTarget};
use cascata::artifact::manifest::{Entry, Step};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What opens a kernel in PTX; whether it is visible to others is said before.
const ENTRY: &str = ".entry ";

/// The program of a target; the most demanding one if none is named.
pub fn find(
    file: &ArtifactFile,
    target: Option<GpuTarget>,
) -> Result<(usize, &GpuProgram), anyhow::Error> {
    let programs = &file.manifest.gpu;
    let wanted = |p: &GpuProgram| target.is_none_or(|t| p.target == t);
    let found = programs.iter().enumerate().rfind(|(_, p)| wanted(p));
    found.ok_or_else(|| match target {
        Some(target) if !programs.is_empty() => {
            let names: Vec<&str> = programs.iter().map(|p| p.target.name()).collect();
            let (target, names) = (target.name(), names.join(", "));
            Usage(format!("the artifact has no program for {target}, only for {names}")).into()
        }
        _ => No("the artifact was compiled without --gpu: it has no PTX".into()).into(),
    })
}

/// The PTX of all kernels or of those whose names contain a text.
pub fn ptx(file: &ArtifactFile, target: Option<GpuTarget>, name: &str) -> Result<String> {
    let (index, _) = find(file, target)?;
    let text = file.ptx(index)?;
    if name.is_empty() {
        return Ok(text);
    }
    let found: Vec<&str> = entries(&text).filter(|(n, _)| n.contains(name)).map(|e| e.1).collect();
    if found.is_empty() {
        return Err(Usage(format!("no kernel's name in the PTX contains '{name}'")).into());
    }
    Ok(found.join("\n"))
}

/// Names and texts of a module's kernels, each with what is declared before it.
fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let name = rest.find(ENTRY)? + ENTRY.len();
        let name = &rest[name..name + rest[name..].find('(')?];
        // A body ends with the first brace that stands alone: those inside are indented.
        let end = rest.find("\n}\n").map_or(rest.len(), |at| at + 3);
        let (entry, after) = rest.split_at(end);
        rest = after;
        Some((name, entry))
    })
}

/// A line for each program.
pub fn overview(file: &ArtifactFile, out: &mut String) {
    for (program, ptx_bytes) in file.manifest.gpu.iter().zip(file.ptx_bytes()) {
        let (kernels, size) = (count(program.kernels.len(), "kernel"), bytes(ptx_bytes));
        let (target, needs) = (program.target.name(), needs(program.target));
        let _ = writeln!(out, "target    nvidia {target}: {kernels}, {size} of PTX; needs {needs}");
    }
}

fn needs(target: GpuTarget) -> &'static str {
    match target {
        GpuTarget::Sm80 => "compute capability 8.0 or more",
        GpuTarget::Sm90 => "compute capability 9.0 or more",
        GpuTarget::Sm90a => "compute capability 9.0",
    }
}

/// What the kernels of each program take.
pub fn kernels(file: &ArtifactFile, out: &mut String) {
    for program in &file.manifest.gpu {
        let mut table = Table::new(&["kernel", ">threads", ">shared", ">scratch", ">maps"]);
        for (i, kernel) in program.kernels.iter().enumerate() {
            table.row([
                short(&kernel.info.name, 60),
                kernel.threads.to_string(),
                bytes(kernel.shared_bytes.into()),
                short(&scratch(&program.entries, i as u32), 40),
                kernel.tensor_maps.len().to_string(),
            ]);
        }
        let _ = write!(
            out,
            "\nGPU {}, shared memory as launches give it\n{table}",
            program.target.name()
        );
    }
}

/// The scratch memory of a kernel's block, of the first launch.
fn scratch(entries: &[Entry], kernel: u32) -> String {
    let steps = entries.iter().flat_map(|e| e.all_steps().map(move |(_, _, step)| (e, step)));
    let launches = steps.filter_map(|(e, step)| match step {
        Step::Launch(launch) => Some((e, launch)),
        _ => None,
    });
    let mut variants = launches.flat_map(|(e, l)| l.variants.iter().map(move |v| (e, v)));
    match variants.find(|(_, v)| v.kernel == kernel) {
        Some((entry, variant)) => variant.scratch_bytes.display(&entry.symbols).to_string(),
        None => "-".into(),
    }
}

/// The programs for `--json`, beside what the manifest says of them.
pub fn json(file: &ArtifactFile) -> Value {
    let programs = file.manifest.gpu.iter().zip(file.ptx_bytes());
    let one = |(p, ptx_bytes): (&GpuProgram, u64)| json!({ "target": p.target, "kernels": p.kernels.len(), "ptx_bytes": ptx_bytes });
    programs.map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::entries;

    #[test]
    fn ptx_is_cut_into_kernels() {
        let text = ".version 8.0\n.visible .entry k_a(\n  .param .u64 p\n)\n{\n\t{\n\t}\n\tret;\n}\n\
                    .shared .b8 s[4];\n.entry k_b()\n{\n}\n";
        let found: Vec<_> = entries(text).collect();
        assert_eq!(found.iter().map(|e| e.0).collect::<Vec<_>>(), ["k_a", "k_b"]);
        assert!(found[0].1.ends_with("ret;\n}\n"));
        assert!(found[1].1.starts_with(".shared"));
    }
}
