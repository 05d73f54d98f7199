//! The prefix forest of a step as a list of work for one attention kernel.
//!
//! A *lane* is one path through the cache: a sequence, or one branch of its draft. Lanes
//! whose tables start with the same blocks share them. An item is a maximal run of tiles
//! that the same lanes read, with the rows of all of them; every block of every lane is in
//! exactly one item, so it is read once per step, for any depth, group sizes and mixture.
//!
//! Items are in preorder: a row meets its tiles from left to right. A kernel that keeps a
//! row's state `(m, l, o)` from item to item and merges tile after tile adds the same
//! numbers in the same order whether or not the tiles are shared; items that are not
//! ancestors of one another have no row in common.
//!
//! Cost: sorting the lanes by their blocks, then one comparison for each tile of the first
//! and the last lane of each item: for `n` lanes of `t` tiles O(n·log n·t) at worst.

use crate::pool::BlockId;
use std::ops::Range;

/// One path through the cache and its rows, ascending in position.
#[derive(Clone, Copy, Debug)]
pub struct Lane<'a> {
    /// Block `i` holds positions from `i · block_tokens` on; cut after the last row's block.
    pub blocks: &'a [BlockId],
    /// Rows of the batch.
    pub rows: &'a [u32],
}

/// A run of tiles and the rows that read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkItem {
    /// The first tile's number: its first key's position divided by the tokens of a block.
    pub first_tile: u32,
    /// Range of [`WorkList::blocks`], one tile after the other.
    pub blocks: Range<u32>,
    /// Range of [`WorkList::rows`]. A row reads the keys up to its own position; it may read
    /// fewer tiles than the item has, and reads one at least.
    pub rows: Range<u32>,
    /// How many items lie between this one and its root.
    pub depth: u32,
}

/// What attention reads in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkList {
    /// In preorder.
    pub items: Vec<WorkItem>,
    /// Blocks of all items.
    pub blocks: Vec<BlockId>,
    /// Rows of all items.
    pub rows: Vec<u32>,
}

impl WorkList {
    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.items.clear();
        self.blocks.clear();
        self.rows.clear();
    }

    /// An item's blocks.
    pub fn blocks_of(&self, item: &WorkItem) -> &[BlockId] {
        &self.blocks[item.blocks.start as usize..item.blocks.end as usize]
    }

    /// An item's rows.
    pub fn rows_of(&self, item: &WorkItem) -> &[u32] {
        &self.rows[item.rows.start as usize..item.rows.end as usize]
    }
}

/// Makes work lists, and keeps the memory that this takes.
#[derive(Debug, Default)]
pub struct WorkBuilder {
    order: Vec<u32>,
    open: Vec<Group>,
}

/// Lanes that share their first `tiles` tiles.
#[derive(Debug)]
struct Group {
    lanes: Range<usize>,
    tiles: usize,
    depth: u32,
}

impl WorkBuilder {
    /// The work list of these lanes. A block must not be in two lanes whose blocks before it
    /// differ: it would be in two items.
    pub fn build(
        &mut self,
        lanes: &[Lane<'_>],
        positions: &[u32],
        block_tokens: u32,
        out: &mut WorkList,
    ) {
        out.clear();
        self.order.clear();
        self.order.extend(0..lanes.len() as u32);
        // The lane's number makes the order, and so the list, depend on nothing else.
        self.order.sort_unstable_by_key(|&i| (lanes[i as usize].blocks, i));
        self.open.clear();
        let mut cx = Cx { lanes, positions, block_tokens, out };
        self.split(&cx, Group { lanes: 0..lanes.len(), tiles: 0, depth: 0 });
        while let Some(group) = self.open.pop() {
            let tiles = self.common(&cx, &group);
            cx.emit(&self.order[group.lanes.clone()], group.tiles, tiles, group.depth);
            let depth = group.depth + 1;
            self.split(&cx, Group { tiles, depth, ..group });
        }
    }

    /// How many tiles all lanes of the group share. They are sorted, so the first and the
    /// last one differ first.
    fn common(&self, cx: &Cx<'_>, group: &Group) -> usize {
        let first = cx.blocks(self.order[group.lanes.start]);
        let last = cx.blocks(self.order[group.lanes.end - 1]);
        let rest = first[group.tiles..].iter().zip(&last[group.tiles..]);
        group.tiles + rest.take_while(|(a, b)| a == b).count()
    }

    /// Opens the groups that differ in the next tile, the first one on top.
    fn split(&mut self, cx: &Cx<'_>, group: Group) {
        let next = |lane: u32| cx.blocks(lane).get(group.tiles);
        let mut end = group.lanes.end;
        while end > group.lanes.start {
            let tile = next(self.order[end - 1]);
            let others = self.order[group.lanes.start..end].iter().rev();
            let start = end - others.take_while(|&&l| next(l) == tile).count();
            if tile.is_some() {
                self.open.push(Group { lanes: start..end, ..group });
            }
            end = start;
        }
    }
}

struct Cx<'a> {
    lanes: &'a [Lane<'a>],
    positions: &'a [u32],
    block_tokens: u32,
    out: &'a mut WorkList,
}

impl<'a> Cx<'a> {
    fn blocks(&self, lane: u32) -> &'a [BlockId] {
        self.lanes[lane as usize].blocks
    }

    fn emit(&mut self, lanes: &[u32], from: usize, to: usize, depth: u32) {
        let (blocks, rows) = (self.out.blocks.len() as u32, self.out.rows.len() as u32);
        let first_position = from as u32 * self.block_tokens;
        for &lane in lanes {
            let sees = |row: &&u32| self.positions[**row as usize] >= first_position;
            self.out.rows.extend(self.lanes[lane as usize].rows.iter().filter(sees));
        }
        if self.out.rows.len() as u32 == rows {
            return;
        }
        self.out.blocks.extend(&self.blocks(lanes[0])[from..to]);
        self.out.items.push(WorkItem {
            first_tile: from as u32,
            blocks: blocks..self.out.blocks.len() as u32,
            rows: rows..self.out.rows.len() as u32,
            depth,
        });
    }
}
