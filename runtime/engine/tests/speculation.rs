//! Drafted generation has the model's own distribution.

mod common;

use cascata_engine::{Config, Core, Event, Model, ModelError, ModelSpec, Params, Speculation};
use cascata_kv::{KvStore, StepBatch};
use common::{config, core, run, sampled};
use std::collections::HashMap;

/// A model whose next token depends on the last one alone, with no token much likelier than
/// the others: drafts are right often, and wrong often.
struct Markov;

const VOCAB: u32 = 8;

impl Model for Markov {
    fn spec(&self) -> ModelSpec {
        ModelSpec { layers: 2, kv_heads: 2, head_dim: 6, vocab: VOCAB, max_context: 64 }
    }

    fn step(
        &mut self,
        batch: &StepBatch,
        _: &mut KvStore,
        logits: &mut [f32],
    ) -> Result<(), ModelError> {
        for (row, logits) in batch.logit_rows.iter().zip(logits.chunks_exact_mut(VOCAB as usize)) {
            let last = batch.ids[*row as usize];
            let logit = |token: u32| ((last * 5 + token * 3) % VOCAB) as f32 * 0.3;
            logits.iter_mut().zip(0..).for_each(|(l, token)| *l = logit(token));
        }
        Ok(())
    }
}

/// `6 5` was followed by 3, and by 7: two branches where 5 comes after 6.
fn prompt() -> Vec<u32> {
    vec![6, 5, 3, 1, 6, 5, 7, 1, 6]
}

fn params(seed: u64, max_tokens: u32) -> Params {
    Params { max_tokens, sampling: sampled(seed), log_probs: Some(VOCAB), ..Params::default() }
}

/// What came after one first token: how often each, and the model's probabilities.
type Seconds = (HashMap<u32, usize>, Vec<(u32, f64)>);

/// Pearson's statistic, and its degrees of freedom.
fn chi_square(
    counts: &HashMap<u32, usize>,
    probabilities: &[(u32, f64)],
    draws: f64,
) -> (f64, usize) {
    let mut rest = (draws, draws);
    let (mut sum, mut cells) = (0.0, 0);
    for (token, p) in probabilities.iter().filter(|(_, p)| p * draws >= 8.0) {
        let (found, want) = (counts.get(token).copied().unwrap_or(0) as f64, p * draws);
        sum += (found - want).powi(2) / want;
        rest = (rest.0 - found, rest.1 - want);
        cells += 1;
    }
    (sum + (rest.0 - rest.1).powi(2) / rest.1.max(1.0), cells)
}

#[test]
fn the_distribution_is_the_models() {
    let speculation = Some(Speculation { max_tokens: 3, branches: 2, min_match: 1, max_match: 2 });
    let mut core = Core::new(Markov, Config { speculation, ..config() }).unwrap();
    // By the first token: how often each second one came, and the model's probabilities.
    let mut seconds: HashMap<u32, Seconds> = HashMap::new();
    for seed in 0..6000 {
        let stream = core.submit(prompt(), params(seed, 3)).unwrap();
        run(&mut core);
        let tokens: Vec<_> = stream
            .filter_map(|event| match event.unwrap() {
                Event::Token { token, log_probs, .. } => Some((token, log_probs.unwrap().top)),
                Event::Finished { .. } => None,
            })
            .collect();
        let entry = seconds.entry(tokens[0].0).or_default();
        *entry.0.entry(tokens[1].0).or_default() += 1;
        entry.1 = tokens[1].1.iter().map(|(t, p)| (*t, f64::from(p.exp()))).collect();
    }
    let stats = core.stats();
    assert!(
        stats.drafts_accepted > 500 && stats.drafts_accepted * 2 < stats.draft_rows,
        "{stats:?}"
    );
    let mut tested = 0;
    for (counts, probabilities) in seconds.values() {
        let draws = counts.values().sum::<usize>() as f64;
        let (statistic, cells) = chi_square(counts, probabilities, draws);
        if cells < 3 {
            continue;
        }
        tested += 1;
        // Mean plus six standard deviations of chi-square with that many degrees of freedom.
        let bound = cells as f64 + 6.0 * (2.0 * cells as f64).sqrt();
        assert!(statistic < bound, "{statistic} of {cells} cells in {draws} draws");
    }
    assert!(tested >= 6, "{tested}");
}

#[test]
fn a_step_may_give_several_tokens() {
    let ask = |speculation| {
        let mut core = core(Config { speculation, ..config() });
        let prompt = (0..60).map(|i| i % 6).collect();
        let stream = core.submit(prompt, Params { max_tokens: 48, ..Params::default() }).unwrap();
        run(&mut core);
        let output = common::outputs(stream).remove(0);
        assert_eq!(core.stats().leaked_blocks(), 0);
        (output.tokens, output.usage.drafted_tokens as u64, core.stats())
    };
    let (plain, none, slow) = ask(None);
    let (drafted, right, fast) = ask(Some(Speculation::default()));
    assert_eq!((plain, none), (drafted, 0));
    assert_eq!(fast.steps + right, slow.steps, "each right token saves a step");
    assert_eq!(right, fast.drafts_accepted);
}
