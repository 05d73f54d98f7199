//! A session as the engine's model.
//!
//! Why: an entry that takes keys and values of earlier tokens as inputs runs today. Each
//! sequence of a step runs by itself: its tiles are gathered into those inputs, and what the
//! run adds goes back to the cache.
//! Cost: beside the run, a copy of the sequence's keys and values, twice; a shared prefix is
//! stored once but read by each sequence. A kernel that reads the tiles in place does away
//! with both.

use super::TextError;
use super::rows::{Rows, by_sequence};
use crate::engine::{Model, ModelError, ModelSpec};
use crate::kv::{BlockId, KvStore, StepBatch, Tile};
use crate::{DType, Session, Tensor, TensorView};
use cascata_artifact::manifest::Port;
use cascata_types::Dim;

/// A decoder's session: `input_ids i64[B,S]`, `past_key.N` and `past_value.N f32[B,G,P,D]` in,
/// `logits f32[B,S or 1,V]`, `present_key.N` and `present_value.N f32[B,G,P+S,D]` out.
pub struct SessionModel {
    session: Session,
    spec: ModelSpec,
    /// Where the outputs are: logits, then keys and values of each layer.
    logits: usize,
    present: Vec<[usize; 2]>,
}

pub(super) fn no(reason: impl Into<String>) -> TextError {
    TextError::NoDecoder(reason.into())
}

pub(super) fn shape<'p>(ports: &'p [Port], name: &str) -> Result<&'p [Dim], TextError> {
    let port = ports.iter().find(|p| p.name == name);
    let ty = port.and_then(|p| p.ty.as_tensor()).ok_or_else(|| no(format!("no '{name}'")))?;
    Ok(&ty.shape)
}

pub(super) fn size(shape: &[Dim], axis: usize, name: &str) -> Result<u32, TextError> {
    let size = shape.get(axis).and_then(Dim::as_const).and_then(|n| u32::try_from(n).ok());
    size.ok_or_else(|| no(format!("axis {axis} of '{name}' has no fixed size")))
}

pub(super) fn position(ports: &[Port], name: &str) -> Result<usize, TextError> {
    ports.iter().position(|p| p.name == name).ok_or_else(|| no(format!("no output '{name}'")))
}

impl SessionModel {
    /// A session of an artifact that was compiled with `--kv-cache`.
    ///
    /// # Errors
    /// It has other inputs and outputs.
    pub fn new(session: Session) -> Result<Self, TextError> {
        let (inputs, outputs) = (session.inputs(), session.outputs());
        let ids = shape(inputs, "input_ids")?;
        let past = shape(inputs, "past_key.0")?;
        let is_past = |p: &&Port| p.name.starts_with("past_key.");
        let layers = inputs.iter().filter(is_past).count() as u32;
        let longest = ids.get(1).map_or(0, |d| d.bounds(&session.entry().symbols).1);
        let spec = ModelSpec {
            layers,
            kv_heads: size(past, 1, "past_key.0")?,
            head_dim: size(past, 3, "past_key.0")?,
            vocab: size(shape(outputs, "logits")?, 2, "logits")?,
            max_context: u32::try_from(longest).unwrap_or(u32::MAX),
        };
        let logits = position(outputs, "logits")?;
        let present = (0..layers)
            .map(|i| {
                let [k, v] = ["key", "value"].map(|kind| format!("present_{kind}.{i}"));
                Ok([position(outputs, &k)?, position(outputs, &v)?])
            })
            .collect::<Result<_, TextError>>()?;
        Ok(Self { session, spec, logits, present })
    }

    /// Keys (`0`) or values (`1`) of the first tokens of a sequence, `f32[1,G,P,D]`.
    fn gather(
        &self,
        kv: &KvStore,
        blocks: &[BlockId],
        past: usize,
        (layer, kind): (usize, usize),
    ) -> Vec<f32> {
        let tokens = kv.layout().block_tokens as usize;
        let depth = self.spec.head_dim as usize;
        let mut out = vec![0.0; self.spec.kv_heads as usize * past * depth];
        for (row, numbers) in out.chunks_exact_mut(depth).enumerate() {
            let (head, at) = (row / past, row % past);
            let block = blocks[at / tokens];
            let tile: Tile<'_> = match kind {
                0 => kv.keys(layer, block, head),
                _ => kv.values(layer, block, head),
            };
            tile.read(at % tokens, numbers);
        }
        out
    }

    /// Runs the rows of one sequence.
    fn run(&self, batch: &StepBatch, kv: &KvStore, rows: &Rows) -> Result<Vec<Tensor>, ModelError> {
        let ids: Vec<i64> = rows.list.iter().map(|r| i64::from(batch.ids[*r as usize])).collect();
        let (heads, depth) = (i64::from(self.spec.kv_heads), i64::from(self.spec.head_dim));
        let dims = [1, heads, rows.past as i64, depth];
        let mut past = Vec::with_capacity(2 * self.present.len());
        for layer in 0..self.present.len() {
            for (kind, name) in ["key", "value"].iter().enumerate() {
                let numbers = self.gather(kv, &rows.blocks, rows.past, (layer, kind));
                past.push((format!("past_{name}.{layer}"), numbers));
            }
        }
        let tokens = [1, ids.len() as i64];
        let mut inputs = vec![("input_ids", TensorView::of(&tokens, &ids)?)];
        for (name, numbers) in &past {
            inputs.push((name, TensorView::of(&dims, numbers)?));
        }
        Ok(self.session.run(&inputs)?)
    }

    /// Puts the keys and values of the new tokens into the cache.
    fn keep(
        &self,
        batch: &StepBatch,
        kv: &mut KvStore,
        rows: &Rows,
        outputs: &[Tensor],
    ) -> Result<(), ModelError> {
        let (heads, depth) = (self.spec.kv_heads as usize, self.spec.head_dim as usize);
        let all = rows.past + rows.list.len();
        for (layer, [k, v]) in self.present.iter().enumerate() {
            let (k, v) = (outputs[*k].as_slice::<f32>()?, outputs[*v].as_slice::<f32>()?);
            for append in &batch.appends {
                let Some(i) = rows.list.iter().position(|r| *r == append.row) else { continue };
                let token = |x: &[f32]| -> Vec<f32> {
                    let start = |head| (head * all + rows.past + i) * depth;
                    (0..heads).flat_map(|h| x[start(h)..start(h) + depth].to_vec()).collect()
                };
                kv.append(layer, append.slot, &token(k), &token(v));
            }
        }
        Ok(())
    }
}

impl Model for SessionModel {
    fn spec(&self) -> ModelSpec {
        self.spec
    }

    fn step(
        &mut self,
        batch: &StepBatch,
        kv: &mut KvStore,
        logits: &mut [f32],
    ) -> Result<(), ModelError> {
        let vocab = self.spec.vocab as usize;
        for rows in by_sequence(batch)? {
            let outputs = self.run(batch, kv, &rows)?;
            self.keep(batch, kv, &rows, &outputs)?;
            let found = &outputs[self.logits];
            debug_assert_eq!(found.dtype(), DType::F32);
            let given = found.dims()[1] as usize;
            let numbers = found.as_slice::<f32>()?;
            for (at, row) in batch.logit_rows.iter().enumerate() {
                let Some(i) = rows.list.iter().position(|r| r == row) else { continue };
                // The last `given` rows have logits.
                let i = (i + given).checked_sub(rows.list.len());
                let i =
                    i.ok_or("the artifact was compiled with --last-logits and more are asked for")?;
                logits[at * vocab..][..vocab].copy_from_slice(&numbers[i * vocab..][..vocab]);
            }
        }
        Ok(())
    }
}
