//! Where scratch buffers lie in a thread's scratch memory.

use cascata_ir::kernel::{BufferId, Kernel, Space};
use cascata_types::{Dim, SecondaryMap};

/// Alignment of every scratch buffer, in bytes.
const ALIGN: i64 = 64;

/// Byte offsets of the scratch buffers of one kernel, over its parameters.
#[derive(Clone, Debug)]
pub(super) struct ScratchLayout {
    offsets: SecondaryMap<BufferId, Dim>,
    total: Dim,
}

impl ScratchLayout {
    /// Places the buffers one after another. `None` where an element has no fixed size.
    pub fn new(kernel: &Kernel) -> Option<Self> {
        let mut offsets = SecondaryMap::new();
        let mut total = Dim::from(0);
        for (id, buffer) in kernel.buffers.iter() {
            if buffer.space != Space::Scratch {
                continue;
            }
            let bytes = buffer.len.clone() * buffer.dtype.size_bytes()? as i64;
            let bytes = match bytes.at_least(0, &kernel.symbols) {
                true => bytes,
                false => bytes.maximum(&0.into()),
            };
            offsets[id] = total.clone();
            total = total + bytes.ceil_div(&ALIGN.into()) * ALIGN;
        }
        Some(Self { offsets, total })
    }

    /// First byte of a buffer.
    pub fn offset(&self, id: BufferId) -> Dim {
        self.offsets[id].clone()
    }

    /// Bytes of all buffers.
    pub fn total(&self) -> &Dim {
        &self.total
    }
}
