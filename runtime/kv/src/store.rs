//! The contents of the blocks.
//!
//! One plane of keys and one of values for each layer, `[block, kv_head, offset, head_dim]`:
//! a block's tokens of one head are one dense matrix, which is what an attention kernel
//! multiplies. Pages of the budget are touched when they are written, not before.

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
        let head = self.element.head_bytes(self.head_dim);
        let factors = [self.layers, self.kv_heads, self.block_tokens, self.head_dim];
        let product = factors[..3].iter().try_fold(head, |n, f| n.checked_mul(u64::from(*f)));
        let bytes = product.and_then(|n| n.checked_mul(2)).filter(|n| *n <= i64::MAX as u64);
        bytes.filter(|_| !factors.contains(&0)).ok_or(KvError::Layout(*self))
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

    fn tile_len(&self) -> usize {
        self.block_tokens as usize * self.head_dim as usize
    }
}

/// The numbers of one head's keys (or values) in one block, `[block_tokens, head_dim]`.
#[derive(Clone, Copy, Debug)]
pub enum Tile<'a> {
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
        let range = offset * out.len()..(offset + 1) * out.len();
        match self {
            Tile::F32(x) => out.copy_from_slice(&x[range]),
            Tile::F16(x) => decode(&x[range], out, |b| f16::from_bits(*b).to_f32()),
            Tile::BF16(x) => decode(&x[range], out, |b| bf16::from_bits(*b).to_f32()),
            Tile::I8(x, scales) => {
                let scale = scales[offset];
                decode(&x[range], out, |code| f32::from(*code) * scale);
            }
        }
    }
}

fn decode<T>(from: &[T], out: &mut [f32], number: impl Fn(&T) -> f32) {
    out.iter_mut().zip(from).for_each(|(o, x)| *o = number(x));
}

#[derive(Debug)]
enum Plane {
    F32(Vec<f32>),
    F16(Vec<u16>),
    BF16(Vec<u16>),
    I8(Vec<i8>, Vec<f32>),
}

impl Plane {
    fn new(element: KvElement, numbers: usize, heads: usize) -> Self {
        match element {
            KvElement::F32 => Plane::F32(vec![0.0; numbers]),
            KvElement::F16 => Plane::F16(vec![0; numbers]),
            KvElement::BF16 => Plane::BF16(vec![0; numbers]),
            KvElement::I8 => Plane::I8(vec![0; numbers], vec![0.0; heads]),
        }
    }

    fn write(&mut self, head: usize, numbers: &[f32]) {
        let range = head * numbers.len()..(head + 1) * numbers.len();
        match self {
            Plane::F32(x) => x[range].copy_from_slice(numbers),
            Plane::F16(x) => encode(&mut x[range], numbers, |v| f16::from_f32(v).to_bits()),
            Plane::BF16(x) => encode(&mut x[range], numbers, |v| bf16::from_f32(v).to_bits()),
            Plane::I8(x, scales) => {
                let largest = numbers.iter().fold(0.0f32, |m, v| m.max(v.abs()));
                scales[head] = largest / 127.0;
                let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
                encode(&mut x[range], numbers, |v| (v * inverse).round() as i8);
            }
        }
    }

    fn tile(&self, at: usize, len: usize, tokens: usize) -> Tile<'_> {
        let range = at * len..(at + 1) * len;
        match self {
            Plane::F32(x) => Tile::F32(&x[range]),
            Plane::F16(x) => Tile::F16(&x[range]),
            Plane::BF16(x) => Tile::BF16(&x[range]),
            Plane::I8(x, scales) => Tile::I8(&x[range], &scales[at * tokens..(at + 1) * tokens]),
        }
    }

    /// Copies `heads` heads' numbers from one place to another.
    fn copy(&mut self, from: usize, to: usize, heads: usize, head_dim: usize) {
        let (source, target) = (from * head_dim..(from + heads) * head_dim, to * head_dim);
        match self {
            Plane::F32(x) => x.copy_within(source, target),
            Plane::F16(x) | Plane::BF16(x) => x.copy_within(source, target),
            Plane::I8(x, scales) => {
                x.copy_within(source, target);
                scales.copy_within(from..from + heads, to);
            }
        }
    }
}

fn encode<T>(to: &mut [T], numbers: &[f32], code: impl Fn(f32) -> T) {
    to.iter_mut().zip(numbers).for_each(|(t, v)| *t = code(*v));
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
        let heads = blocks as usize * layout.kv_heads as usize * layout.block_tokens as usize;
        let numbers = heads * layout.head_dim as usize;
        let plane = || Plane::new(layout.element, numbers, heads);
        let layers = (0..layout.layers).map(|_| [plane(), plane()]).collect();
        Ok((Self { layout, layers }, BlockPool::new(blocks)))
    }

    /// Its sizes.
    pub fn layout(&self) -> &KvLayout {
        &self.layout
    }

    /// Stores one token's keys and values, both `[kv_heads, head_dim]`.
    pub fn append(&mut self, layer: usize, slot: Slot, keys: &[f32], values: &[f32]) {
        let dim = self.layout.head_dim as usize;
        for (plane, numbers) in self.layers[layer].iter_mut().zip([keys, values]) {
            for (head, numbers) in numbers.chunks_exact(dim).enumerate() {
                let row = tile_index(&self.layout, slot.block, head);
                let at = row * self.layout.block_tokens as usize + slot.offset as usize;
                plane.write(at, numbers);
            }
        }
    }

    /// One head's keys in a block.
    pub fn keys(&self, layer: usize, block: BlockId, head: usize) -> Tile<'_> {
        self.tile(&self.layers[layer][0], block, head)
    }

    /// One head's values in a block.
    pub fn values(&self, layer: usize, block: BlockId, head: usize) -> Tile<'_> {
        self.tile(&self.layers[layer][1], block, head)
    }

    fn tile<'a>(&self, plane: &'a Plane, block: BlockId, head: usize) -> Tile<'a> {
        let at = tile_index(&self.layout, block, head);
        plane.tile(at, self.layout.tile_len(), self.layout.block_tokens as usize)
    }

    /// Does what copy on write asks for.
    pub fn copy(&mut self, copy: &BlockCopy) {
        let layout = self.layout;
        let tokens = layout.block_tokens as usize;
        for plane in self.layers.iter_mut().flatten() {
            for head in 0..layout.kv_heads as usize {
                let [from, to] =
                    [copy.from, copy.to].map(|b| tile_index(&layout, b, head) * tokens);
                plane.copy(from, to, copy.tokens as usize, layout.head_dim as usize);
            }
        }
    }
}

fn tile_index(layout: &KvLayout, block: BlockId, head: usize) -> usize {
    block.index() * layout.kv_heads as usize + head
}
