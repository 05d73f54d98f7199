//! `tile_attention { q: %q[0], … }`, fields in any order.

use super::block::Fields;
use super::{ParseError, Parser};
use crate::kernel::{
    BlockTable, Sees, Stmt, TileAttention, TileKeys, TileResult, TileRows, TileSchedule,
};

/// Fields that hold a place.
pub(super) const PLACES: [&str; 9] =
    ["q", "k", "v", "index", "blocks", "positions", "out", "max", "sum"];

impl<'a> Parser<'a> {
    pub(super) fn tile_attention(&mut self) -> Result<Stmt, ParseError> {
        let f = &mut self.fields("tile_attention")?;
        let attention = TileAttention {
            q: self.take_place(f, "q")?,
            k: self.take_place(f, "k")?,
            v: self.take_place(f, "v")?,
            rows: self.tile_rows(f)?,
            keys: self.tile_keys(f)?,
            sees: self.sees(f)?,
            scale: self.take_scalar(f, "scale")?,
            head_dim: self.take_count(f, "head_dim")?,
            result: self.tile_result(f)?,
            schedule: TileSchedule {
                rows: self.take_count(f, "tile_rows")?,
                keys: self.take_count(f, "tile_keys")?,
                warps: self.take_count(f, "warps")?,
                stages: self.take_count(f, "stages")?,
                ahead: self.take_flag(f, "ahead")?,
                wgmma: self.take_flag(f, "wgmma")?,
            },
        };
        self.end(f)?;
        Ok(Stmt::TileAttention(Box::new(attention)))
    }

    fn tile_rows(&self, f: &mut Fields) -> Result<TileRows, ParseError> {
        Ok(TileRows {
            count: self.take_dim(f, "rows")?,
            group: self.take_count(f, "group")?,
            index: f.has("index").then(|| self.take_place(f, "index")).transpose()?,
            token_stride: self.take_dim(f, "q_token_stride")?,
            head_stride: self.take_dim(f, "q_head_stride")?,
        })
    }

    fn tile_keys(&self, f: &mut Fields) -> Result<TileKeys, ParseError> {
        let (count, stride) = (self.take_dim(f, "keys")?, self.take_dim(f, "key_stride")?);
        let table = |f: &mut Fields| {
            Ok(BlockTable {
                blocks: self.take_place(f, "blocks")?,
                tokens: self.take_count(f, "block_tokens")?,
                block_stride: self.take_dim(f, "block_stride")?,
            })
        };
        let table = f.has("blocks").then(|| table(f)).transpose()?;
        Ok(TileKeys { count, stride, table })
    }

    fn sees(&self, f: &mut Fields) -> Result<Sees, ParseError> {
        if f.has("up_to") {
            return Ok(Sees::UpTo { first: self.take_dim(f, "up_to")? });
        }
        if !f.has("positions") {
            return Ok(Sees::All);
        }
        Ok(Sees::Positions {
            positions: self.take_place(f, "positions")?,
            first: self.take_dim(f, "first_key")?,
            least: self.take_dim(f, "least")?,
        })
    }

    fn tile_result(&self, f: &mut Fields) -> Result<TileResult, ParseError> {
        let out = self.take_place(f, "out")?;
        if f.has("max") {
            return Ok(TileResult::State {
                max: self.take_place(f, "max")?,
                sum: self.take_place(f, "sum")?,
                out,
                token_states: self.take_dim(f, "token_states")?,
            });
        }
        Ok(TileResult::Output {
            out,
            token_stride: self.take_dim(f, "token_stride")?,
            head_stride: self.take_dim(f, "head_stride")?,
        })
    }
}
