//! From logits to a token.
//!
//! Greedy without penalties is one scan. Otherwise the row becomes weights. Without top-k and
//! top-p, one uniform number picks among them directly. With them, only the largest weights
//! are gathered and sorted: those above a threshold, which falls until there are enough.
//! Everything depends on the row's logits, the sequence's own tokens and its seed, and on
//! nothing else.

use crate::params::Sampling;
use crate::rng::uniform;
use crate::weights;
use std::cmp::Ordering;
use std::collections::HashMap;

/// A token's weight, or logit, and its id.
type Candidate = (f32, u32);

/// Memory for a row, kept from row to row.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    logits: Vec<f32>,
    weights: Vec<f32>,
    candidates: Vec<Candidate>,
}

/// One sample's choice of tokens.
#[derive(Clone, Debug)]
pub(crate) struct Sampler {
    params: Sampling,
    sample: u32,
    /// For each token of the sequence, how often it was generated; only kept for penalties.
    generated: HashMap<u32, u32>,
}

/// The logits are no distribution.
#[derive(Debug)]
pub(crate) struct BadLogits;

/// Larger ones first; of equals, lower ids.
fn descending(a: &Candidate, b: &Candidate) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

impl Sampler {
    pub(crate) fn new(params: &Sampling, sample: u32, prompt: &[u32]) -> Self {
        let mut out = Self { params: params.clone(), sample, generated: HashMap::new() };
        if out.has_penalties() {
            out.generated.extend(prompt.iter().map(|t| (*t, 0)));
        }
        out
    }

    /// The same choices for another sample of the prompt.
    pub(crate) fn sibling(&self, sample: u32) -> Self {
        Self { sample, ..self.clone() }
    }

    fn has_penalties(&self) -> bool {
        let s = &self.params;
        (s.repetition_penalty, s.presence_penalty, s.frequency_penalty) != (1.0, 0.0, 0.0)
    }

    /// Counts a token that was generated.
    pub(crate) fn push(&mut self, token: u32) {
        if self.has_penalties() {
            *self.generated.entry(token).or_default() += 1;
        }
    }

    /// The sequence's `index`-th new token.
    pub(crate) fn sample(
        &self,
        logits: &[f32],
        index: u32,
        scratch: &mut Scratch,
    ) -> Result<u32, BadLogits> {
        let mut max = weights::largest(logits).ok_or(BadLogits)?;
        let mut row = logits;
        if self.has_penalties() {
            scratch.logits.clear();
            scratch.logits.extend(logits);
            self.penalise(&mut scratch.logits);
            row = &scratch.logits;
            max = weights::largest(row).ok_or(BadLogits)?;
        }
        if self.params.temperature == 0.0 {
            return row.iter().position(|l| *l == max).map(|at| at as u32).ok_or(BadLogits);
        }
        weights::fill(row, max, 1.0 / self.params.temperature, &mut scratch.weights);
        let at = uniform(self.params.seed, self.sample, index);
        self.pick(at, &mut scratch.weights, &mut scratch.candidates).ok_or(BadLogits)
    }

    fn penalise(&self, logits: &mut [f32]) {
        let s = &self.params;
        for (token, count) in &self.generated {
            let Some(logit) = logits.get_mut(*token as usize) else { continue };
            let repeated = s.repetition_penalty;
            *logit = if *logit > 0.0 { *logit / repeated } else { *logit * repeated };
            let presence = if *count > 0 { s.presence_penalty } else { 0.0 };
            *logit -= presence + s.frequency_penalty * *count as f32;
        }
    }

    /// The token at this share of the weight that the filters leave. The largest weight is 1.
    fn pick(&self, at: f64, all: &mut [f32], candidates: &mut Vec<Candidate>) -> Option<u32> {
        let s = &self.params;
        if s.min_p > 0.0 && s.top_k == 0 && s.top_p == 1.0 {
            all.iter_mut().for_each(|w| *w = if *w >= s.min_p { *w } else { 0.0 });
        }
        if s.top_k == 0 && s.top_p == 1.0 {
            return weights::find(all, at * weights::sum(all)).map(|token| token as u32);
        }
        self.largest(all, candidates);
        candidates.retain(|c| c.0 >= s.min_p);
        let total: f64 = candidates.iter().map(|c| f64::from(c.0)).sum();
        let kept = fewest(candidates, at * total);
        candidates.get(kept.saturating_sub(1)).map(|c| c.1)
    }

