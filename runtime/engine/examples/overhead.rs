//! What the engine costs beside its model: one step of decodes over a model that does
//! nothing, after a shared prompt of 1,024 tokens and 64 own ones, in blocks of 32.
//!
//! `cargo run --release -p cascata-engine --example overhead`

use cascata_engine::{Config, Core, Model, ModelError, ModelSpec, Params, Sampling, Speculation};
use cascata_kv::{KvStore, StepBatch};

/// Logits that depend on position and token only, written sparsely: the engine's own work is
/// what is measured.
struct Nothing {
    vocab: u32,
}

impl Model for Nothing {
    fn spec(&self) -> ModelSpec {
        ModelSpec { layers: 1, kv_heads: 1, head_dim: 1, vocab: self.vocab, max_context: 8192 }
    }

    fn step(
        &mut self,
        batch: &StepBatch,
        _: &mut KvStore,
        logits: &mut [f32],
    ) -> Result<(), ModelError> {
        let rows = batch.logit_rows.iter().zip(logits.chunks_exact_mut(self.vocab as usize));
        for (row, logits) in rows {
            let at = batch.positions[*row as usize] * 31 + batch.sequences[*row as usize];
            logits[(at % self.vocab) as usize] = 1.0;
        }
        Ok(())
    }
}

const STEPS: u64 = 64;

/// Microseconds of host time for each step, and rows of a step.
fn measure(batch: usize, vocab: u32, sampling: &Sampling, drafts: bool) -> (f64, f64) {
    let config = Config {
        kv_budget_bytes: 1 << 22,
        max_sequences: 256,
        step_tokens: 2048,
        speculation: drafts.then(Speculation::default),
        ..Config::default()
    };
    let mut core = Core::new(Nothing { vocab }, config).expect("a good configuration");
    let params = Params { max_tokens: 1024, sampling: sampling.clone(), ..Params::default() };
    let prompt = |i: u32| (0..1024).chain((0..64).map(|t| (t * 7 + i * 13) % 1000)).collect();
    let streams: Vec<_> = (0..batch as u32)
        .map(|i| core.submit(prompt(i), params.clone()).expect("a good request"))
        .collect();
    while core.stats().new_tokens < 2 * batch as u64 {
        core.step();
    }
    let before = core.stats();
    (0..STEPS).for_each(|_| core.step());
    let after = core.stats();
    drop(streams);
    let steps = (after.steps - before.steps) as f64;
    (
        (after.host_ns - before.host_ns) as f64 / 1e3 / steps,
        (after.rows - before.rows) as f64 / steps,
    )
}

fn main() {
    let greedy = Sampling::default();
    let nucleus = Sampling { temperature: 0.8, top_p: 0.9, seed: 1, ..Sampling::default() };
    println!(
        "| batch | scheduler, work list, radix tree (µs) | with drafts (µs) | greedy over 49,152 (µs) | top-p over 49,152 (µs) |"
    );
    println!("|---:|---:|---:|---:|---:|");
    for batch in [1, 32, 256] {
        let plain = measure(batch, 1024, &greedy, false).0;
        let drafted = measure(batch, 1024, &greedy, true).0;
        let large = measure(batch, 49_152, &greedy, false).0;
        let top_p = measure(batch, 49_152, &nucleus, false).0;
        println!("| {batch} | {plain:.1} | {drafted:.1} | {large:.1} | {top_p:.1} |");
    }
}
