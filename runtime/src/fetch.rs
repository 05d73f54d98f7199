//! Copying values out of a run that are not outputs, for whoever looks for the first one
//! that is wrong.

use crate::bind::Values;
use crate::error::RunError;
use crate::plan::buffer_dims;
use crate::session::new_output;
use crate::tensor::Tensor;
use cascata_artifact::manifest::{Entry, Manifest, Step};
use cascata_types::{DType, Encoding};
use std::collections::BTreeSet;

/// How many names an error lists.
const NAMES: usize = 20;

/// Values that a run shall copy when they are computed; of those computed more than once
/// the last stays.
pub(crate) struct Fetch {
    wanted: Vec<Wanted>,
}

struct Wanted {
    name: String,
    /// Every buffer of that name: each branch may have one.
    buffers: Vec<u32>,
    found: Option<Tensor>,
}

impl Fetch {
    /// Finds the values by name.
    ///
    /// # Errors
    /// A name that no launch writes: the value is an input, a constant, or lives inside a
    /// fused kernel only. Lists values with similar names.
    pub(crate) fn new(
        manifest: &Manifest,
        entry: &Entry,
        names: &[&str],
    ) -> Result<Self, RunError> {
        let written = written(manifest, entry);
        let one = |name: &&str| {
            let is_it = |b: &u32| entry.buffers[*b as usize].name == **name;
            let buffers: Vec<u32> = written.iter().copied().filter(is_it).collect();
            match buffers.is_empty() {
                true => Err(unknown(entry, &written, name)),
                false => Ok(Wanted { name: name.to_string(), buffers, found: None }),
            }
        };
        Ok(Self { wanted: names.iter().map(one).collect::<Result<_, _>>()? })
    }

    /// Copies buffer `id`, which was just written, if it is wanted; `read` fills its bytes.
    pub(crate) fn take(
        &mut self,
        entry: &Entry,
        values: &Values,
        id: u32,
        read: impl FnOnce(&mut [u8]) -> Result<Option<()>, RunError>,
    ) -> Result<(), RunError> {
        let Some(wanted) = self.wanted.iter_mut().find(|w| w.buffers.contains(&id)) else {
            return Ok(());
        };
        let buffer = &entry.buffers[id as usize];
        let dims = buffer_dims(entry, values, id)?;
        let mut tensor = new_output(buffer.ty.dtype, &dims)?;
        let needs = tensor.bytes().len() as u64;
        read(tensor.bytes_mut())?.ok_or(RunError::Plan {
            buffer: buffer.name.clone(),
            needs,
            has: 0,
        })?;
        wanted.found = Some(tensor);
        Ok(())
    }

    /// The values, in the order asked for.
    ///
    /// # Errors
    /// A value that no launch computed: its branch did not run.
    pub(crate) fn finish(self) -> Result<Vec<Tensor>, RunError> {
        let one = |w: Wanted| w.found.ok_or(RunError::NotComputed { value: w.name });
        self.wanted.into_iter().map(one).collect()
    }
}

/// Dense buffers that launches write.
fn written(manifest: &Manifest, entry: &Entry) -> BTreeSet<u32> {
    let mut written = BTreeSet::new();
    for (_, _, step) in entry.all_steps() {
        let Step::Launch(launch) = step else { continue };
        for variant in &launch.variants {
            let writes = &manifest.kernels[variant.kernel as usize].writes;
            written.extend(writes.iter().filter_map(|w| launch.buffers.get(*w as usize)));
        }
    }
    written.retain(|b| {
        let ty = &entry.buffers[*b as usize].ty;
        ty.encoding == Encoding::Dense && ty.dtype != DType::Str
    });
    written
}

fn unknown(entry: &Entry, written: &BTreeSet<u32>, name: &str) -> RunError {
    let all: BTreeSet<&str> =
        written.iter().map(|b| entry.buffers[*b as usize].name.as_str()).collect();
    let lower = name.to_lowercase();
    let similar =
        |n: &&&str| n.to_lowercase().contains(&lower) || lower.contains(&n.to_lowercase());
    let near: Vec<String> = all.iter().filter(similar).map(ToString::to_string).collect();
    let names = if near.is_empty() { all.iter().map(ToString::to_string).collect() } else { near };
    RunError::NoSuchPort {
        kind: "value that a kernel writes called",
        name: name.into(),
        names: names.into_iter().filter(|n: &String| !n.is_empty()).take(NAMES).collect(),
    }
}
