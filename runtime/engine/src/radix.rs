//! The radix tree over token ids: it finds shared prefixes by itself (SGLang's
//! RadixAttention, arXiv 2312.07104, §3).
//!
//! Edges are whole blocks: nodes split at block borders only, as a block is what sequences
//! can share and what the attention kernel reads at once. Within a block the longest common
//! prefix is still found, and is worth a copy of that many tokens in place of computing
//! them. So matching is exact to the token and sharing is exact to the block.
//!
//! The last block of a leaf may be part full: it is what a finished sequence leaves behind,
//! a copy source for whoever continues it, and gives way to a full block with the same start.
//!
//! Eviction takes blocks from the end of the least recently used leaf that no sequence holds.
//! Time is a counter of operations, so everything here is deterministic.

use cascata_kv::{BlockId, BlockPool, BlockTable};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

type NodeId = usize;
const ROOT: NodeId = 0;

#[derive(Debug, Default)]
struct Node {
    parent: NodeId,
    tokens: Vec<u32>,
    blocks: Vec<BlockId>,
    /// By the tokens of the child's first block. Sorted, so the longest common prefix with
    /// some tokens is that of their neighbour.
    children: BTreeMap<Box<[u32]>, NodeId>,
    last_used: u64,
}

/// Prefixes of sequences that are in the cache.
#[derive(Debug)]
pub struct RadixTree {
    block_tokens: usize,
    nodes: Vec<Node>,
    unused: Vec<NodeId>,
    /// Leaves by their last use.
    leaves: BTreeSet<(u64, NodeId)>,
    clock: u64,
    blocks: usize,
}

/// What the tree has of a sequence.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Full blocks from the first token on.
    pub blocks: Vec<BlockId>,
    /// A block with further tokens, to be copied, and how many.
    pub partial: Option<(BlockId, usize)>,
}

/// Where a walk along the tokens ended.
struct Walk {
    node: NodeId,
    /// Blocks of the node that matched; all of them unless the walk ended inside.
    inside: usize,
    found: Match,
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

impl RadixTree {
    /// An empty tree.
    pub fn new(block_tokens: u32) -> Self {
        Self {
            block_tokens: block_tokens.max(1) as usize,
            nodes: vec![Node::default()],
            unused: Vec::new(),
            leaves: BTreeSet::new(),
            clock: 0,
            blocks: 0,
        }
    }

    /// Blocks that the tree holds.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// The longest prefix of `tokens` that is in the cache. The blocks stay the tree's.
    pub fn find(&mut self, tokens: &[u32]) -> Match {
        let walk = self.walk(tokens);
        self.touch(walk.node);
        walk.found
    }

    /// How many tokens of full blocks [`RadixTree::find`] would give, without using them.
    pub fn matched(&self, tokens: &[u32]) -> usize {
        self.walk(tokens).found.blocks.len() * self.block_tokens
    }

    fn walk(&self, tokens: &[u32]) -> Walk {
        let size = self.block_tokens;
        let mut walk = Walk { node: ROOT, inside: 0, found: Match::default() };
        let mut rest = tokens;
        loop {
            let node = &self.nodes[walk.node];
            let next = rest.get(..size).and_then(|key| node.children.get(key));
            let Some(&child) = next else {
                walk.found.partial = self.best_child(walk.node, rest);
                return walk;
            };
            let node = &self.nodes[child];
            let full = common(&node.tokens, rest) / size;
            walk.found.blocks.extend(&node.blocks[..full]);
            walk = Walk { node: child, inside: full, ..walk };
            rest = &rest[full * size..];
            if full < node.blocks.len() {
                let beyond = common(&node.tokens[full * size..], rest);
                walk.found.partial = (beyond > 0).then(|| (node.blocks[full], beyond));
                return walk;
            }
        }
    }

