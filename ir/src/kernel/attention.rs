//! Attention of a tile of query rows over a range of keys, by all threads of a block.
//!
//! # Semantics
//! Row `i` is head `i mod group` of token `i / group`; its state `(m, l, o)` over the keys
//! that it sees is that of the 1-pass cascade (FuseMax, arXiv 2406.10491, §4.3): with
//! `s[j] = scale · Σ_d q[i,d]·k[j,d]`,
//!
//! ```text
//! m = max_j s[j]     l = Σ_j e^(s[j] − m)     o[d] = Σ_j e^(s[j] − m) · v[j,d]
//! ```
//!
//! A row that sees no key has `(−∞, 0, 0)`. The statement writes the state, or the attention
//! `o / l`, which is 0 where no key is seen. The order in which keys are summed is free;
//! what is kept between tiles of keys has f32's precision at least, and each weight
//! `e^(s[j] − m)` may be rounded to the values' dtype before it is multiplied.

use super::Place;
use cascata_types::{Dim, Scalar};

/// Attention of a tile of query rows; see the module text.
#[derive(Clone, Debug, PartialEq)]
pub struct TileAttention {
    /// Queries: first number of token 0's first head.
    pub q: Place,
    /// First number of key 0.
    pub k: Place,
    /// First number of key 0's value.
    pub v: Place,
    /// The query rows.
    pub rows: TileRows,
    /// The keys.
    pub keys: TileKeys,
    /// Which keys a row sees.
    pub sees: Sees,
    /// Factor of all scores, f32, above 0.
    pub scale: Scalar,
    /// Numbers of a query, a key, a value.
    pub head_dim: u32,
    /// What is written.
    pub result: TileResult,
    /// How a GPU computes it.
    pub schedule: TileSchedule,
}

/// The query rows of a tile.
#[derive(Clone, Debug, PartialEq)]
pub struct TileRows {
    /// How many there are: at most [`TileSchedule::rows`].
    pub count: Dim,
    /// Rows of a token: the query heads that share the key head.
    pub group: u32,
    /// Number of the tile's `t`-th token, in an `i32` buffer; `t` itself without it.
    pub index: Option<Place>,
    /// Elements between tokens of the queries.
    pub token_stride: Dim,
    /// Elements between heads of the queries.
    pub head_stride: Dim,
}

/// Keys and their values.
#[derive(Clone, Debug, PartialEq)]
pub struct TileKeys {
    /// How many there are.
    pub count: Dim,
    /// Elements between keys, and between values.
    pub stride: Dim,
    /// Where they lie in blocks.
    pub table: Option<BlockTable>,
}

/// Key `j` is the one of number `j mod tokens` in block `blocks[j / tokens]`.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockTable {
    /// First block's number, in an `i32` buffer.
    pub blocks: Place,
    /// Keys of a block, a power of two.
    pub tokens: u32,
    /// Elements between blocks.
    pub block_stride: Dim,
}

/// Which keys a row sees.
#[derive(Clone, Debug, PartialEq)]
pub enum Sees {
    /// All of them.
    All,
    /// The tile's `t`-th token sees keys `0 ..= first + t`; `first` may be negative.
    UpTo {
        /// The last key that the first token sees.
        first: Dim,
    },
    /// A token sees keys `0 ..= positions[token] − first`.
    Positions {
        /// Token 0's position, in an `i32` buffer.
        positions: Place,
        /// The position of key 0.
        first: Dim,
        /// Every row sees as many keys at least.
        least: Dim,
    },
}

/// What a tile's attention writes.
#[derive(Clone, Debug, PartialEq)]
pub enum TileResult {
    /// `o / l`.
    Output {
        /// First number of token 0's first head.
        out: Place,
        /// Elements between tokens (as numbered by [`TileRows::index`]).
        token_stride: Dim,
        /// Elements between heads.
        head_stride: Dim,
    },
    /// `m`, `l` and `o` in f32. The state of head `g` of the tile's `t`-th token (its index
    /// is not read) is the one of number `t · token_states + g`.
    State {
        /// The first `m`.
        max: Place,
        /// The first `l`.
        sum: Place,
        /// The first number of the first `o`.
        out: Place,
        /// States between tokens.
        token_states: Dim,
    },
}

/// How a GPU's block computes a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TileSchedule {
    /// Query rows of a tile: 16 or 32 per warp.
    pub rows: u32,
    /// Keys of a step: a multiple of 16.
    pub keys: u32,
    /// Warps of the block, which share the rows among them.
    pub warps: u32,
    /// Steps of keys in shared memory: 2 or more.
    pub stages: u32,
    /// Scores of the next step are computed beside the weights of this one.
    pub ahead: bool,
    /// Products by `wgmma` (sm_90a), ahead too; warps come in fours with 64 rows.
    pub wgmma: bool,
}

impl TileAttention {
    /// The first elements of all operands.
    pub fn operands(&self) -> Vec<&Place> {
        let mut all = vec![&self.q, &self.k, &self.v];
        all.extend(&self.rows.index);
        all.extend(self.keys.table.as_ref().map(|t| &t.blocks));
        if let Sees::Positions { positions, .. } = &self.sees {
            all.push(positions);
        }
        all
    }

    /// The first elements of all results.
    pub fn results(&self) -> Vec<&Place> {
        match &self.result {
            TileResult::Output { out, .. } => vec![out],
            TileResult::State { max, sum, out, .. } => vec![max, sum, out],
        }
    }

    /// Operands and results.
    pub fn places_mut(&mut self) -> Vec<&mut Place> {
        let mut all = vec![&mut self.q, &mut self.k, &mut self.v];
        all.extend(&mut self.rows.index);
        all.extend(self.keys.table.as_mut().map(|t| &mut t.blocks));
        if let Sees::Positions { positions, .. } = &mut self.sees {
            all.push(positions);
        }
        match &mut self.result {
            TileResult::Output { out, .. } => all.push(out),
            TileResult::State { max, sum, out, .. } => all.extend([max, sum, out]),
        }
        all
    }

    /// All index expressions that are not part of a place.
    pub fn dims_mut(&mut self) -> Vec<&mut Dim> {
        let (rows, keys) = (&mut self.rows, &mut self.keys);
        let mut all = vec![&mut rows.count, &mut rows.token_stride, &mut rows.head_stride];
        all.extend([&mut keys.count, &mut keys.stride]);
        all.extend(keys.table.as_mut().map(|t| &mut t.block_stride));
        match &mut self.sees {
            Sees::All => {}
            Sees::UpTo { first } => all.push(first),
            Sees::Positions { first, least, .. } => all.extend([first, least]),
        }
        match &mut self.result {
            TileResult::Output { token_stride, head_stride, .. } => {
                all.extend([token_stride, head_stride]);
            }
            TileResult::State { token_states, .. } => all.push(token_states),
        }
        all
    }
}
