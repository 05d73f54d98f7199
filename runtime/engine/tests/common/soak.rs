//! A mixed load: random lengths, shared prefixes, forks, cancels, stop tokens, drafts, and a
//! cache so small that sequences are thrown out all the time.

use super::{BLOCK_BYTES, Random, config, decoder::Decoder};
use cascata_engine::{
    Config, Engine, Event, Params, Sampling, Speculation, Stats, Stream, SubmitError,
};

/// How requests ended.
#[derive(Debug, Default)]
pub struct Ends {
    pub finished: u64,
    pub cancelled: u64,
    pub dropped: u64,
    pub refused: u64,
    pub tokens: u64,
}

const BLOCKS: u64 = 40;

fn small() -> Config {
    Config {
        kv_budget_bytes: BLOCKS * BLOCK_BYTES,
        step_tokens: 48,
        max_sequences: 16,
        queue_capacity: 24,
        eos_tokens: vec![7],
        speculation: Some(Speculation { max_tokens: 3, branches: 2, min_match: 1, max_match: 3 }),
        ..config()
    }
}

/// A request; one in twenty needs more blocks than there are.
fn ask(random: &mut Random, prefixes: &[Vec<u32>]) -> (Vec<u32>, Params) {
    let mut prompt = Vec::new();
    if random.below(3) > 0 {
        let prefix = &prefixes[random.below(prefixes.len())];
        prompt.extend(&prefix[..1 + random.below(prefix.len())]);
    }
    let more = 1 + random.below(12);
    prompt.extend(random.tokens(more));
    let huge = random.below(20) == 0;
    let max_tokens = if huge { 200 } else { 1 + random.below(24) as u32 };
    let temperature = [0.0, 0.3, 1.0][random.below(3)];
    let sampling = Sampling { temperature, seed: random.0, ..Sampling::default() };
    let samples = if random.below(6) == 0 { 2 + random.below(4) as u32 } else { 1 };
    (prompt, Params { max_tokens, samples, sampling, ..Params::default() })
}

/// Reads a stream to its end, or leaves it early in one of two ways.
fn follow(mut stream: Stream, fate: usize, ends: &mut Ends) {
    let (mut read, mut cancelled) = (0, false);
    while let Some(event) = stream.next() {
        match event {
            Ok(Event::Token { .. }) => ends.tokens += 1,
            Ok(Event::Finished { .. }) => {}
            Err(error) => panic!("no request may fail: {error}"),
        }
        read += 1;
        if read == 3 && fate == 0 {
            stream.cancel();
            cancelled = true;
        }
        if read == 2 && fate == 1 {
            ends.dropped += 1;
            return;
        }
    }
    ends.cancelled += u64::from(cancelled);
    ends.finished += u64::from(!cancelled);
}

fn client(engine: &Engine, seed: u64, requests: usize, prefixes: &[Vec<u32>]) -> Ends {
    let (mut random, mut ends) = (Random(seed), Ends::default());
    let mut open = std::collections::VecDeque::new();
    for _ in 0..requests {
        let (prompt, params) = ask(&mut random, prefixes);
        match engine.submit_waiting(prompt, params) {
            Ok(stream) => open.push_back(stream),
            Err(SubmitError::Request(_)) => ends.refused += 1,
            Err(error) => panic!("{error}"),
        }
        if open.len() > 6 {
            let stream = open.pop_front().expect("one");
            follow(stream, random.below(12), &mut ends);
        }
    }
    open.into_iter().for_each(|stream| follow(stream, random.below(12), &mut ends));
    ends
}

/// Four clients send this many requests in all; every stream must end, and no block leak.
pub fn soak(requests: usize, seed: u64) -> (Ends, Stats) {
    let engine = Engine::new(Decoder::new(1), small()).expect("a good configuration");
    let mut random = Random(seed);
    let prefixes: Vec<Vec<u32>> = (0..8).map(|_| random.tokens(40)).collect();
    let run = |number| client(&engine, seed + number, requests / 4, &prefixes);
    let all: Vec<Ends> = std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = (0..4).map(|number| scope.spawn(move || run(number))).collect();
        threads.into_iter().map(|t| t.join().expect("a client")).collect()
    });
    let stats = engine.finish();
    assert_eq!(stats.blocks_free, stats.blocks, "no block may leak: {stats:?}");
    assert_eq!((stats.running, stats.waiting, stats.failures), (0, 0, 0));
    let mut ends = Ends::default();
    for e in all {
        ends.finished += e.finished;
        ends.cancelled += e.cancelled;
        ends.dropped += e.dropped;
        ends.refused += e.refused;
        ends.tokens += e.tokens;
    }
    let ended = ends.finished + ends.cancelled + ends.dropped + ends.refused;
    assert_eq!(ended, (requests / 4 * 4) as u64, "every request has an end");
    (ends, stats)
}
