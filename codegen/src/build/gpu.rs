//! GPU programs: the same entries over mapped kernels, in PTX.

use super::BuildError;
#[cfg(feature = "ptx")]
use super::info;
use cascata_artifact::gpu::{GpuProgram, GpuTarget};
use cascata_artifact::manifest::{Entry, Manifest};
use cascata_ir::kernel::Kernel;
use std::collections::BTreeMap;

/// A program, its PTX and what that was made from.
pub(super) struct Program {
    program: GpuProgram,
    ptx: Ptx,
    /// Printed, by name.
    kernel_ir: BTreeMap<String, String>,
}

/// The PTX of a program.
pub(super) struct Ptx {
    pub text: String,
    /// What it took to make.
    pub seconds: f64,
}

/// Puts programs into the manifest; their PTX comes back.
pub(super) fn add(programs: Vec<Program>, manifest: &mut Manifest, keep_ir: bool) -> Vec<Ptx> {
    let mut texts = Vec::new();
    for Program { program, ptx, kernel_ir } in programs {
        if keep_ir {
            manifest.provenance.gpu_kernel_ir.insert(program.target, kernel_ir);
        }
        manifest.gpu.push(program);
        texts.push(ptx);
    }
    texts
}

/// Kernels that go into one PTX module when it is made: MLIR and LLVM take longer than in
/// proportion for very long ones, and modules are made side by side.
#[cfg(feature = "ptx")]
const MODULE_KERNELS: usize = 16;

/// The programs of all targets.
///
/// # Errors
/// Kernels without GPU code, all of them; any target where the compiler was built without PTX.
pub(super) fn programs(
    kernels: &[Kernel],
    entries: &[Entry],
    targets: &[GpuTarget],
) -> Result<Vec<Program>, BuildError> {
    let mut targets = targets.to_vec();
    targets.sort_unstable();
    targets.dedup();
    if targets.is_empty() {
        return Ok(vec![]);
    }
    compile(kernels, entries, &targets)
}

#[cfg(not(feature = "ptx"))]
fn compile(_: &[Kernel], _: &[Entry], targets: &[GpuTarget]) -> Result<Vec<Program>, BuildError> {
    Err(BuildError::NoPtx(targets[0]))
}

#[cfg(feature = "ptx")]
fn compile(
    kernels: &[Kernel],
    entries: &[Entry],
    targets: &[GpuTarget],
) -> Result<Vec<Program>, BuildError> {
    let mut names = Names::default();
    let mapped: Vec<Kernel> = kernels.iter().map(|k| mapped(k, &mut names)).collect();
    targets.iter().map(|t| program(&mapped, entries, *t)).collect()
}

/// The kernel for blocks of threads, under a name that PTX can have.
#[cfg(feature = "ptx")]
fn mapped(kernel: &Kernel, names: &mut Names) -> Kernel {
    Kernel { name: names.of(&kernel.name), ..crate::gpu::map(kernel) }
}

/// The names that PTX has for kernels: identifiers, each once.
#[cfg(feature = "ptx")]
#[derive(Default)]
struct Names(std::collections::HashSet<String>);

#[cfg(feature = "ptx")]
impl Names {
    fn of(&mut self, kernel: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name = format!("k_{}", kernel.chars().map(plain).collect::<String>());
        let numbered = |n: usize| if n == 1 { name.clone() } else { format!("{name}_{n}") };
        let free = (1..).map(numbered).find(|name| !self.0.contains(name)).unwrap_or_default();
        self.0.insert(free.clone());
        free
    }
}

#[cfg(feature = "ptx")]
fn program(
    kernels: &[Kernel],
    entries: &[Entry],
    target: GpuTarget,
) -> Result<Program, BuildError> {
    use cascata_artifact::gpu::GpuKernel;
    let start = std::time::Instant::now();
    let (text, launches) = modules(kernels, target).map_err(BuildError::Ptx)?;
    let ptx = Ptx { text, seconds: start.elapsed().as_secs_f64() };
    let needs: Vec<_> = kernels
        .iter()
        .map(|k| k.grid.clone())
        .zip(launches.iter().map(|l| l.scratch_bytes.clone()))
        .collect();
    let described = kernels.iter().zip(&launches).map(|(kernel, launch)| GpuKernel {
        info: info(kernel),
        threads: launch.threads,
        shared_bytes: launch.shared_bytes,
        persistent: false,
        tensor_maps: vec![],
    });
    let program =
        GpuProgram { target, kernels: described.collect(), entries: for_blocks(entries, &needs) };
    let kernel_ir = kernels.iter().map(|k| (k.name.clone(), k.to_string())).collect();
    Ok(Program { program, ptx, kernel_ir })
}

/// The entries with the tiles and the scratch memory of this target's kernels, which are over
/// the entries' own symbols.
#[cfg(feature = "ptx")]
fn for_blocks(entries: &[Entry], needs: &[(cascata_types::Dim, cascata_types::Dim)]) -> Vec<Entry> {
    use cascata_artifact::manifest::Step;
    let mut entries = entries.to_vec();
    for entry in &mut entries {
        entry.expand_formulas();
        let blocks = entry.blocks.iter_mut().map(|b| &mut b.steps);
        for step in std::iter::once(&mut entry.steps).chain(blocks).flatten() {
            let Step::Launch(launch) = step else { continue };
            for variant in &mut launch.variants {
                let (tiles, scratch) = &needs[variant.kernel as usize];
                (variant.tiles, variant.scratch_bytes) = (tiles.clone(), scratch.clone());
                variant.min_tiles = 1.into();
            }
        }
        entry.share_formulas();
    }
    entries
}

/// The kernels' PTX as one text, made in parts by all CPUs.
#[cfg(feature = "ptx")]
fn modules(
    kernels: &[Kernel],
    target: GpuTarget,
) -> Result<(String, Vec<cascata_ptx::PtxKernel>), Vec<cascata_ptx::PtxError>> {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let parts: Vec<&[Kernel]> = kernels.chunks(MODULE_KERNELS).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((i, part)) = {
            let i = next.fetch_add(1, Ordering::Relaxed);
            parts.get(i).map(|p| (i, p))
        } {
            let made = cascata_ptx::compile(part, cascata_ptx::PtxTarget { name: target.name() });
            done.lock().unwrap_or_else(|e| e.into_inner()).push((i, made));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
    done.sort_by_key(|(i, _)| *i);
    let (mut text, mut launches, mut errors) = (String::new(), Vec::new(), Vec::new());
    for (i, made) in done {
        match made {
            Ok(module) => {
                text.push_str(if i == 0 { &module.text } else { without_header(&module.text) });
                launches.extend(module.kernels);
            }
            Err(e) => errors.extend(e),
        }
    }
    if errors.is_empty() { Ok((text, launches)) } else { Err(errors) }
}

/// A module behind its `.version`, `.target` and `.address_size`.
#[cfg(feature = "ptx")]
fn without_header(text: &str) -> &str {
    let size = text.find(".address_size").unwrap_or(0);
    text[size..].find('\n').map_or(text, |end| &text[size + end..])
}

#[cfg(all(test, feature = "ptx"))]
mod tests {
    use super::Names;

    #[test]
    fn names_are_identifiers_and_differ() {
        let mut names = Names::default();
        let found = ["a.b", "a_b", "a-b", "é"].map(|name| names.of(name));
        assert_eq!(found, ["k_a_b", "k_a_b_2", "k_a_b_3", "k__"]);
    }
}
