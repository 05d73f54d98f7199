//! One run of an entry on paper: what each launch does for given sizes.

use cascata::artifact::manifest::{Entry, Launch, Manifest, Step, Storage};
use cascata::ir::types::{Dim, Entity};
use serde::Serialize;

/// One launch under sample sizes.
#[derive(Debug, Serialize)]
pub struct SampleLaunch {
    /// The block whose step it is: 0 for the entry itself, else a branch or a loop's body.
    pub block: u32,
    /// Step of the block.
    pub step: usize,
    /// The kernel that runs.
    pub kernel: String,
    /// Values that it computes.
    pub values: Vec<String>,
    /// Source nodes that it comes from.
    pub source: Vec<String>,
    /// Arithmetic operations; `None` if they depend on the data.
    pub flops: Option<i64>,
    /// Bytes read or written at least once.
    pub bytes: Option<i64>,
    /// Tiles of its grid.
    pub tiles: Option<i64>,
}

/// The names of what a launch computes; a result of the model that has lost its name has that
/// of the output.
pub fn computed(manifest: &Manifest, entry: &Entry, launch: &Launch) -> Vec<String> {
    let kernel = launch.variants.last().and_then(|v| manifest.kernels.get(v.kernel as usize));
    let written = kernel
        .map_or(&[][..], |k| &k.writes)
        .iter()
        .filter_map(|w| launch.buffers.get(*w as usize));
    let output = |buffer: &u32| match entry.buffers.get(*buffer as usize)?.storage {
        Storage::Output(port) => entry.outputs.get(port as usize).map(|p| p.name.clone()),
        _ => None,
    };
    let mut names: Vec<String> = launch.values.iter().filter(|v| !v.is_empty()).cloned().collect();
    for name in written.filter_map(output) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// What a step is called: `12`, or `3.0` for step 0 of block 3.
pub fn step_name(block: u32, step: usize) -> String {
    if block == 0 { step.to_string() } else { format!("{block}.{step}") }
}

/// Every launch of an entry, those of each block once; `sizes` by symbol, data-dependent ones are unknown.
pub fn launches(manifest: &Manifest, entry: &Entry, sizes: &[i64]) -> Vec<SampleLaunch> {
    let bind = |d: &Dim| {
        d.eval(&|s| {
            sizes
                .get(s.index())
                .copied()
                .filter(|_| !entry.symbols.get(s).is_some_and(|x| x.data_dependent))
        })
        .ok()
    };
    let launch = |(block, step, launch): (u32, usize, &Launch)| {
        let holds = |dims: &[Dim]| dims.iter().all(|d| bind(d).is_some_and(|x| x >= 0));
        let variant = launch.variants.iter().find(|v| holds(&v.guard)).or(launch.variants.last());
        let kernel = variant.and_then(|v| manifest.kernels.get(v.kernel as usize));
        SampleLaunch {
            block,
            step,
            kernel: kernel.map(|k| k.name.clone()).unwrap_or_default(),
            values: computed(manifest, entry, launch),
            source: launch.source.clone(),
            flops: bind(&launch.flops),
            bytes: bind(&launch.bytes),
            tiles: variant.and_then(|v| bind(&v.tiles)),
        }
    };
    let only = entry
        .all_steps()
        .filter_map(|(b, i, s)| if let Step::Launch(l) = s { Some((b, i, l)) } else { None });
    only.map(launch).collect()
}