    /// The tokens that top-k and top-p leave, sorted.
    fn largest(&self, all: &[f32], candidates: &mut Vec<Candidate>) {
        let k = if self.params.top_k == 0 { all.len() } else { self.params.top_k as usize };
        let share = f64::from(self.params.top_p);
        let everything = weights::sum(all);
        // PERF: most rows have few weights above a thousandth of the largest. Selecting among all
        // 49,152 took three times as long as all of this (574 µs to 182, `--example overhead`).
        let mut least = 1e-3;
        loop {
            gather(all, least, candidates);
            let sum: f64 = candidates.iter().map(|c| f64::from(c.0)).sum();
            let enough = candidates.len() >= k || (share < 1.0 && sum >= share * everything);
            if enough || least == 0.0 {
                break;
            }
            least = if least > 1e-9 { least * 1e-3 } else { 0.0 };
        }
        candidates.sort_unstable_by(descending);
        candidates.truncate(k);
        if share < 1.0 {
            let top_k: f64 = candidates.iter().map(|c| f64::from(c.0)).sum();
            let whole = if self.params.top_k == 0 { everything } else { top_k };
            candidates.truncate(fewest(candidates, share * whole).max(1));
        }
    }
}

/// All weights from `least` on, but no zeros.
fn gather(all: &[f32], least: f32, out: &mut Vec<Candidate>) {
    out.clear();
    let large = |(w, _): &(&f32, u32)| **w >= least && **w > 0.0;
    out.extend(all.iter().zip(0..).filter(large).map(|(w, t)| (*w, t)));
}

/// How many of the first candidates reach this sum; all of them if rounding leaves it out of
/// reach.
fn fewest(candidates: &[Candidate], needed: f64) -> usize {
    let mut sum = 0.0;
    let reaches = |c: &Candidate| {
        sum += f64::from(c.0);
        sum >= needed
    };
    candidates.iter().position(reaches).map_or(candidates.len(), |at| at + 1)
}

/// Log-probabilities by the model.
#[derive(Clone, Debug, PartialEq)]
pub struct LogProbs {
    /// Of the chosen token.
    pub chosen: f32,
    /// Of the likeliest tokens, the likeliest first.
    pub top: Vec<(u32, f32)>,
}

