//! The KV cache's memory and the attention kernel's view of it.
//!
//! Keys and values live in *blocks* of [`KvLayout::block_tokens`] tokens. A sequence is a
//! [`BlockTable`]: position `p` lies in its block `p / block_tokens`, so a block is a tile of
//! keys at an absolute position, whoever reads it. Sequences with a common prefix hold the
//! same blocks, counted in [`BlockPool`]; a sequence that must write into a block that others
//! hold gets a copy first (copy on write).
//!
//! One step of a model is a [`StepBatch`] of flat tokens. Its [`WorkList`] is the prefix
//! forest of these tokens' sequences: each run of blocks once, with the query rows of all
//! sequences below it (Hydragen, arXiv 2402.05099, §3.2, for trees of any shape).
//! [`Attention`] defines what a kernel computes from it.
//!
//! Nothing here is about a model, a tokenizer or scheduling: the core runtime may use this
//! crate, and the generation engine does.

#![forbid(unsafe_code)]

mod attention;
mod element;
mod kernel;
mod pool;
mod step;
mod store;
mod table;
mod tiles;
mod work;

pub use attention::{Attention, Partial};
pub use element::KvElement;
pub use kernel::{AttentionKernel, Layer, OneThread, Threads};
pub use pool::{BlockId, BlockPool};
pub use step::{Append, StepBatch};
pub use store::{KvError, KvLayout, KvStore, Numbers, Panels, Tile};
pub use table::{BlockCopy, BlockTable, OutOfBlocks, Slot};
pub use tiles::{Cut, Tile as AttentionTile, TileList};
pub use work::{Lane, WorkBuilder, WorkItem, WorkList};
