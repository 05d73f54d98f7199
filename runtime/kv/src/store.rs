//! The contents of the blocks.
//!
//! One plane of keys and one of values for each layer. A block's numbers of one head are a
//! matrix in the column panels of GEMM's right operand ([`Panels`]), so that attention
//! multiplies by what is stored: keys `[head_dim, block_tokens]`, values
//! `[block_tokens, head_dim]`. Pages of the budget are touched when they are written, not
//! before.

use crate::element::KvElement;
use crate::table::{BlockCopy, Slot};
use crate::{BlockId, BlockPool};
use half::{bf16, f16};

/// Sizes of a KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvLayout {
    /// Layers that keep keys and values.
    pub layers: u32,
    /// Key and value heads of each.
    pub kv_heads: u32,
    /// Numbers of each head's key, and of its value.
    pub head_dim: u32,
    /// Tokens of a block, the tile of attention.
    pub block_tokens: u32,
    /// The stored form.
    pub element: KvElement,
}

/// Why a KV cache cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum KvError {
    /// A size is zero or the product of all is too large.
    #[error(
        "a KV cache of {0:?} has no size: layers, heads, head_dim and block_tokens must be above 0 and their product must fit memory"
    )]
    Layout(KvLayout),
    /// Not one block fits.
    #[error("a KV budget of {budget_bytes} bytes holds no block of {block_bytes} bytes; raise it")]
    Budget { budget_bytes: u64, block_bytes: u64 },
    /// The allocator gave nothing.
    #[error("out of memory: {bytes} bytes for the KV cache; lower the budget")]
    OutOfMemory { bytes: u64 },
}

impl KvLayout {
    /// Bytes of one block over all layers.
    ///
    /// # Errors
    /// A size is zero or the product is too large.
    pub fn block_bytes(&self) -> Result<u64, KvError> {
        let numbers = (self.keys().wide_len() + self.values().wide_len())
            * u128::from(self.element.number_bytes());
        let scales = u128::from(2 * u64::from(self.block_tokens) * self.element.scale_bytes());
        let tiles = u128::from(self.layers) * u128::from(self.kv_heads);
        let bytes = (numbers + scales).checked_mul(tiles).and_then(|n| i64::try_from(n).ok());
        let none = [self.layers, self.kv_heads, self.block_tokens, self.head_dim].contains(&0);
        bytes.filter(|_| !none).map(i64::unsigned_abs).ok_or(KvError::Layout(*self))
    }

    /// How many blocks a budget holds.
    ///
    /// # Errors
    /// Not even one, or the layout has no size.
    pub fn blocks_within(&self, budget_bytes: u64) -> Result<u32, KvError> {
        let block_bytes = self.block_bytes()?;
        match budget_bytes / block_bytes {
            0 => Err(KvError::Budget { budget_bytes, block_bytes }),
            blocks => Ok(u32::try_from(blocks).unwrap_or(u32::MAX)),
        }
    }

    /// How one head's keys lie in a block.
    fn keys(&self) -> Panels {
        self.panels(self.head_dim, self.block_tokens)
    }

    /// How one head's values lie in a block.
    fn values(&self) -> Panels {
        self.panels(self.block_tokens, self.head_dim)
    }

    fn panels(&self, rows: u32, columns: u32) -> Panels {
        let pairs = self.element == KvElement::BF16;
        Panels { rows: rows as usize, columns: columns as usize, pairs }
    }
}

/// A matrix in panels of 16 columns, the last one filled up: `[columns/16, rows, 16]`, or in
/// pairs of rows `[columns/16, rows/2, 16, 2]`, as products of bf16 read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Panels {
    /// Rows that mean something.
    pub rows: usize,
    /// Columns that mean something.
    pub columns: usize,
    /// Pairs of rows lie together.
    pub pairs: bool,
}

impl Panels {
    /// Columns of a panel.
    pub const WIDTH: usize = cascata_kernels::PANEL;

    /// Rows, those that fill up pairs included.
    pub fn stored_rows(&self) -> usize {
        if self.pairs { self.rows.next_multiple_of(2) } else { self.rows }
    }

    /// Numbers, those that fill up included.
    pub fn len(&self) -> usize {
        self.stored_rows() * self.columns.next_multiple_of(Self::WIDTH)
    }

