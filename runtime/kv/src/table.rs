//! Block tables: where each position of a sequence lies.

use crate::pool::{BlockId, BlockPool};

/// A place for one token's keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The block.
    pub block: BlockId,
    /// The token's place in it.
    pub offset: u32,
}

/// The first `tokens` tokens of one block have to be in another one before the step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockCopy {
    /// The block that others hold too.
    pub from: BlockId,
    /// The new block.
    pub to: BlockId,
    /// How many tokens of it count.
    pub tokens: u32,
}

/// There are fewer free blocks than needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed} KV blocks are needed and {free} are free")]
pub struct OutOfBlocks {
    /// How many are missing altogether.
    pub needed: usize,
    /// How many there are.
    pub free: usize,
}

/// The blocks of one sequence. The table is one holder of each; [`BlockTable::clear`] must be
/// called before it is dropped, as only the pool knows the counts.
#[derive(Debug)]
pub struct BlockTable {
    blocks: Vec<BlockId>,
    tokens: usize,
    block_tokens: usize,
}

impl BlockTable {
    /// The table of a sequence without tokens.
    pub fn new(block_tokens: u32) -> Self {
        Self { blocks: Vec::new(), tokens: 0, block_tokens: block_tokens.max(1) as usize }
    }

    /// The table of another sequence without tokens.
    #[must_use]
    pub fn sibling(&self) -> Self {
        Self { blocks: Vec::new(), tokens: 0, block_tokens: self.block_tokens }
    }

    /// How many tokens are in the cache.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// All blocks, those reserved for tokens to come included.
    pub fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    /// Where a position lies that was reserved.
    pub fn slot(&self, position: usize) -> Slot {
        let block = self.blocks[position / self.block_tokens];
        Slot { block, offset: (position % self.block_tokens) as u32 }
    }

    /// Another table of the same tokens; no block is copied before one of the two writes.
    #[must_use]
    pub fn fork(&self, pool: &mut BlockPool) -> Self {
        let filled = self.tokens.div_ceil(self.block_tokens);
        let blocks = self.blocks[..filled].to_vec();
        blocks.iter().for_each(|b| pool.retain(*b));
        Self { blocks, tokens: self.tokens, block_tokens: self.block_tokens }
    }

    /// How many blocks [`BlockTable::reserve`] takes from the pool.
    pub fn missing(&self, tokens: usize, pool: &BlockPool) -> usize {
        let more = tokens.div_ceil(self.block_tokens).saturating_sub(self.blocks.len());
        more + usize::from(tokens > self.tokens && self.shared_tail(pool).is_some())
    }

    /// The last block, if it has room for tokens that others must not see.
    fn shared_tail(&self, pool: &BlockPool) -> Option<usize> {
        let at = self.tokens / self.block_tokens;
        let partial = !self.tokens.is_multiple_of(self.block_tokens);
        (partial && pool.holders(self.blocks[at]) > 1).then_some(at)
    }

    /// Makes the positions up to `tokens` writable: blocks of this table alone. What has to be
    /// copied first is added to `copies`, to be done in order.
    ///
    /// # Errors
    /// The pool has too few free blocks; nothing has changed.
    pub fn reserve(
        &mut self,
        tokens: usize,
        pool: &mut BlockPool,
        copies: &mut Vec<BlockCopy>,
    ) -> Result<(), OutOfBlocks> {
        let out = OutOfBlocks { needed: self.missing(tokens, pool), free: pool.free() };
        if out.needed > out.free {
            return Err(out);
        }
        if tokens <= self.tokens {
            return Ok(());
        }
        if let Some(at) = self.shared_tail(pool) {
            let to = pool.allocate().ok_or(out)?;
            let from = std::mem::replace(&mut self.blocks[at], to);
            pool.release(from);
            copies.push(BlockCopy { from, to, tokens: (self.tokens % self.block_tokens) as u32 });
        }
        while self.blocks.len() * self.block_tokens < tokens {
            self.blocks.push(pool.allocate().ok_or(out)?);
        }
        Ok(())
    }

    /// Counts the next `tokens` reserved positions as written.
    pub fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
        debug_assert!(self.tokens <= self.blocks.len() * self.block_tokens);
    }

    /// Starts with blocks that the caller has retained for this table, full of tokens.
    /// They take the place of the table's own first blocks, which are released.
    pub fn replace_prefix(&mut self, shared: &[BlockId], pool: &mut BlockPool) {
        let covered = self.blocks.len().min(shared.len());
        self.blocks.splice(..covered, shared.iter().copied()).for_each(|b| pool.release(b));
        self.tokens = self.tokens.max(shared.len() * self.block_tokens);
    }

    /// Drops the tokens from `tokens` on, and every block without any.
    pub fn truncate(&mut self, tokens: usize, pool: &mut BlockPool) {
        self.tokens = self.tokens.min(tokens);
        let filled = self.tokens.div_ceil(self.block_tokens);
        self.blocks.drain(filled..).for_each(|b| pool.release(b));
    }

    /// Lets all blocks go.
    pub fn clear(&mut self, pool: &mut BlockPool) {
        self.truncate(0, pool);
    }
}
