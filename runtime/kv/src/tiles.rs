//! A work list cut into tiles for a GPU's blocks.
//!
//! An item with many rows becomes *wide* tiles: some of its rows and some of its keys, as many
//! as fill the GPU; an item with few rows becomes *narrow* tiles. Each tile gives a state
//! `(m, l, o)` for each of its rows; a row's states, in the order of its list, merge from left
//! to right by position. The numbers are those that `codegen`'s attention kernels read.
//!
//! Cost: O(tiles + rows of tiles).

use crate::work::{WorkItem, WorkList};

/// Numbers of a tile: position of its first key; keys; its first entry in the work list's
/// blocks; its first entry in the work list's rows; rows; its first state; keys that every
/// one of its rows sees.
pub type Tile = [i32; 7];

/// How items are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Items of as many rows or more are wide.
    pub wide_from: u32,
    /// Rows of a wide tile and of a narrow one, at most.
    pub rows: [u32; 2],
    /// Cache blocks of a wide tile and of a narrow one, at most.
    pub blocks: [u32; 2],
}

/// Tiles of one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TileList {
    /// Tiles of many rows.
    pub wide: Vec<Tile>,
    /// Tiles of few rows.
    pub narrow: Vec<Tile>,
    /// How many states the tiles give.
    pub states: u32,
    /// Row `r` has the states `parts[starts[r]..starts[r + 1]]`, from left to right.
    pub starts: Vec<i32>,
    /// States of all rows.
    pub parts: Vec<i32>,
    /// The row of each state.
    of_row: Vec<u32>,
}

impl TileList {
    /// The tiles of a work list whose rows have these positions.
    pub fn build(&mut self, work: &WorkList, positions: &[u32], block_tokens: u32, cut: Cut) {
        self.wide.clear();
        self.narrow.clear();
        self.of_row.clear();
        self.states = 0;
        for item in &work.items {
            self.item(work, item, positions, block_tokens, cut);
        }
        self.lists(positions.len());
    }

    /// Ranges of keys of a row follow each other, so its states come in order of position.
    fn item(
        &mut self,
        work: &WorkList,
        item: &WorkItem,
        positions: &[u32],
        block_tokens: u32,
        cut: Cut,
    ) {
        let rows = work.rows_of(item);
        let narrow = usize::from((rows.len() as u32) < cut.wide_from);
        let (most_rows, most_blocks) = (cut.rows[narrow].max(1), cut.blocks[narrow].max(1));
        let blocks = item.blocks.end - item.blocks.start;
        let pieces = blocks.div_ceil(most_blocks);
        for piece in 0..pieces {
            // As equal as can be.
            let [from, to] = [piece, piece + 1].map(|p| blocks * p / pieces);
            let first = (item.first_tile + from) * block_tokens;
            for (i, tile_rows) in rows.chunks(most_rows as usize).enumerate() {
                let ends = tile_rows.iter().map(|r| positions[*r as usize] + 1);
                let seen = |end: u32| end.saturating_sub(first).min((to - from) * block_tokens);
                let (least, most) =
                    ends.fold((u32::MAX, 0), |(a, b), end| (a.min(seen(end)), b.max(seen(end))));
                if most == 0 {
                    continue;
                }
                let row_at = item.rows.start + i as u32 * most_rows;
                let block_at = item.blocks.start + from;
                let count = tile_rows.len() as u32;
                let tile = [first, most, block_at, row_at, count, self.states, least];
                let list = if narrow == 1 { &mut self.narrow } else { &mut self.wide };
                list.push(tile.map(|x| x as i32));
                self.of_row.extend(tile_rows);
                self.states += count;
            }
        }
    }

    /// The states of each row, in their order.
    fn lists(&mut self, rows: usize) {
        self.starts.clear();
        self.starts.resize(rows + 1, 0);
        self.of_row.iter().for_each(|r| self.starts[*r as usize + 1] += 1);
        (0..rows).for_each(|r| self.starts[r + 1] += self.starts[r]);
        self.parts.clear();
        self.parts.resize(self.of_row.len(), 0);
        let mut next = self.starts.clone();
        for (state, row) in self.of_row.iter().enumerate() {
            let at = &mut next[*row as usize];
            self.parts[*at as usize] = state as i32;
            *at += 1;
        }
    }
}
