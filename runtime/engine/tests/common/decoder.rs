//! A complete decoder with random weights, f32, naive: RMSNorm, rotary positions, grouped
//! query attention over the work list, SwiGLU, tied embeddings. What a token's logits are
//! depends on every token before it, so a wrong block anywhere shows.

use cascata_engine::{Model, ModelError, ModelSpec};
use cascata_kv::{Attention, KvStore, StepBatch};

pub const VOCAB: u32 = 96;
const HIDDEN: usize = 24;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const DIM: usize = 6;
const FEED_FORWARD: usize = 40;
const LAYERS: usize = 2;

/// A matrix by rows, one for each output.
struct Matrix {
    inputs: usize,
    weights: Vec<f32>,
}

struct Layer {
    query: Matrix,
    key: Matrix,
    value: Matrix,
    output: Matrix,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

/// The decoder.
pub struct Decoder {
    embedding: Matrix,
    layers: Vec<Layer>,
    /// Divides logits: the smaller, the surer.
    temperature: f32,
}

struct Weights(u64);

impl Weights {
    fn matrix(&mut self, outputs: usize, inputs: usize) -> Matrix {
        let scale = 2.0 / (inputs as f32).sqrt();
        let mut next = || {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 2.0 * scale
        };
        Matrix { inputs, weights: (0..outputs * inputs).map(|_| next()).collect() }
    }
}

impl Matrix {
    fn times(&self, x: &[f32]) -> Vec<f32> {
        let dot = |row: &[f32]| row.iter().zip(x).fold(0.0f32, |s, (a, b)| a.mul_add(*b, s));
        self.weights.chunks_exact(self.inputs).map(dot).collect()
    }

    fn row(&self, at: u32) -> &[f32] {
        &self.weights[at as usize * self.inputs..(at as usize + 1) * self.inputs]
    }
}

fn normed(x: &[f32]) -> Vec<f32> {
    let mean = x.iter().map(|v| v * v).sum::<f32>() / x.len() as f32;
    x.iter().map(|v| v / (mean + 1e-6).sqrt()).collect()
}

/// Rotates pairs of each head by the position.
fn rotate(heads: &mut [f32], position: u32) {
    for head in heads.chunks_exact_mut(DIM) {
        for pair in 0..DIM / 2 {
            let angle = position as f32 * 100f32.powf(-2.0 * pair as f32 / DIM as f32);
            let (a, b) = (head[pair], head[pair + DIM / 2]);
            head[pair] = a * angle.cos() - b * angle.sin();
            head[pair + DIM / 2] = a * angle.sin() + b * angle.cos();
        }
    }
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

impl Decoder {
    pub fn new(seed: u64) -> Self {
        let mut w = Weights(seed);
        let mut layer = || Layer {
            query: w.matrix(HEADS * DIM, HIDDEN),
            key: w.matrix(KV_HEADS * DIM, HIDDEN),
            value: w.matrix(KV_HEADS * DIM, HIDDEN),
            output: w.matrix(HIDDEN, HEADS * DIM),
            gate: w.matrix(FEED_FORWARD, HIDDEN),
            up: w.matrix(FEED_FORWARD, HIDDEN),
            down: w.matrix(HIDDEN, FEED_FORWARD),
        };
        let layers = (0..LAYERS).map(|_| layer()).collect();
        Self { embedding: Weights(!seed).matrix(VOCAB as usize, HIDDEN), layers, temperature: 0.5 }
    }

    fn attend(&self, at: usize, states: &mut [Vec<f32>], batch: &StepBatch, kv: &mut KvStore) {
        let layer = &self.layers[at];
        let mut queries = Vec::with_capacity(states.len() * HEADS * DIM);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (state, position) in states.iter().zip(&batch.positions) {
            let x = normed(state);
            let (mut q, mut k) = (layer.query.times(&x), layer.key.times(&x));
            rotate(&mut q, *position);
            rotate(&mut k, *position);
            queries.extend(q);
            keys.push(k);
            values.push(layer.value.times(&x));
        }
        for append in &batch.appends {
            let row = append.row as usize;
            kv.append(at, append.slot, &keys[row], &values[row]);
        }
        let scale = 1.0 / (DIM as f32).sqrt();
        let attention = Attention { heads: HEADS, scale, window: None, soft_cap: None };
        let mut out = vec![0.0; queries.len()];
        attention.run(&queries, kv, at, batch, &mut out);
        for (state, out) in states.iter_mut().zip(out.chunks_exact(HEADS * DIM)) {
            add(state, &layer.output.times(out));
        }
    }

    fn feed_forward(&self, at: usize, state: &mut [f32]) {
        let layer = &self.layers[at];
        let x = normed(state);
        let (gate, up) = (layer.gate.times(&x), layer.up.times(&x));
        let inner: Vec<f32> =
            gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        add(state, &layer.down.times(&inner));
    }
}

impl Model for Decoder {
    fn spec(&self) -> ModelSpec {
        ModelSpec {
            layers: LAYERS as u32,
            kv_heads: KV_HEADS as u32,
            head_dim: DIM as u32,
            vocab: VOCAB,
            max_context: 512,
        }
    }

    fn step(
        &mut self,
        batch: &StepBatch,
        kv: &mut KvStore,
        logits: &mut [f32],
    ) -> Result<(), ModelError> {
        let embed = |id: &u32| self.embedding.row(*id).to_vec();
        let mut states: Vec<Vec<f32>> = batch.ids.iter().map(embed).collect();
        for at in 0..LAYERS {
            self.attend(at, &mut states, batch, kv);
            states.iter_mut().for_each(|state| self.feed_forward(at, state));
        }
        for (row, out) in batch.logit_rows.iter().zip(logits.chunks_exact_mut(VOCAB as usize)) {
            let found = self.embedding.times(&normed(&states[*row as usize]));
            out.iter_mut().zip(found).for_each(|(o, x)| *o = x / self.temperature);
        }
        Ok(())
    }
}
