//! What kernels are cut for.
//!
//! A CPU has few threads, each with a cache: tiles are large, and what one shares is computed
//! in order. A GPU has a hundred thousand: a tile is what one block of threads does, and what
//! it shares is computed side by side.

/// What runs the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Threads of a CPU, a tile each.
    Cpu,
    /// Blocks of threads, which [`crate::gpu::map`] makes of tiles.
    Gpu,
}

impl Machine {
    /// Elements of an element-wise tile: enough to hide the cost of a tile, little enough to
    /// share among threads.
    pub(super) fn map_tile(self) -> i64 {
        match self {
            Machine::Cpu => 8192,
            Machine::Gpu => 512,
        }
    }

    /// Elements of a tile of whole rows, or of whole pixels of a pooling.
    pub(super) fn row_tile(self) -> i64 {
        match self {
            Machine::Cpu => 4096,
            Machine::Gpu => 1,
        }
    }

    /// Most rows of a tile of a depthwise convolution.
    pub(super) fn depthwise_rows(self) -> i64 {
        match self {
            Machine::Cpu => super::matmul::BLOCK_ROWS,
            Machine::Gpu => 16,
        }
    }
}
