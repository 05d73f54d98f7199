//! The radix tree against a list of all sequences that went into it.

use cascata_engine::RadixTree;
use cascata_kv::{BlockId, BlockPool, BlockTable};
use proptest::prelude::*;
use std::collections::HashMap;

const BLOCK_TOKENS: usize = 3;
const BLOCKS: usize = 400;

#[derive(Clone, Debug)]
enum Act {
    /// Tokens, and whether they are finished: then the last block may be part full, and the
    /// table is given up.
    Insert(Vec<u32>, bool),
    Find(Vec<u32>),
    Evict(usize),
    /// Gives a held table up.
    Release(usize),
}

fn tokens() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0..2u32, 1..16)
}

fn act(evict: bool) -> impl Strategy<Value = Act> {
    let evictions = u32::from(evict);
    prop_oneof![
        4 => (tokens(), any::<bool>()).prop_map(|(t, w)| Act::Insert(t, w)),
        4 => tokens().prop_map(Act::Find),
        evictions => (1..8usize).prop_map(Act::Evict),
        1 => (0..8usize).prop_map(Act::Release),
    ]
}

struct World {
    tree: RadixTree,
    pool: BlockPool,
    held: Vec<BlockTable>,
    /// What is in each block.
    memory: HashMap<BlockId, Vec<u32>>,
    /// What went in, cut to what counts.
    inserted: Vec<Vec<u32>>,
}

impl World {
    fn new() -> Self {
        Self {
            tree: RadixTree::new(BLOCK_TOKENS as u32),
            pool: BlockPool::new(BLOCKS as u32),
            held: Vec::new(),
            memory: HashMap::new(),
            inserted: Vec::new(),
        }
    }

    fn insert(&mut self, tokens: &[u32], whole: bool) {
        let mut table = BlockTable::new(BLOCK_TOKENS as u32);
        table.reserve(tokens.len(), &mut self.pool, &mut Vec::new()).expect("room");
        table.advance(tokens.len());
        for (block, tokens) in table.blocks().iter().zip(tokens.chunks(BLOCK_TOKENS)) {
            self.memory.insert(*block, tokens.to_vec());
        }
        self.tree.insert(tokens, &mut table, whole, &mut self.pool);
        for (block, tokens) in table.blocks().iter().zip(tokens.chunks(BLOCK_TOKENS)) {
            assert!(self.memory[block].starts_with(tokens), "the table has the same tokens");
        }
        let end = if whole { tokens.len() } else { tokens.len() / BLOCK_TOKENS * BLOCK_TOKENS };
        self.inserted.push(tokens[..end].to_vec());
        if whole {
            table.clear(&mut self.pool);
        } else {
            self.held.push(table);
        }
    }

    /// The tokens that the tree has of these, which must be what its blocks hold.
    fn find(&mut self, tokens: &[u32]) -> usize {
        let found = self.tree.find(tokens);
        for (block, want) in found.blocks.iter().zip(tokens.chunks(BLOCK_TOKENS)) {
            assert_eq!(self.memory[block], want);
        }
        let full = found.blocks.len() * BLOCK_TOKENS;
        assert_eq!(self.tree.matched(tokens), full);
        let Some((block, more)) = found.partial else { return full };
        assert!(more > 0 && more <= BLOCK_TOKENS);
        assert_eq!(self.memory[&block][..more], tokens[full..full + more]);
        full + more
    }

    fn longest(&self, tokens: &[u32]) -> usize {
        let common = |i: &Vec<u32>| i.iter().zip(tokens).take_while(|(a, b)| a == b).count();
        self.inserted.iter().map(common).max().unwrap_or(0)
    }

    fn apply(&mut self, act: &Act, exact: bool) {
        match act {
            Act::Insert(tokens, whole) => self.insert(tokens, *whole),
            Act::Find(tokens) => {
                let (found, longest) = (self.find(tokens), self.longest(tokens));
                assert!(
                    if exact { found == longest } else { found <= longest },
                    "{found} {longest}"
                );
            }
            Act::Evict(wanted) => {
                let (free, evictable) = (self.pool.free(), self.pool.evictable());
                let freed = self.tree.evict(*wanted, &mut self.pool);
                assert_eq!(freed, evictable.min(*wanted), "all that nobody holds can go");
                assert_eq!(self.pool.free(), free + freed);
            }
            Act::Release(at) if *at < self.held.len() => {
                self.held.swap_remove(*at).clear(&mut self.pool);
            }
            Act::Release(_) => {}
        }
        // Tables that run keep reading what they wrote.
        for table in &self.held {
            assert!(table.blocks().iter().all(|b| self.pool.holders(*b) > 0));
        }
    }

    fn end(mut self) {
        self.held.iter_mut().for_each(|t| t.clear(&mut self.pool));
        let blocks = self.tree.blocks();
        assert_eq!(self.pool.evictable(), blocks);
        assert_eq!(self.tree.evict(BLOCKS, &mut self.pool), blocks);
        assert_eq!((self.pool.free(), self.tree.blocks()), (BLOCKS, 0));
    }
}

proptest! {
    #[test]
    fn the_longest_prefix_is_found(acts in prop::collection::vec(act(false), 1..60)) {
        let mut world = World::new();
        acts.iter().for_each(|act| world.apply(act, true));
        world.end();
    }

    #[test]
    fn eviction_frees_what_nobody_holds(acts in prop::collection::vec(act(true), 1..60)) {
        let mut world = World::new();
        acts.iter().for_each(|act| world.apply(act, false));
        world.end();
    }
}

#[test]
fn equal_blocks_are_kept_once() {
    let mut world = World::new();
    for _ in 0..3 {
        world.insert(&[1, 2, 3, 4, 5, 6, 7], false);
    }
    assert_eq!(world.tree.blocks(), 2);
    assert_eq!(world.pool.free(), BLOCKS - 2 - 3, "each has a tail of its own");
    world.end();
}

#[test]
fn of_tails_with_one_start_the_longest_is_kept() {
    let mut world = World::new();
    for (tokens, blocks) in [
        (&[1, 1, 1, 2][..], 2),
        (&[1, 1, 1, 2, 3], 2),
        (&[1, 1, 1, 2], 2),
        (&[1, 1, 1, 2, 4], 3),
        (&[1, 1, 1, 2, 3, 5], 3),
        (&[1, 1, 1, 2, 3], 3),
        (&[1, 1, 1, 2, 3, 5, 6], 4),
    ] {
        world.insert(tokens, true);
        assert_eq!(world.tree.blocks(), blocks, "{tokens:?}");
        assert_eq!(world.find(tokens), tokens.len());
    }
    world.end();
}

#[test]
fn the_least_recently_used_leaf_loses_its_end_first() {
    let mut world = World::new();
    let (a, b) = ([1, 1, 1, 2, 2, 2, 3, 3, 3], [1, 1, 1, 4, 4, 4, 5, 5, 5]);
    world.insert(&a, true);
    world.insert(&b, true);
    world.find(&a);
    assert_eq!(world.tree.evict(1, &mut world.pool), 1);
    assert_eq!((world.find(&b), world.find(&a)), (6, 9));
    assert_eq!(world.tree.evict(3, &mut world.pool), 3);
    assert_eq!((world.find(&b), world.find(&a)), (3, 3));
    world.end();
}
