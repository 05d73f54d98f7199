//! Tables that fork, write, shrink and are cached: no block leaks or is freed twice, and no
//! table ever sees another one's writes.

use cascata_kv::{BlockCopy, BlockId, BlockPool, BlockTable};
use proptest::prelude::*;
use std::collections::HashMap;

const BLOCK_TOKENS: u32 = 4;
const BLOCKS: u32 = 12;

#[derive(Clone, Debug)]
enum Act {
    Append(usize, usize),
    Fork(usize),
    Truncate(usize, usize),
    Clear(usize),
    Cache(usize),
    Evict(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..6usize, 1..9usize).prop_map(|(t, n)| Act::Append(t, n)),
        2 => (0..6usize).prop_map(Act::Fork),
        1 => (0..6usize, 0..20usize).prop_map(|(t, n)| Act::Truncate(t, n)),
        1 => (0..6usize).prop_map(Act::Clear),
        1 => (0..6usize).prop_map(Act::Cache),
        1 => (0..6usize).prop_map(Act::Evict),
    ]
}

/// Tables with the tokens that each should hold, and the tokens that memory holds.
struct World {
    pool: BlockPool,
    tables: Vec<(BlockTable, Vec<u64>)>,
    cached: Vec<BlockId>,
    memory: HashMap<(BlockId, u32), u64>,
    written: u64,
}

impl World {
    fn new() -> Self {
        let pool = BlockPool::new(BLOCKS);
        let tables = vec![(BlockTable::new(BLOCK_TOKENS), Vec::new())];
        Self { pool, tables, cached: Vec::new(), memory: HashMap::new(), written: 0 }
    }

    fn copy(&mut self, copies: &[BlockCopy]) {
        for copy in copies {
            for offset in 0..copy.tokens {
                let token = self.memory[&(copy.from, offset)];
                self.memory.insert((copy.to, offset), token);
            }
        }
    }

    fn append(&mut self, at: usize, count: usize) {
        let mut copies = Vec::new();
        let (table, _) = &mut self.tables[at];
        let (end, missing) =
            (table.tokens() + count, table.missing(table.tokens() + count, &self.pool));
        let before = (self.pool.free(), table.blocks().to_vec());
        if let Err(out) = table.reserve(end, &mut self.pool, &mut copies) {
            assert_eq!((out.needed, out.free), (missing, before.0));
            assert_eq!((self.pool.free(), table.blocks()), (before.0, &before.1[..]));
            return;
        }
        assert_eq!(before.0 - self.pool.free(), missing);
        self.copy(&copies);
        let (table, tokens) = &mut self.tables[at];
        for position in table.tokens()..end {
            self.written += 1;
            let slot = table.slot(position);
            self.memory.insert((slot.block, slot.offset), self.written);
            tokens.push(self.written);
        }
        table.advance(count);
    }

    fn apply(&mut self, act: &Act) {
        let count = self.tables.len();
        match *act {
            Act::Append(t, n) => self.append(t % count, n),
            Act::Fork(t) if count < 6 => {
                let (table, tokens) = &self.tables[t % count];
                let fork = (table.fork(&mut self.pool), tokens.clone());
                self.tables.push(fork);
            }
            Act::Truncate(t, n) => {
                let (table, tokens) = &mut self.tables[t % count];
                table.truncate(n, &mut self.pool);
                tokens.truncate(n);
            }
            Act::Clear(t) if count > 1 => {
                let (mut table, _) = self.tables.swap_remove(t % count);
                table.clear(&mut self.pool);
            }
            Act::Cache(t) => {
                let (table, _) = &self.tables[t % count];
                let new = table.blocks().iter().find(|b| !self.pool.is_cached(**b)).copied();
                new.iter().for_each(|b| self.pool.cache(*b));
                self.cached.extend(new);
            }
            Act::Evict(at) if at < self.cached.len() => {
                self.pool.uncache(self.cached.swap_remove(at));
            }
            Act::Fork(_) | Act::Clear(_) | Act::Evict(_) => {}
        }
    }

    fn check(&self) {
        let mut holders: HashMap<BlockId, u32> = HashMap::new();
        let tables = self.tables.iter().flat_map(|(t, _)| t.blocks()).chain(&self.cached);
        tables.for_each(|b| *holders.entry(*b).or_default() += 1);
        for (block, count) in &holders {
            assert_eq!(self.pool.holders(*block), *count);
        }
        assert_eq!(self.pool.free() + holders.len(), self.pool.capacity());
        let evictable = self.cached.iter().filter(|b| holders[*b] == 1).count();
        assert_eq!(self.pool.evictable(), evictable);
        for (table, tokens) in &self.tables {
            let slots = (0..table.tokens()).map(|p| table.slot(p));
            let held: Vec<u64> = slots.map(|s| self.memory[&(s.block, s.offset)]).collect();
            assert_eq!(&held, tokens);
        }
    }
}

proptest! {
    #[test]
    fn no_block_leaks_or_is_seen_by_others(acts in prop::collection::vec(act(), 1..80)) {
        let mut world = World::new();
        for act in &acts {
            world.apply(act);
            world.check();
        }
        world.tables.iter_mut().for_each(|(t, _)| t.clear(&mut world.pool));
        world.cached.iter().for_each(|b| world.pool.uncache(*b));
        prop_assert_eq!(world.pool.free(), BLOCKS as usize);
    }
}

#[test]
fn a_shared_prefix_replaces_own_blocks() {
    let (mut pool, mut copies) = (BlockPool::new(6), Vec::new());
    let mut tables = [BlockTable::new(2), BlockTable::new(2)];
    for table in &mut tables {
        table.reserve(5, &mut pool, &mut copies).unwrap();
        table.advance(5);
    }
    let [mut a, mut b] = tables;
    let shared = a.blocks()[..2].to_vec();
    shared.iter().for_each(|block| pool.retain(*block));
    let tail = b.slot(4);
    b.replace_prefix(&shared, &mut pool);
    assert_eq!((b.slot(0), b.slot(4), b.tokens()), (a.slot(0), tail, 5));
    assert_eq!(pool.free(), 2);
    a.clear(&mut pool);
    b.clear(&mut pool);
    assert_eq!((pool.free(), copies.len()), (6, 0));
}