/// The chosen token's log-probability and those of the `top` likeliest.
pub(crate) fn log_probs(
    logits: &[f32],
    chosen: u32,
    top: usize,
    scratch: &mut Scratch,
) -> LogProbs {
    let max = weights::largest(logits).unwrap_or(f32::NAN);
    weights::fill(logits, max, 1.0, &mut scratch.weights);
    let log_sum = weights::sum(&scratch.weights).ln();
    let of = |logit: f32| (f64::from(logit - max) - log_sum) as f32;
    let (top, candidates) = (top.min(logits.len()), &mut scratch.candidates);
    candidates.clear();
    if top > 0 {
        candidates.extend(logits.iter().zip(0..).map(|(l, t)| (*l, t)));
    }
    if top > 0 && top < candidates.len() {
        candidates.select_nth_unstable_by(top, descending);
    }
    candidates.truncate(top);
    candidates.sort_unstable_by(descending);
    let top = candidates.iter().map(|c| (c.1, of(c.0))).collect();
    LogProbs { chosen: of(logits[chosen as usize]), top }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> Sampling {
        Sampling { temperature: 1.0, ..Sampling::default() }
    }

    fn draw(params: &Sampling, logits: &[f32], index: u32) -> u32 {
        Sampler::new(params, 0, &[]).sample(logits, index, &mut Scratch::default()).unwrap()
    }

    /// How often each of the tokens comes in 4,000 draws.
    fn counts(params: &Sampling, logits: &[f32]) -> Vec<usize> {
        let mut out = vec![0; logits.len()];
        (0..4000).for_each(|i| out[draw(params, logits, i) as usize] += 1);
        out
    }

    #[test]
    fn greedy_takes_the_largest_and_the_first_of_equals() {
        let greedy = Sampling::default();
        assert_eq!(draw(&greedy, &[0.0, 3.0, 3.0, f32::NEG_INFINITY], 0), 1);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [2.0f32, 1.0, 0.0, f32::NEG_INFINITY];
        for temperature in [0.5, 1.0, 2.0] {
            let found = counts(&Sampling { temperature, ..params() }, &logits);
            let weights = logits.map(|l| f64::from(l / temperature).exp());
            let sum: f64 = weights.iter().sum();
            for (n, w) in found.iter().zip(weights) {
                let (share, want) = (*n as f64 / 4000.0, w / sum);
                // Four standard deviations.
                assert!((share - want).abs() <= 4.0 * (want * (1.0 - want) / 4000.0).sqrt());
            }
        }
    }

    #[test]
    fn filters_cut_exactly() {
        // Probabilities 0.5, 0.25, 0.15, 0.1.
        let logits = [0.25f32, 0.5, 0.1, 0.15].map(f32::ln);
        let kept = |p: Sampling| counts(&p, &logits).iter().map(|n| *n > 0).collect::<Vec<_>>();
        assert_eq!(kept(Sampling { top_k: 2, ..params() }), [true, true, false, false]);
        assert_eq!(kept(Sampling { top_p: 0.5, ..params() }), [false, true, false, false]);
        assert_eq!(kept(Sampling { top_p: 0.51, ..params() }), [true, true, false, false]);
        assert_eq!(kept(Sampling { top_p: 0.89, ..params() }), [true, true, false, true]);
        assert_eq!(kept(Sampling { min_p: 0.29, ..params() }), [true, true, false, true]);
        // 0.5 is 5/9 of what top-k leaves.
        let both = Sampling { top_k: 3, top_p: 0.55, ..params() };
        assert_eq!(kept(both), [false, true, false, false]);
    }

    #[test]
    fn a_flat_nucleus_is_found() {
        let nucleus = Sampling { top_p: 0.9, ..params() };
        let (mut found, sampler) = (Vec::new(), Sampler::new(&nucleus, 0, &[]));
        sampler.largest(&[1.0; 1000], &mut found);
        assert_eq!(found.iter().map(|c| c.1).collect::<Vec<_>>(), (0..900).collect::<Vec<_>>());
    }

    #[test]
    fn small_weights_are_found_when_they_are_needed() {
        let mut weights = vec![1e-8f32; 100];
        weights[40] = 1.0;
        let top = Sampling { top_k: 3, ..params() };
        let mut found = Vec::new();
        Sampler::new(&top, 0, &[]).largest(&weights, &mut found);
        assert_eq!(found, [(1.0, 40), (1e-8, 0), (1e-8, 1)]);
    }

    #[test]
    fn penalties_apply_to_what_was_there() {
        let base = Sampling::default();
        let logits = [1.0f32, 0.9, -0.5];
        let repetition = Sampling { repetition_penalty: 2.0, ..base.clone() };
        let choose = |s: &Sampler| s.sample(&logits, 0, &mut Scratch::default()).unwrap();
        assert_eq!(choose(&Sampler::new(&repetition, 0, &[0])), 1, "the prompt counts");
        let presence = Sampling { presence_penalty: 0.2, ..base.clone() };
        let mut sampler = Sampler::new(&presence, 0, &[0]);
        assert_eq!(choose(&sampler), 0, "the prompt does not count");
        sampler.push(0);
        assert_eq!(choose(&sampler), 1);
        let frequency = Sampling { frequency_penalty: 0.06, ..base };
        let mut sampler = Sampler::new(&frequency, 0, &[]);
        sampler.push(0);
        assert_eq!(choose(&sampler), 0);
        sampler.push(0);
        assert_eq!(choose(&sampler), 1, "twice is more than once");
    }

    #[test]
    fn logits_without_a_maximum_are_refused() {
        let sampler = Sampler::new(&params(), 0, &[]);
        for bad in [[f32::NAN, 0.0], [f32::INFINITY, 0.0], [f32::NEG_INFINITY; 2]] {
            assert!(sampler.sample(&bad, 0, &mut Scratch::default()).is_err());
        }
    }

    #[test]
    fn log_probabilities_sum_to_one() {
        let found = log_probs(&[1.0, 3.0, 2.0], 0, 3, &mut Scratch::default());
        assert_eq!(found.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2, 0]);
        let sum: f32 = found.top.iter().map(|t| t.1.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6 && found.chosen == found.top[2].1);
    }
}
