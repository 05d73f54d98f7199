//! What runs when: decodes never wait, prompts share the rest, prefixes are computed once,
//! admission and preemption go by arrival.

mod common;

use cascata_engine::{Config, Event, Params, Stream};
use common::{BLOCK_BYTES, Random, config, core, run, together};
use std::time::Duration;

fn params(max_tokens: u32) -> Params {
    Params { max_tokens, ..Params::default() }
}

/// Tokens that are there now.
fn ready(stream: &mut Stream) -> usize {
    let mut count = 0;
    while let Ok(Some(event)) = stream.next_timeout(Duration::ZERO) {
        count += usize::from(matches!(event, Event::Token { .. }));
    }
    count
}

#[test]
fn decodes_do_not_wait_for_a_long_prompt() {
    let (mut core, mut random) =
        (core(Config { step_tokens: 24, max_sequences: 8, ..config() }), Random(1));
    let mut short: Vec<Stream> =
        (0..4).map(|_| core.submit(random.tokens(5), params(60)).unwrap()).collect();
    core.step();
    short.iter_mut().for_each(|s| assert_eq!(ready(s), 1));
    let mut long = core.submit(random.tokens(300), params(4)).unwrap();
    let mut steps = 0;
    while ready(&mut long) == 0 {
        core.step();
        steps += 1;
        short.iter_mut().for_each(|s| assert_eq!(ready(s), 1, "one token each step"));
    }
    assert_eq!(steps, 300usize.div_ceil(24 - 4), "the prompt has all that the decodes leave");
    assert_eq!(core.stats().largest_step, 24);
}

#[test]
fn a_short_prompt_is_not_held_up_by_a_long_one() {
    let (mut core, mut random) = (core(Config { step_tokens: 64, ..config() }), Random(2));
    let mut long = core.submit(random.tokens(400), params(2)).unwrap();
    let mut short = core.submit(random.tokens(30), params(2)).unwrap();
    core.step();
    assert_eq!((ready(&mut long), ready(&mut short)), (0, 1));
}

#[test]
fn a_prefix_that_many_ask_for_at_once_is_computed_once() {
    let (mut random, mut asks) = (Random(3), Vec::new());
    let prefix = random.tokens(80);
    for _ in 0..16 {
        let mut prompt = prefix.clone();
        prompt.extend(random.tokens(6));
        asks.push((prompt, params(3)));
    }
    let mut core = core(Config { step_tokens: 32, max_sequences: 32, ..config() });
    together(&mut core, &asks);
    let stats = core.stats();
    assert_eq!(stats.cached_tokens, 15 * 80);
    assert_eq!(stats.prefill_rows, 80 + 16 * 6);
    assert!(stats.tiles_read * 2 < stats.tiles_unshared, "{stats:?}");
}

#[test]
fn a_conversation_goes_on_where_it_ended() {
    let mut core = core(config());
    let prompt = Random(4).tokens(30);
    let first = together(&mut core, &[(prompt.clone(), params(9))]).remove(0).outputs.remove(0).0;
    let next = [prompt, first, Random(5).tokens(7)].concat();
    let stream = core.submit(next, params(2)).unwrap();
    run(&mut core);
    let usage = common::outputs(stream)[0].usage;
    // The last token was handed out but never run; to the token, not to the block.
    assert_eq!((usage.prompt_tokens, usage.cached_tokens), (46, 38));
}

#[test]
fn the_oldest_keeps_its_blocks() {
    let mut core =
        core(Config { kv_budget_bytes: 24 * BLOCK_BYTES, prefix_sharing: false, ..config() });
    let mut random = Random(6);
    let mut old = core.submit(random.tokens(12), params(60)).unwrap();
    let mut young = core.submit(random.tokens(12), params(60)).unwrap();
    core.step();
    assert_eq!((ready(&mut old), ready(&mut young)), (1, 1));
    for _ in 0..59 {
        core.step();
        assert_eq!(ready(&mut old), 1);
    }
    assert!(core.stats().preemptions > 0);
    run(&mut core);
    assert_eq!(ready(&mut young), 59);
}

#[test]
fn the_least_recently_used_prefix_goes_first() {
    let mut core = core(Config { kv_budget_bytes: 16 * BLOCK_BYTES, ..config() });
    let (a, b, c) = (Random(7).tokens(20), Random(8).tokens(20), Random(9).tokens(24));
    let cached = |core: &mut cascata_engine::Core<_>, prompt: &[u32]| {
        let stream = core.submit(prompt.to_vec(), params(2)).unwrap();
        run(core);
        common::outputs(stream)[0].usage.cached_tokens
    };
    assert_eq!((cached(&mut core, &a), cached(&mut core, &b)), (0, 0));
    assert_eq!(cached(&mut core, &a), 19, "used again");
    assert_eq!(cached(&mut core, &c), 0);
    assert!(core.stats().evictions > 0);
    assert_eq!(cached(&mut core, &a), 19, "kept");
    assert!(cached(&mut core, &b) < 19, "given up");
}
