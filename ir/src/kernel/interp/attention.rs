//! Attention of a tile by its formula, in f64, rounded once at the end.

use super::contraction::{Base, step};
use super::error::{Fault, Step};
use super::index::Index;
use super::machine::Machine;
use super::program::Action;
use super::value::Access;
use crate::kernel::{Kernel, Sees, TileAttention, TileResult};
use cascata_types::DType;

/// A [`TileAttention`].
pub(super) struct AttentionPlan {
    q: Access,
    k: Access,
    v: Access,
    rows: Index,
    most_rows: i64,
    group: i64,
    index: Option<Access>,
    q_strides: (Index, Index),
    keys: Index,
    key_stride: Index,
    /// Blocks, keys of a block, elements between blocks.
    table: Option<(Access, i64, Index)>,
    sees: SeesPlan,
    scale: f64,
    head_dim: i64,
    result: ResultPlan,
}

enum SeesPlan {
    All,
    UpTo(Index),
    Positions { positions: Access, first: Index, least: Index },
}

enum ResultPlan {
    Output { out: Access, dtype: DType, strides: (Index, Index) },
    State { max: Access, sum: Access, out: Access, token_states: Index },
}

/// `(m, l, o)`.
struct State {
    max: f64,
    sum: f64,
    out: Vec<f64>,
}

impl AttentionPlan {
    pub(super) fn action<'k>(kernel: &Kernel, a: &TileAttention) -> Action<'k> {
        Action::Attention(Box::new(Self::new(kernel, a)))
    }

    fn new(kernel: &Kernel, a: &TileAttention) -> Self {
        let sees = match &a.sees {
            Sees::All => SeesPlan::All,
            Sees::UpTo { first } => SeesPlan::UpTo(Index::new(first)),
            Sees::Positions { positions, first, least } => SeesPlan::Positions {
                positions: Access::new(positions),
                first: Index::new(first),
                least: Index::new(least),
            },
        };
        let result = match &a.result {
            TileResult::Output { out, token_stride, head_stride } => ResultPlan::Output {
                out: Access::new(out),
                dtype: kernel.buffers[out.buffer].dtype,
                strides: (Index::new(token_stride), Index::new(head_stride)),
            },
            TileResult::State { max, sum, out, token_states } => ResultPlan::State {
                max: Access::new(max),
                sum: Access::new(sum),
                out: Access::new(out),
                token_states: Index::new(token_states),
            },
        };
        let table =
            a.keys.table.as_ref().map(|t| {
                (Access::new(&t.blocks), i64::from(t.tokens), Index::new(&t.block_stride))
            });
        Self {
            q: Access::new(&a.q),
            k: Access::new(&a.k),
            v: Access::new(&a.v),
            rows: Index::new(&a.rows.count),
            most_rows: i64::from(a.schedule.rows),
            group: i64::from(a.rows.group),
            index: a.rows.index.as_ref().map(Access::new),
            q_strides: (Index::new(&a.rows.token_stride), Index::new(&a.rows.head_stride)),
            keys: Index::new(&a.keys.count),
            key_stride: Index::new(&a.keys.stride),
            table,
            sees,
            scale: a.scale.to_f64(),
            head_dim: i64::from(a.head_dim),
            result,
        }
    }

    pub(super) fn run(&self, m: &mut Machine) -> Step<()> {
        let rows = m.index(&self.rows)?;
        if rows > self.most_rows {
            return Err(Fault::TileSize { what: "rows", count: rows, most: self.most_rows }.into());
        }
        let bases = (self.k.base(m)?, self.v.base(m)?);
        for row in 0..rows {
            let (tile_token, head) = (row / self.group, row % self.group);
            let token = match &self.index {
                None => tile_token,
                Some(index) => index.base(m)?.load_i32(m, tile_token)?,
            };
            let q = self.query(m, token, head)?;
            let seen = self.seen(m, tile_token, token)?;
            let state = self.state(m, &q, seen, bases)?;
            self.write(m, (tile_token, token, head), &state)?;
        }
        Ok(())
    }