    /// The child whose first block has the longest start in common with these tokens.
    fn best_child(&self, node: NodeId, tokens: &[u32]) -> Option<(BlockId, usize)> {
        let children = &self.nodes[node].children;
        let key = &tokens[..tokens.len().min(self.block_tokens)];
        let before = children.range::<[u32], _>((Unbounded, Included(key))).next_back();
        let after = children.range::<[u32], _>((Excluded(key), Unbounded)).next();
        let both = before.into_iter().chain(after);
        let best = both.map(|(k, child)| (common(k, key), *child)).max_by_key(|(n, _)| *n);
        best.filter(|(n, _)| *n > 0).map(|(n, child)| (self.nodes[child].blocks[0], n))
    }

    /// Puts a sequence's computed tokens into the tree. Blocks that the tree has already take
    /// the place of the table's own ones. A part-full last block goes in if `whole` says so:
    /// then the table must not be written to any more.
    pub fn insert(
        &mut self,
        tokens: &[u32],
        table: &mut BlockTable,
        whole: bool,
        pool: &mut BlockPool,
    ) {
        let full = table.tokens() / self.block_tokens * self.block_tokens;
        let walk = self.walk(&tokens[..full]);
        walk.found.blocks.iter().for_each(|b| pool.retain(*b));
        table.replace_prefix(&walk.found.blocks, pool);
        let end = if whole { table.tokens() } else { full };
        let start = walk.found.blocks.len() * self.block_tokens;
        let mut node = walk.node;
        if end > start && !self.covers(&walk, &tokens[start..end]) {
            self.drop_partial_tail(&walk, &tokens[start..end], pool);
            let blocks =
                table.blocks()[walk.found.blocks.len()..end.div_ceil(self.block_tokens)].to_vec();
            blocks.iter().for_each(|b| pool.cache(*b));
            self.blocks += blocks.len();
            node = self.split(walk.node, walk.inside);
            node = self.append(node, &tokens[start..end], blocks);
        }
        self.touch(node);
    }

    /// Whether less than a block is left and the tree has these tokens.
    fn covers(&self, walk: &Walk, rest: &[u32]) -> bool {
        let node = &self.nodes[walk.node];
        let found = if walk.inside < node.blocks.len() {
            common(&node.tokens[walk.inside * self.block_tokens..], rest)
        } else {
            self.best_child(walk.node, rest).map_or(0, |(_, n)| n)
        };
        found == rest.len()
    }

    /// Removes a part-full block that the new tokens begin with: they are worth more.
    fn drop_partial_tail(&mut self, walk: &Walk, rest: &[u32], pool: &mut BlockPool) {
        let size = self.block_tokens;
        let inside = &self.nodes[walk.node];
        let tail = if walk.inside < inside.blocks.len() {
            Some(walk.node)
        } else {
            let key = &rest[..rest.len().min(size)];
            let before = inside.children.range::<[u32], _>((Unbounded, Included(key))).next_back();
            before.map(|(_, child)| *child)
        };
        let Some(leaf) = tail else { return };
        let from = if leaf == walk.node { walk.inside } else { 0 };
        let tokens = &self.nodes[leaf].tokens[from * size..];
        if tokens.len() < size && rest.starts_with(tokens) {
            self.pop_block(leaf, pool);
            if self.nodes[leaf].blocks.is_empty() {
                self.remove(leaf);
            }
        }
    }

    /// Cuts a node after `inside` blocks and gives the upper part.
    fn split(&mut self, lower: NodeId, inside: usize) -> NodeId {
        if inside >= self.nodes[lower].blocks.len() {
            return lower;
        }
        let size = self.block_tokens;
        let (parent, key) = (self.nodes[lower].parent, self.key(lower));
        let node = &mut self.nodes[lower];
        let tokens: Vec<u32> = node.tokens.drain(..inside * size).collect();
        let blocks: Vec<BlockId> = node.blocks.drain(..inside).collect();
        let last_used = node.last_used;
        let lower_key = self.key(lower);
        let children = BTreeMap::from([(lower_key, lower)]);
        let upper = self.add(Node { parent, tokens, blocks, children, last_used });
        self.nodes[lower].parent = upper;
        self.nodes[parent].children.insert(key, upper);
        upper
    }