    /// The same, where sizes are not known to fit memory.
    fn wide_len(&self) -> u128 {
        self.stored_rows() as u128 * self.columns.next_multiple_of(Self::WIDTH) as u128
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where an element lies.
    pub fn at(&self, row: usize, column: usize) -> usize {
        let (panel, column) = (column / Self::WIDTH * self.stored_rows(), column % Self::WIDTH);
        match self.pairs {
            true => (panel + row / 2 * 2) * Self::WIDTH + 2 * column + row % 2,
            false => (panel + row) * Self::WIDTH + column,
        }
    }
}

/// One head's keys (or values) in one block.
#[derive(Clone, Copy, Debug)]
pub struct Tile<'a> {
    /// The matrix.
    pub numbers: Numbers<'a>,
    /// How it lies.
    pub panels: Panels,
    /// Tokens are columns (keys) rather than rows (values).
    pub token_columns: bool,
}

/// Numbers as they are stored.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a> {
    /// Plain numbers.
    F32(&'a [f32]),
    /// Bits of half floats.
    F16(&'a [u16]),
    /// Bits of bfloats.
    BF16(&'a [u16]),
    /// Codes, and a scale for each token.
    I8(&'a [i8], &'a [f32]),
}

impl Tile<'_> {
    /// One token's numbers.
    pub fn read(&self, offset: usize, out: &mut [f32]) {
        for (i, out) in out.iter_mut().enumerate() {
            let at = token_at(&self.panels, self.token_columns, offset, i);
            *out = match self.numbers {
                Numbers::F32(x) => x[at],
                Numbers::F16(x) => f16::from_bits(x[at]).to_f32(),
                Numbers::BF16(x) => bf16::from_bits(x[at]).to_f32(),
                Numbers::I8(x, scales) => f32::from(x[at]) * scales[offset],
            };
        }
    }
}

/// Where number `i` of a token lies.
fn token_at(panels: &Panels, token_columns: bool, token: usize, i: usize) -> usize {
    if token_columns { panels.at(i, token) } else { panels.at(token, i) }
}

#[derive(Debug)]
enum Plane {
    F32(Vec<f32>),
    F16(Vec<u16>),
    BF16(Vec<u16>),
    I8(Vec<i8>, Vec<f32>),
}

/// The matrix of one token's numbers: which tile, how it lies, which token.
struct Place {
    tile: usize,
    panels: Panels,
    token_columns: bool,
    token: usize,
}

impl Plane {
    /// Of `numbers` numbers, of `tokens` tokens' heads.
    fn new(element: KvElement, numbers: usize, tokens: usize) -> Self {
        match element {
            KvElement::F32 => Plane::F32(vec![0.0; numbers]),
            KvElement::F16 => Plane::F16(vec![0; numbers]),
            KvElement::BF16 => Plane::BF16(vec![0; numbers]),
            KvElement::I8 => Plane::I8(vec![0; numbers], vec![0.0; tokens]),
        }
    }

    /// Stores a token's numbers; `tokens` is how many a tile has.
    fn write(&mut self, place: &Place, tokens: usize, numbers: &[f32]) {
        match self {
            Plane::F32(x) => place.encode(x, numbers, |v| v),
            Plane::F16(x) => place.encode(x, numbers, |v| f16::from_f32(v).to_bits()),
            Plane::BF16(x) => place.encode(x, numbers, |v| bf16::from_f32(v).to_bits()),
            Plane::I8(x, scales) => {
                let largest = numbers.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                scales[place.tile * tokens + place.token] = largest / 127.0;
                let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                place.encode(x, numbers, |v| (v * inverse).round() as i8);
            }
        }
    }

    fn numbers(&self, tile: usize, len: usize, tokens: usize) -> Numbers<'_> {
        let range = tile * len..(tile + 1) * len;
        match self {
            Plane::F32(x) => Numbers::F32(&x[range]),
            Plane::F16(x) => Numbers::F16(&x[range]),
            Plane::BF16(x) => Numbers::BF16(&x[range]),
            Plane::I8(x, scales) => {
                Numbers::I8(&x[range], &scales[tile * tokens..(tile + 1) * tokens])
            }
        }
    }

    /// Copies a tile to another; what of it counts is the caller's to know.
    fn copy(&mut self, [from, to]: [usize; 2], len: usize, tokens: usize) {
        let range = from * len..(from + 1) * len;
        match self {
            Plane::F32(x) => x.copy_within(range, to * len),
            Plane::F16(x) | Plane::BF16(x) => x.copy_within(range, to * len),
            Plane::I8(x, scales) => {
                x.copy_within(range, to * len);
                scales.copy_within(from * tokens..(from + 1) * tokens, to * tokens);
            }
        }
    }
}