    fn query(&self, m: &mut Machine, token: i64, head: i64) -> Step<Vec<f64>> {
        let (token_stride, head_stride) =
            (m.index(&self.q_strides.0)?, m.index(&self.q_strides.1)?);
        let (base, at) = (self.q.base(m)?, step(step(0, token, token_stride)?, head, head_stride)?);
        (0..self.head_dim).map(|d| base.load(m, step(at, d, 1)?)).collect()
    }

    /// How many keys a row sees.
    fn seen(&self, m: &mut Machine, tile_token: i64, token: i64) -> Step<i64> {
        let keys = m.index(&self.keys)?;
        let last = match &self.sees {
            SeesPlan::All => return Ok(keys),
            SeesPlan::UpTo(first) => step(m.index(first)?, tile_token, 1)?,
            SeesPlan::Positions { positions, first, least } => {
                let position = positions.base(m)?.load_i32(m, token)?;
                let last = step(position, m.index(first)?, -1)?;
                let least = m.index(least)?.clamp(0, keys.max(0));
                let seen = last.saturating_add(1).clamp(0, keys.max(0));
                if seen < least {
                    return Err(Fault::SeesLess { token, keys: seen, least }.into());
                }
                return Ok(seen);
            }
        };
        Ok(last.saturating_add(1).clamp(0, keys.max(0)))
    }

    /// Where a key begins behind key 0's base.
    fn key(&self, m: &mut Machine, key: i64) -> Step<i64> {
        let stride = m.index(&self.key_stride)?;
        let Some((blocks, tokens, block_stride)) = &self.table else {
            return step(0, key, stride);
        };
        let block = blocks.base(m)?.load_i32(m, key / tokens)?;
        step(step(0, block, m.index(block_stride)?)?, key % tokens, stride)
    }

    fn state(&self, m: &mut Machine, q: &[f64], seen: i64, (k, v): (Base, Base)) -> Step<State> {
        let mut scores = Vec::new();
        for key in 0..seen {
            let (at, mut dot) = (self.key(m, key)?, 0.0);
            for (d, x) in (0..).zip(q) {
                dot += x * k.load(m, step(at, d, 1)?)?;
            }
            scores.push(dot * self.scale);
        }
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, crate::scalar::max_f64);
        let mut state = State { max, sum: 0.0, out: vec![0.0; q.len()] };
        if max == f64::NEG_INFINITY {
            return Ok(state);
        }
        for (key, score) in (0..).zip(scores) {
            let (at, weight) = (self.key(m, key)?, (score - max).exp());
            state.sum += weight;
            for (d, o) in (0..).zip(&mut state.out) {
                *o += weight * v.load(m, step(at, d, 1)?)?;
            }
        }
        Ok(state)
    }

    fn write(
        &self,
        m: &mut Machine,
        (tile_token, token, head): (i64, i64, i64),
        state: &State,
    ) -> Step<()> {
        match &self.result {
            ResultPlan::Output { out, dtype, strides } => {
                let (token_stride, head_stride) = (m.index(&strides.0)?, m.index(&strides.1)?);
                let at = step(step(0, token, token_stride)?, head, head_stride)?;
                let base = out.base(m)?;
                for (d, o) in (0..).zip(&state.out) {
                    let x = if state.sum == 0.0 { 0.0 } else { o / state.sum };
                    base.store(m, step(at, d, 1)?, *dtype, x)?;
                }
            }
            ResultPlan::State { max, sum, out, token_states } => {
                let number = step(head, tile_token, m.index(token_states)?)?;
                max.base(m)?.store_f32(m, number, state.max)?;
                sum.base(m)?.store_f32(m, number, state.sum)?;
                let (base, at) = (out.base(m)?, step(0, number, self.head_dim)?);
                for (d, o) in (0..).zip(&state.out) {
                    base.store_f32(m, step(at, d, 1)?, *o)?;
                }
            }
        }
        Ok(())
    }
}
