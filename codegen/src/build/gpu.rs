//! GPU programs: the same entries over mapped kernels, in PTX.

use super::BuildError;
use cascata_artifact::gpu::{GpuProgram, GpuTarget};
use cascata_artifact::manifest::{Entry, Manifest};
use cascata_ir::kernel::Kernel;
use std::collections::BTreeMap;
#[cfg(feature = "ptx")]
use {
    super::info,
    cascata_artifact::gpu::GpuKernel,
    cascata_ptx::{PtxError, PtxModule},
    std::sync::PoisonError,
    std::time::Instant,
};

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
    let start = Instant::now();
    // What newer GPUs run is made for the oldest: but for `wgmma`, these kernels use nothing
    // that only newer ones have, and LLVM makes the same of them.
    let modules = modules(&mapped, targets[0]).map_err(BuildError::Ptx)?;
    let by_wgmma = match targets.contains(&GpuTarget::Sm90a) {
        true => by_wgmma(&mapped, &modules).map_err(BuildError::Ptx)?,
        false => None,
    };
    let seconds = start.elapsed().as_secs_f64() / targets.len() as f64;
    let program = |target: &GpuTarget| {
        let own = by_wgmma.as_ref().filter(|_| *target == GpuTarget::Sm90a);
        let (mapped, modules) = own.map_or((&mapped, &modules), |(m, o)| (m, o));
        let ptx = Ptx { text: joined(modules, *target), seconds };
        program(mapped, modules, entries, *target, ptx)
    };
    Ok(targets.iter().map(program).collect())
}

/// Kernels and their modules.
#[cfg(feature = "ptx")]
type Made = (Vec<Kernel>, Vec<PtxModule>);

/// Kernels and modules, with `wgmma` where it has a use; `None` where it has none.
///
/// # Errors
/// Every kernel without code.
#[cfg(feature = "ptx")]
fn by_wgmma(kernels: &[Kernel], made: &[PtxModule]) -> Result<Option<Made>, Vec<PtxError>> {
    let (mut all, mut places, mut changed) = (kernels.to_vec(), Vec::new(), Vec::new());
    for (i, kernel) in kernels.iter().enumerate() {
        if let Some(new) = crate::gpu::tile_attention::by_wgmma(kernel) {
            places.push(i);
            all[i].clone_from(&new);
            changed.push(new);
        }
    }
    if changed.is_empty() {
        return Ok(None);
    }
    let mut all_made = made.to_vec();
    for (i, module) in places.into_iter().zip(modules(&changed, GpuTarget::Sm90a)?) {
        all_made[i] = module;
    }
    Ok(Some((all, all_made)))
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
    modules: &[PtxModule],
    entries: &[Entry],
    target: GpuTarget,
    ptx: Ptx,
) -> Program {
    let launches = || modules.iter().flat_map(|m| &m.kernels);
    let needs: Vec<_> = kernels
        .iter()
        .map(|k| k.grid.clone())
        .zip(launches().map(|l| l.scratch_bytes.clone()))
        .collect();
    let described = kernels.iter().zip(launches()).map(|(kernel, launch)| GpuKernel {
        info: info(kernel),
        threads: launch.threads,
        shared_bytes: launch.shared_bytes,
        persistent: false,
        tensor_maps: vec![],
    });
    let program =
        GpuProgram { target, kernels: described.collect(), entries: for_blocks(entries, &needs) };
    let kernel_ir = kernels.iter().map(|k| (k.name.clone(), k.to_string())).collect();
    Program { program, ptx, kernel_ir }
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

/// A module of each kernel, made by all CPUs.
///
/// # Errors
/// Every kernel without code.
#[cfg(feature = "ptx")]
fn modules(kernels: &[Kernel], target: GpuTarget) -> Result<Vec<PtxModule>, Vec<PtxError>> {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    let target = cascata_ptx::PtxTarget { name: target.name() };
    if kernels.is_empty() {
        return cascata_ptx::compile(&[], target).map(|head| vec![head]);
    }
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let work = || {
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(kernel) = kernels.get(i) else { break };
            let made = cascata_ptx::compile(std::slice::from_ref(kernel), target);
            done.lock().unwrap_or_else(PoisonError::into_inner).insert(i, made);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (mut modules, mut errors) = (Vec::new(), Vec::new());
    for made in done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values() {
        match made {
            Ok(module) => modules.push(module),
            Err(e) => errors.extend(e),
        }
    }
    if errors.is_empty() { Ok(modules) } else { Err(errors) }
}

/// The modules as one, for a target: the first one's head with the target's name,
/// and what all have behind theirs.
#[cfg(feature = "ptx")]
fn joined(modules: &[PtxModule], target: GpuTarget) -> String {
    const TARGET: &str = ".target ";
    const SIZE: &str = ".address_size";
    let mut out = String::new();
    for (i, module) in modules.iter().enumerate() {
        let size = module.text.find(SIZE).unwrap_or(0);
        let behind = module.text[size..].find('\n').map_or(module.text.len(), |end| size + end);
        let (head, body) = module.text.split_at(behind);
        for line in head.lines().filter(|_| i == 0) {
            let named = line.starts_with(TARGET);
            out +=
                &if named { format!("{TARGET}{}\n", target.name()) } else { format!("{line}\n") };
        }
        out += body.trim_start_matches('\n');
    }
    out
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