    /// Adds tokens below a node, or to it if it is a leaf, and gives the node that has them.
    fn append(&mut self, node: NodeId, tokens: &[u32], blocks: Vec<BlockId>) -> NodeId {
        if node != ROOT && self.nodes[node].children.is_empty() {
            self.nodes[node].tokens.extend(tokens);
            self.nodes[node].blocks.extend(blocks);
            return node;
        }
        let last_used = self.clock;
        let tokens = tokens.to_vec();
        let leaf =
            self.add(Node { parent: node, tokens, blocks, children: BTreeMap::new(), last_used });
        self.leaves.insert((last_used, leaf));
        let key = self.key(leaf);
        self.nodes[node].children.insert(key, leaf);
        leaf
    }

    fn add(&mut self, node: Node) -> NodeId {
        let Some(id) = self.unused.pop() else {
            self.nodes.push(node);
            return self.nodes.len() - 1;
        };
        self.nodes[id] = node;
        id
    }

    fn key(&self, node: NodeId) -> Box<[u32]> {
        let tokens = &self.nodes[node].tokens;
        tokens[..tokens.len().min(self.block_tokens)].into()
    }

    fn is_leaf(&self, node: NodeId) -> bool {
        node != ROOT && self.nodes[node].children.is_empty()
    }

    /// Marks a node and all above it as used now.
    fn touch(&mut self, node: NodeId) {
        self.clock += 1;
        let mut at = node;
        while at != ROOT {
            if self.leaves.remove(&(self.nodes[at].last_used, at)) {
                self.leaves.insert((self.clock, at));
            }
            self.nodes[at].last_used = self.clock;
            at = self.nodes[at].parent;
        }
    }

    /// Frees up to `wanted` blocks that no sequence holds, and says how many.
    pub fn evict(&mut self, wanted: usize, pool: &mut BlockPool) -> usize {
        let (mut freed, mut from) = (0, (0, ROOT));
        while freed < wanted {
            let Some(&(used, leaf)) = self.leaves.range(from..).next() else { break };
            while freed < wanted && self.last_block_is_evictable(leaf, pool) {
                self.pop_block(leaf, pool);
                freed += 1;
            }
            from = (used, leaf + 1);
            if self.nodes[leaf].blocks.is_empty() {
                let parent = self.remove(leaf);
                // A parent that is a leaf now may come before this place.
                if self.is_leaf(parent) {
                    from = from.min((self.nodes[parent].last_used, parent));
                }
            }
        }
        freed
    }

    fn last_block_is_evictable(&self, leaf: NodeId, pool: &BlockPool) -> bool {
        self.nodes[leaf].blocks.last().is_some_and(|b| pool.is_evictable(*b))
    }

    fn pop_block(&mut self, leaf: NodeId, pool: &mut BlockPool) {
        let node = &mut self.nodes[leaf];
        if let Some(block) = node.blocks.pop() {
            // The key of a node that is about to go is needed once more.
            if !node.blocks.is_empty() {
                node.tokens.truncate(node.blocks.len() * self.block_tokens);
            }
            pool.uncache(block);
            self.blocks -= 1;
        }
    }

    /// Removes a leaf without blocks and gives its parent.
    fn remove(&mut self, leaf: NodeId) -> NodeId {
        let key = self.key(leaf);
        let node = std::mem::take(&mut self.nodes[leaf]);
        self.leaves.remove(&(node.last_used, leaf));
        self.nodes[node.parent].children.remove(&key);
        self.unused.push(leaf);
        if self.is_leaf(node.parent) {
            self.leaves.insert((self.nodes[node.parent].last_used, node.parent));
        }
        node.parent
    }

    /// Lets every block go.
    pub fn clear(&mut self, pool: &mut BlockPool) {
        for node in &mut self.nodes {
            node.blocks.drain(..).for_each(|b| pool.uncache(b));
        }
        *self = Self::new(self.block_tokens as u32);
    }
}