impl Place {
    fn encode<T>(&self, plane: &mut [T], numbers: &[f32], code: impl Fn(f32) -> T) {
        let len = self.panels.len();
        let tile = &mut plane[self.tile * len..(self.tile + 1) * len];
        for (i, v) in numbers.iter().enumerate() {
            tile[token_at(&self.panels, self.token_columns, self.token, i)] = code(*v);
        }
    }
}

/// Keys and values of all blocks in this process's memory.
#[derive(Debug)]
pub struct KvStore {
    layout: KvLayout,
    /// Keys and values of each layer.
    layers: Vec<[Plane; 2]>,
}

impl KvStore {
    /// A store of as many blocks as the budget holds, and the pool that counts them.
    ///
    /// # Errors
    /// The layout has no size, the budget holds no block, or there is no such memory.
    pub fn new(layout: KvLayout, budget_bytes: u64) -> Result<(Self, BlockPool), KvError> {
        let blocks = layout.blocks_within(budget_bytes)?;
        let bytes = u64::from(blocks) * layout.block_bytes()?;
        let probe = usize::try_from(bytes).ok().map(|n| Vec::<u8>::new().try_reserve_exact(n));
        if !matches!(probe, Some(Ok(()))) {
            return Err(KvError::OutOfMemory { bytes });
        }
        let tiles = blocks as usize * layout.kv_heads as usize;
        let tokens = tiles * layout.block_tokens as usize;
        let plane = |panels: Panels| Plane::new(layout.element, tiles * panels.len(), tokens);
        let layer = || [plane(layout.keys()), plane(layout.values())];
        let layers = (0..layout.layers).map(|_| layer()).collect();
        Ok((Self { layout, layers }, BlockPool::new(blocks)))
    }

    /// Its sizes.
    pub fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// Stores one token's keys and values, both `[kv_heads, head_dim]`.
    pub fn append(&mut self, layer: usize, slot: Slot, keys: &[f32], values: &[f32]) {
        let layout = self.layout;
        let (dim, tokens) = (layout.head_dim as usize, layout.block_tokens as usize);
        let kinds = [(layout.keys(), true, keys), (layout.values(), false, values)];
        for (plane, (panels, token_columns, numbers)) in self.layers[layer].iter_mut().zip(kinds) {
            for (head, numbers) in numbers.chunks_exact(dim).enumerate() {
                let tile = tile_index(&layout, slot.block, head);
                let place = Place { tile, panels, token_columns, token: slot.offset as usize };
                plane.write(&place, tokens, numbers);
            }
        }
    }

    /// One head's keys in a block, `[head_dim, block_tokens]`.
    pub fn keys(&self, layer: usize, block: BlockId, head: usize) -> Tile<'_> {
        self.tile(&self.layers[layer][0], self.layout.keys(), true, block, head)
    }

    /// One head's values in a block, `[block_tokens, head_dim]`.
    pub fn values(&self, layer: usize, block: BlockId, head: usize) -> Tile<'_> {
        self.tile(&self.layers[layer][1], self.layout.values(), false, block, head)
    }

    fn tile<'a>(
        &self,
        plane: &'a Plane,
        panels: Panels,
        token_columns: bool,
        block: BlockId,
        head: usize,
    ) -> Tile<'a> {
        let at = tile_index(&self.layout, block, head);
        let numbers = plane.numbers(at, panels.len(), self.layout.block_tokens as usize);
        Tile { numbers, panels, token_columns }
    }

    /// Does what copy on write asks for; what follows the copied tokens means nothing.
    pub fn copy(&mut self, copy: &BlockCopy) {
        let layout = self.layout;
        let lens = [layout.keys().len(), layout.values().len()];
        for layer in &mut self.layers {
            for (plane, len) in layer.iter_mut().zip(lens) {
                for head in 0..layout.kv_heads as usize {
                    let tiles = [copy.from, copy.to].map(|b| tile_index(&layout, b, head));
                    plane.copy(tiles, len, layout.block_tokens as usize);
                }
            }
        }
    }
}

fn tile_index(layout: &KvLayout, block: BlockId, head: usize) -> usize {
    block.index() * layout.kv_heads as usize + head
}
