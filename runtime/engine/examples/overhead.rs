//! What the engine costs beside its model: one step of decodes over a model that does
//! nothing, after a shared prompt of 1,024 tokens and 64 own ones, in blocks of 32.
//!
//! `cargo run --release -p cascata-engine --example overhead`

use cascata_engine::{Config, Core, Model, ModelError, ModelSpec, Params, Sampling, Speculation};
use cascata_kv::{KvStore, StepBatch};

/// One row of logits, spread like a language model's, turned by position and sequence.
struct Nothing {
    logits: Vec<f32>,
}

impl Nothing {
    fn new(vocab: u32) -> Self {
        let mut state = 1u64;
        let mut uniform = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        // Sums of twelve uniform numbers are nearly normal; three nats of standard deviation.
        let mut normal = || 3.0 * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0);
        Self { logits: (0..vocab).map(|_| normal()).collect() }
    }
}

impl Model for Nothing {
    fn spec(&self) -> ModelSpec {
        let vocab = self.logits.len() as u32;
        ModelSpec { layers: 1, kv_heads: 1, head_dim: 1, vocab, max_context: 8192 }
    }

    fn step(
        &mut self,
        batch: &StepBatch,
        _: &mut KvStore,
        logits: &mut [f32],
    ) -> Result<(), ModelError> {
        let vocab = self.logits.len();
        for (row, logits) in batch.logit_rows.iter().zip(logits.chunks_exact_mut(vocab)) {
            let row = *row as usize;
            let turn = batch.positions[row] as usize * 31 + batch.sequences[row] as usize;
            let (front, back) = self.logits.split_at(turn % vocab);
            logits[..back.len()].copy_from_slice(back);
            logits[back.len()..].copy_from_slice(front);
        }
        Ok(())
    }
}

const STEPS: usize = 64;

/// Microseconds of host time of the fastest step.
fn measure(batch: usize, vocab: u32, sampling: &Sampling, drafts: bool) -> f64 {
    let config = Config {
        kv_budget_bytes: 1 << 22,
        block_tokens: 32,
        max_sequences: 256,
        step_tokens: 2048,
        speculation: drafts.then(Speculation::default),
        ..Config::default()
    };
    let mut core = Core::new(Nothing::new(vocab), config).expect("a good configuration");
    let params = Params { max_tokens: 1024, sampling: sampling.clone(), ..Params::default() };
    let prompt = |i: u32| (0..1024).chain((0..64).map(|t| (t * 7 + i * 13) % 1000)).collect();
    let streams: Vec<_> = (0..batch as u32)
        .map(|i| core.submit(prompt(i), params.clone()).expect("a good request"))
        .collect();
    while core.stats().new_tokens < 2 * batch as u64 {
        core.step();
    }
    let mut step = || {
        let before = core.stats().host_ns;
        core.step();
        core.stats().host_ns - before
    };
    // Other programs of the machine only ever add to a step.
    let fastest = (0..STEPS).map(|_| step()).min().unwrap_or_default();
    drop(streams);
    fastest as f64 / 1e3
}

fn main() {
    let greedy = Sampling::default();
    let nucleus = Sampling { temperature: 0.8, top_p: 0.9, seed: 1, ..Sampling::default() };
    println!(
        "| batch | scheduler, work list, radix tree (µs) | with drafts (µs) | greedy over 49,152 (µs) | top-p over 49,152 (µs) |"
    );
    println!("|---:|---:|---:|---:|---:|");
    for batch in [1, 32, 256] {
        let plain = measure(batch, 1024, &greedy, false);
        let drafted = measure(batch, 1024, &greedy, true);
        let large = measure(batch, 49_152, &greedy, false);
        let top_p = measure(batch, 49_152, &nucleus, false);
        println!("| {batch} | {plain:.1} | {drafted:.1} | {large:.1} | {top_p:.1} |");
    }
}
