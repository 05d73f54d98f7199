//! Reference counts of blocks.
//!
//! Who holds a block: tables of sequences, once each, and at most one cache (the radix
//! tree), which marks it. A block that only the cache holds is *evictable*: it may be freed,
//! at the price of computing it again. The counts of free and evictable blocks are kept, so
//! that admission asks in constant time.

/// One block of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(u32);

impl BlockId {
    /// Its number, below [`BlockPool::capacity`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The blocks and who holds them; their contents are in [`KvStore`](crate::KvStore).
#[derive(Debug)]
pub struct BlockPool {
    holders: Vec<u32>,
    cached: Vec<bool>,
    free: Vec<BlockId>,
    evictable: usize,
}

impl BlockPool {
    /// A pool of free blocks.
    pub fn new(blocks: u32) -> Self {
        let count = blocks as usize;
        let free = (0..blocks).rev().map(BlockId).collect();
        Self { holders: vec![0; count], cached: vec![false; count], free, evictable: 0 }
    }

    /// All blocks, free or not.
    pub fn capacity(&self) -> usize {
        self.holders.len()
    }

    /// Blocks that nobody holds.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Blocks that only the cache holds.
    pub fn evictable(&self) -> usize {
        self.evictable
    }

    /// How many hold this block.
    pub fn holders(&self, block: BlockId) -> u32 {
        self.holders[block.index()]
    }

    /// Whether the cache holds this block.
    pub fn is_cached(&self, block: BlockId) -> bool {
        self.cached[block.index()]
    }

    /// A free block, held once from now on.
    pub fn allocate(&mut self) -> Option<BlockId> {
        let block = self.free.pop()?;
        self.holders[block.index()] = 1;
        Some(block)
    }

    /// One more holder.
    ///
    /// # Panics
    /// Nobody holds the block: a bug of the caller.
    pub fn retain(&mut self, block: BlockId) {
        assert!(self.holders(block) > 0, "block {} is free and cannot be shared", block.0);
        self.evictable -= usize::from(self.is_evictable(block));
        self.holders[block.index()] += 1;
    }

    /// One holder less; without any, the block is free.
    ///
    /// # Panics
    /// Nobody holds the block: a bug of the caller.
    pub fn release(&mut self, block: BlockId) {
        assert!(self.holders(block) > 0, "block {} is freed twice", block.0);
        self.holders[block.index()] -= 1;
        if self.holders(block) == 0 {
            assert!(!self.is_cached(block), "the cache's hold on block {} is gone", block.0);
            self.free.push(block);
        }
        self.evictable += usize::from(self.is_evictable(block));
    }

    /// The cache takes hold of a block that somebody holds.
    ///
    /// # Panics
    /// The block is free, or the cache holds it: a bug of the caller.
    pub fn cache(&mut self, block: BlockId) {
        assert!(!self.is_cached(block), "block {} is cached twice", block.0);
        self.retain(block);
        self.cached[block.index()] = true;
    }

    /// The cache lets a block go.
    ///
    /// # Panics
    /// The cache does not hold the block: a bug of the caller.
    pub fn uncache(&mut self, block: BlockId) {
        assert!(self.is_cached(block), "block {} is not cached", block.0);
        self.evictable -= usize::from(self.is_evictable(block));
        self.cached[block.index()] = false;
        self.release(block);
    }

    /// Whether the cache is the only holder.
    pub fn is_evictable(&self, block: BlockId) -> bool {
        self.is_cached(block) && self.holders(block) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_free_when_the_last_holder_lets_go() {
        let mut pool = BlockPool::new(2);
        let (a, b) = (pool.allocate().unwrap(), pool.allocate().unwrap());
        assert_eq!(pool.allocate(), None);
        pool.retain(a);
        pool.release(a);
        assert_eq!(pool.free(), 0);
        pool.release(a);
        pool.release(b);
        assert_eq!(pool.free(), 2);
    }

    #[test]
    fn what_only_the_cache_holds_is_evictable() {
        let mut pool = BlockPool::new(1);
        let block = pool.allocate().unwrap();
        pool.cache(block);
        assert_eq!(pool.evictable(), 0);
        pool.release(block);
        assert_eq!((pool.evictable(), pool.free()), (1, 0));
        pool.retain(block);
        assert_eq!(pool.evictable(), 0);
        pool.release(block);
        pool.uncache(block);
        assert_eq!((pool.evictable(), pool.free()), (0, 1));
    }

    #[test]
    #[should_panic(expected = "freed twice")]
    fn freeing_twice_is_caught() {
        let mut pool = BlockPool::new(1);
        let block = pool.allocate().unwrap();
        pool.release(block);
        pool.release(block);
    }
}
