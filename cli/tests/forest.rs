//! A compiled decoder over a paged cache gives each request the same bits, whatever else runs
//! and however it is run: prefix forests of any depth, shared or not, threads, chunks, drafts.

mod common;

use cascata::engine::{Config, Core, Event, Params, Speculation, Stats, Stream};
use cascata::kv::KvElement;
use cascata::passes::pipeline::Precision;
use cascata::{
    CompileOptions, Compiled, Isa, PagedModel, Runtime, TextCache, TextOptions, compile,
};
use common::text_model;

/// What came of a request: its tokens, and log-probabilities bit by bit.
type Answer = (Vec<u32>, Vec<(u32, u32)>);

/// A small generator.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }

    /// Few different ones, so that drafts find something.
    fn tokens(&mut self, count: usize) -> Vec<u32> {
        (0..count).map(|_| self.below(5) as u32).collect()
    }
}

/// Prompts that are paths of a random tree of this depth, with ragged groups and lengths.
fn forest(depth: usize, batch: usize) -> Vec<Vec<u32>> {
    let mut random = Random((depth * 100 + batch) as u64);
    let mut level = vec![random.tokens(5)];
    for _ in 1..depth {
        let width = batch.min(1 + random.below(5));
        let grow = |i: usize, random: &mut Random| {
            let more = 1 + random.below(9);
            let own = random.tokens(more);
            [level[i % level.len()].clone(), own].concat()
        };
        level = (0..width).map(|i| grow(i, &mut random)).collect();
    }
    let prompt = |i: usize| [level[i % level.len()].clone(), random.tokens(1 + i % 5)].concat();
    (0..batch).map(prompt).collect()
}

fn config() -> Config {
    Config {
        kv_budget_bytes: 64 << 20,
        kv_element: KvElement::F32,
        block_tokens: 4,
        step_tokens: 128,
        max_sequences: 64,
        ..Config::default()
    }
}

fn answer(stream: Stream) -> Answer {
    let (mut tokens, mut logs) = (vec![], vec![]);
    for event in stream {
        if let Event::Token { token, log_probs, .. } = event.expect("no failure") {
            tokens.push(token);
            let top = log_probs.into_iter().flat_map(|l| l.top);
            logs.extend(top.map(|(token, p)| (token, p.to_bits())));
        }
    }
    (tokens, logs)
}

/// A compiled model, and engines over it.
struct Decoder(Compiled);

impl Decoder {
    fn new(name: &str) -> Option<Self> {
        Self::with(name, Precision::F32)
    }

    fn with(name: &str, precision: Precision) -> Option<Self> {
        let text = TextOptions { cache: TextCache::Paged, last_logits: false };
        let mut options = CompileOptions { text, ..CompileOptions::default() };
        options.passes.precision = precision;
        Some(Self(compile(text_model(name)?, &options, &mut ()).expect("it compiles")))
    }

    fn core(&self, (threads, isa): (usize, Isa), config: Config) -> Core<PagedModel> {
        let runtime = Runtime::builder().threads(threads).isa(isa).build().expect("threads");
        let session = self.0.session(&runtime).expect("it loads");
        Core::new(PagedModel::new(session).expect("a decoder"), config).expect("an engine")
    }

    fn run(&self, threads: usize, config: Config, prompts: &[Vec<u32>]) -> Vec<Answer> {
        self.counted((threads, Isa::detect()), config, prompts).0
    }

    /// With the engine's counters.
    fn counted(
        &self,
        machine: (usize, Isa),
        config: Config,
        prompts: &[Vec<u32>],
    ) -> (Vec<Answer>, Stats) {
        let mut core = self.core(machine, config);
        let params = |i: usize| Params {
            max_tokens: 4 + (i % 3) as u32,
            log_probs: Some(20),
            ..Params::default()
        };
        let streams: Vec<Stream> = (0..)
            .zip(prompts)
            .map(|(i, prompt)| core.submit(prompt.clone(), params(i)).expect("it is taken"))
            .collect();
        while !core.is_idle() {
            core.step();
        }
        assert_eq!((core.stats().failures, core.stats().leaked_blocks()), (0, 0));
        (streams.into_iter().map(answer).collect(), core.stats())
    }
}

#[test]
fn sharing_threads_chunks_and_drafts_change_no_bit() {
    // The second one has windows and soft caps.
    for name in ["llama3", "gemma2"] {
        let Some(decoder) = Decoder::new(name) else { return };
        let (mut read, mut unshared, mut drafted) = (0, 0, 0);
        for depth in 1..=5 {
            for batch in [1, 7, 19, 64] {
                let prompts = forest(depth, batch);
                let (shared, stats) = decoder.counted((2, Isa::detect()), config(), &prompts);
                (read, unshared) = (read + stats.tiles_read, unshared + stats.tiles_unshared);
                let private = Config { prefix_sharing: false, ..config() };
                assert_eq!(decoder.run(1, private, &prompts), shared, "{name} {depth} {batch}");
                let chunks = Config {
                    step_tokens: batch.max(3),
                    max_sequences: batch,
                    speculation: Some(Speculation::default()),
                    ..config()
                };
                let (found, stats) = decoder.counted((2, Isa::detect()), chunks, &prompts);
                assert_eq!(found, shared, "{name} {depth} {batch}");
                drafted += stats.drafts_accepted;
            }
        }
        assert!(drafted > 0 && read * 3 < unshared * 2, "{drafted}, {read} of {unshared}");
    }
}

/// Products of bf16 sum a row in an order that the instruction set decides, and nothing else.
#[test]
fn products_of_bf16_depend_on_no_neighbour() {
    let Some(decoder) = Decoder::with("llama3", Precision::Bf16) else { return };
    let prompts = forest(3, 19);
    for isa in Isa::ALL {
        let (shared, _) = decoder.counted((2, isa), config(), &prompts);
        for (i, prompt) in prompts.iter().enumerate().filter(|(i, _)| i % 3 == 0) {
            let private = Config { prefix_sharing: false, ..config() };
            let (alone, _) = decoder.counted((1, isa), private, std::slice::from_ref(prompt));
            assert_eq!(alone[0], shared[i], "{isa} {prompt:?}");
        }
    }
}

/// Each narrow element rounds, and then changes no bit either.
#[test]
fn narrow_caches_are_shared_to_the_bit() {
    let Some(decoder) = Decoder::new("llama3") else { return };
    let prompts = forest(3, 9);
    let wide = decoder.run(1, config(), &prompts);
    for kv_element in [KvElement::F16, KvElement::BF16, KvElement::I8] {
        let shared = decoder.run(2, Config { kv_element, ..config() }, &prompts);
        let private = Config { kv_element, prefix_sharing: false, ..config() };
        assert_eq!(decoder.run(1, private, &prompts), shared, "{kv_element}");
        assert_ne!(shared, wide, "{kv_element} rounds");
    }
}
