//! What the tests share.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod decoder;
pub mod soak;
pub mod vocabulary;

use cascata_engine::{Config, Core, Event, Model, Output, Params, Sampling, Stream};
use cascata_kv::KvElement;
use decoder::Decoder;

/// Bytes of one block of four tokens of the test decoder in f32: of two layers and two heads,
/// keys of six numbers in a panel of 16 tokens, and four values in a panel of 16 numbers.
pub const BLOCK_BYTES: u64 = 2 * 2 * (6 * 16 + 4 * 16) * 4;

/// A configuration with room for everything.
pub fn config() -> Config {
    Config {
        kv_budget_bytes: 4096 * BLOCK_BYTES,
        kv_element: KvElement::F32,
        block_tokens: 4,
        step_tokens: 128,
        max_sequences: 64,
        ..Config::default()
    }
}

pub fn core(config: Config) -> Core<Decoder> {
    Core::new(Decoder::new(1), config).expect("a good configuration")
}

pub fn sampled(seed: u64) -> Sampling {
    Sampling { temperature: 1.0, seed, ..Sampling::default() }
}

/// One request.
pub type Ask = (Vec<u32>, Params);

/// What came of a request: its samples, and all log-probabilities, bit by bit.
#[derive(Debug, PartialEq)]
pub struct Answer {
    pub outputs: Vec<(Vec<u32>, cascata_engine::FinishReason)>,
    pub log_probs: Vec<Vec<(u32, u32)>>,
}

/// Steps until nothing is left to do.
pub fn run<M: Model>(core: &mut Core<M>) {
    for _ in 0..100_000 {
        if core.is_idle() {
            return;
        }
        core.step();
    }
    panic!("no end: {:?}", core.stats());
}

fn answer(stream: Stream) -> Answer {
    let mut answer = Answer { outputs: Vec::new(), log_probs: Vec::new() };
    let mut tokens: Vec<Vec<u32>> = Vec::new();
    let mut reasons = Vec::new();
    for event in stream {
        match event.expect("no failure") {
            Event::Token { sample, token, log_probs, .. } => {
                let sample = sample as usize;
                tokens.resize_with(tokens.len().max(sample + 1), Vec::new);
                answer.log_probs.resize_with(tokens.len(), Vec::new);
                tokens[sample].push(token);
                let logs = log_probs.into_iter().flat_map(|l| l.top);
                answer.log_probs[sample].extend(logs.map(|(t, p)| (t, p.to_bits())));
            }
            Event::Finished { sample, reason, .. } => reasons.push((sample, reason)),
        }
    }
    reasons.sort_by_key(|r| r.0);
    answer.outputs = tokens.into_iter().zip(reasons.into_iter().map(|r| r.1)).collect();
    answer
}

/// Runs all requests at once.
pub fn together<M: Model>(core: &mut Core<M>, asks: &[Ask]) -> Vec<Answer> {
    let submit = |(prompt, params): &Ask| core.submit(prompt.clone(), params.clone()).unwrap();
    let streams: Vec<Stream> = asks.iter().map(submit).collect();
    run(core);
    assert_eq!(core.stats().leaked_blocks(), 0);
    streams.into_iter().map(answer).collect()
}

/// Runs each request in an engine of its own, without sharing, chunks or drafts: what every
/// other way must give.
pub fn alone(asks: &[Ask]) -> Vec<Answer> {
    let config = Config { prefix_sharing: false, step_tokens: 512, ..config() };
    let single =
        |ask: &Ask| together(&mut core(config.clone()), std::slice::from_ref(ask)).remove(0);
    asks.iter().map(single).collect()
}

pub fn outputs(stream: Stream) -> Vec<Output> {
    stream.collect_outputs().expect("no failure")
}

/// A small generator of test data.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }

    pub fn tokens(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.below(decoder::VOCAB as usize) as u32).collect()
    }
}
