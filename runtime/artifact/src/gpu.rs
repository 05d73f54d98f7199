//! The GPU side of an artifact, and the ABI of its kernels.
//!
//! A [`GpuProgram`] computes the artifact's entries on NVIDIA GPUs of one target, over the
//! same weights and strings. Its entries are those of the manifest in the same order, with
//! the same signatures and their own buffers and steps; where they differ is what a launch
//! means:
//!
//! * `tiles` is the number of tiles that the kernel's blocks share among them: block `i` of
//!   `n` runs tiles `i, i + n, i + 2n, …`, in any order to those of other blocks;
//! * `scratch_bytes` is global memory per block, `min_tiles` is not read.
//!
//! # Kernel ABI
//! `.entry NAME` in the program's PTX, launched with a one-dimensional grid of any number of
//! blocks ≥ 1 of [`GpuKernel::threads`] threads and [`GpuKernel::shared_bytes`] of dynamic
//! shared memory. Its parameters, in order, 8 bytes each unless said:
//!
//! 1. the device address of every buffer, in the kernel's buffer order; arena and weight
//!    addresses are 64-byte aligned, all addresses at least 16-byte aligned, and the 16 bytes
//!    in which a buffer ends exist as a whole: kernels may read them (LLVM joins neighbouring
//!    loads, three of f32 to one of 16 bytes);
//! 2. the dim parameters, `i64`;
//! 3. the number of tiles, `i64`;
//! 4. the address of the scratch memory, 256-byte aligned (null where there is none), and the
//!    bytes from one block's to the next block's, `i64`, a multiple of 256;
//! 5. the address of an `i32` status, which holds 0 or what another kernel has put there: a
//!    check that fails puts its index in [`KernelInfo::messages`] plus one there, if it is
//!    still 0;
//! 6. one `CUtensorMap` per [`GpuKernel::tensor_maps`], 128 bytes by value, 64-byte aligned.
//!
//! A launch with a status other than 0 is finished as if nothing had happened; its results
//! are garbage. Launches of one run are in order on one stream.

use crate::manifest::{Entry, KernelInfo};
use cascata_types::Dim;
use serde::{Deserialize, Serialize};

/// What runs on the GPUs of one target; its PTX is the section of the same number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuProgram {
    /// What the PTX was made for.
    pub target: GpuTarget,
    /// In the place of [`crate::Manifest::entries`], one for one.
    pub entries: Vec<Entry>,
    /// Kernels by index.
    pub kernels: Vec<GpuKernel>,
}

/// What a GPU must be to run a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GpuTarget {
    /// Compute capability 8.0 or more.
    #[serde(rename = "sm_80")]
    Sm80,
    /// Compute capability 9.0 or more.
    #[serde(rename = "sm_90")]
    Sm90,
    /// Compute capability 9.0 and no other: it has `wgmma`.
    #[serde(rename = "sm_90a")]
    Sm90a,
}

impl GpuTarget {
    /// Every target, the least demanding first.
    pub const ALL: [GpuTarget; 3] = [GpuTarget::Sm80, GpuTarget::Sm90, GpuTarget::Sm90a];

    /// `sm_90a`: as PTX, `ptxas` and LLVM call it.
    pub fn name(self) -> &'static str {
        match self {
            GpuTarget::Sm80 => "sm_80",
            GpuTarget::Sm90 => "sm_90",
            GpuTarget::Sm90a => "sm_90a",
        }
    }

    /// Whether a GPU of this compute capability runs it.
    pub fn runs_on(self, (major, minor): (u32, u32)) -> bool {
        match self {
            GpuTarget::Sm80 => major >= 8,
            GpuTarget::Sm90 => major >= 9,
            GpuTarget::Sm90a => (major, minor) == (9, 0),
        }
    }
}

/// A kernel in a program's PTX.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuKernel {
    /// As of a CPU kernel; the name is the PTX entry's: letters, digits and `_`.
    #[serde(flatten)]
    pub info: KernelInfo,
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory, beside what the PTX declares.
    pub shared_bytes: u32,
    /// Blocks are best as many as the GPU runs at once; otherwise as many as there are tiles.
    pub persistent: bool,
    /// What follows the other parameters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tensor_maps: Vec<TensorMap>,
}

/// A matrix in a buffer that the GPU's copy engine moves box by box; what lies outside of the
/// matrix reads as zero and is not written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorMap {
    /// The kernel's buffer, of 1-, 2- or 4-byte elements.
    pub buffer: u32,
    /// Where the matrix starts in it, in elements, over the kernel's dim parameters; its
    /// bytes are a multiple of 16.
    pub base: Dim,
    /// Columns (contiguous) and rows.
    pub extent: [Dim; 2],
    /// Elements between rows; their bytes are a multiple of 16.
    pub row_stride: Dim,
    /// Columns and rows of a box.
    pub box_extent: [u32; 2],
    /// Bytes of the shared-memory swizzle: 0, 32, 64 or 128.
    pub swizzle_bytes: u32,
}
