//! From logits to a token.
//!
//! Greedy without penalties is one scan. Otherwise the tokens become candidates, which the
//! filters cut: top-k by selection; top-p by sorting only as many of the largest as it
//! takes; min-p against the largest. One uniform number picks among the rest. Everything
//! depends on the row's logits, the sequence's own tokens and its seed, and on nothing else.

use crate::params::Sampling;
use crate::rng::uniform;
use std::cmp::Ordering;
use std::collections::HashMap;

/// A token and its logit.
pub(crate) type Candidate = (f32, u32);

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

/// Larger logits first; of equals, lower ids.
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
        scratch: &mut Vec<Candidate>,
    ) -> Result<u32, BadLogits> {
        let best = argmax(logits).ok_or(BadLogits)?;
        let greedy = self.params.temperature == 0.0;
        if greedy && !self.has_penalties() {
            return Ok(best);
        }
        scratch.clear();
        scratch.extend(logits.iter().zip(0..).map(|(l, t)| (*l, t)));
        self.penalise(scratch);
        if greedy {
            return Ok(scratch.iter().copied().min_by(descending).map_or(best, |c| c.1));
        }
        scratch.retain(|c| c.0 > f32::NEG_INFINITY);
        scratch.iter_mut().for_each(|c| c.0 /= self.params.temperature);
        self.filter(scratch);
        Ok(pick(scratch, uniform(self.params.seed, self.sample, index)).unwrap_or(best))
    }

    fn penalise(&self, candidates: &mut [Candidate]) {
        let s = &self.params;
        for (token, count) in &self.generated {
            let Some((logit, _)) = candidates.get_mut(*token as usize) else { continue };
            let repeated = s.repetition_penalty;
            *logit = if *logit > 0.0 { *logit / repeated } else { *logit * repeated };
            let presence = if *count > 0 { s.presence_penalty } else { 0.0 };
            *logit -= presence + s.frequency_penalty * *count as f32;
        }
    }

    fn filter(&self, candidates: &mut Vec<Candidate>) {
        let s = &self.params;
        let k = s.top_k as usize;
        if k > 0 && k < candidates.len() {
            candidates.select_nth_unstable_by(k - 1, descending);
            candidates.truncate(k);
            candidates.sort_unstable_by(descending);
        }
        if s.top_p < 1.0 {
            nucleus(candidates, f64::from(s.top_p));
        }
        if s.min_p > 0.0 {
            let least = largest(candidates) + s.min_p.ln();
            candidates.retain(|c| c.0 >= least);
        }
    }
}

/// The largest logit's token; none if a logit is NaN or +∞, or all are −∞.
fn argmax(logits: &[f32]) -> Option<u32> {
    let (mut best, mut at) = (f32::NEG_INFINITY, None);
    for (logit, token) in logits.iter().zip(0..) {
        if logit.is_nan() || *logit == f32::INFINITY {
            return None;
        }
        if *logit > best {
            (best, at) = (*logit, Some(token));
        }
    }
    at
}

fn largest(candidates: &[Candidate]) -> f32 {
    candidates.iter().fold(f32::NEG_INFINITY, |m, c| m.max(c.0))
}

fn weight(candidate: &Candidate, max: f32) -> f64 {
    f64::from(candidate.0 - max).exp()
}

/// Cuts to the fewest candidates that hold a share `top_p` of the probability, sorted.
fn nucleus(candidates: &mut Vec<Candidate>, top_p: f64) {
    let max = largest(candidates);
    let needed = top_p * candidates.iter().map(|c| weight(c, max)).sum::<f64>();
    let mut sorted = 64.min(candidates.len());
    loop {
        if sorted < candidates.len() {
            candidates.select_nth_unstable_by(sorted, descending);
        }
        candidates[..sorted].sort_unstable_by(descending);
        let mut sum = 0.0;
        let reaches = |c: &Candidate| {
            sum += weight(c, max);
            sum >= needed
        };
        let found = candidates[..sorted].iter().position(reaches);
        if found.is_some() || sorted == candidates.len() {
            candidates.truncate(found.map_or(sorted, |at| at + 1));
            return;
        }
        // PERF: most distributions end within the first 64; a full sort of 150,000 candidates
        // would cost more than all other filters together.
        sorted = (sorted * 8).min(candidates.len());
    }
}

/// The candidate at this share of the cumulated probability.
fn pick(candidates: &[Candidate], at: f64) -> Option<u32> {
    let max = largest(candidates);
    let target = at * candidates.iter().map(|c| weight(c, max)).sum::<f64>();
    let mut sum = 0.0;
    let reaches = |c: &&Candidate| {
        sum += weight(c, max);
        sum > target
    };
    candidates.iter().find(reaches).or(candidates.last()).map(|c| c.1)
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
    scratch: &mut Vec<Candidate>,
) -> LogProbs {
    let max = logits.iter().fold(f32::NEG_INFINITY, |m, l| m.max(*l));
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    let of = |logit: f32| (f64::from(logit - max) - sum.ln()) as f32;
    let top = top.min(logits.len());
    scratch.clear();
    scratch.extend(logits.iter().zip(0..).map(|(l, t)| (*l, t)));
    if top > 0 && top < scratch.len() {
        scratch.select_nth_unstable_by(top, descending);
    }
    scratch.truncate(top);
    scratch.sort_unstable_by(descending);
    let top = scratch.iter().map(|c| (c.1, of(c.0))).collect();
    LogProbs { chosen: of(logits[chosen as usize]), top }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> Sampling {
        Sampling { temperature: 1.0, ..Sampling::default() }
    }

    fn draw(params: &Sampling, logits: &[f32], index: u32) -> u32 {
        Sampler::new(params, 0, &[]).sample(logits, index, &mut Vec::new()).unwrap()
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
    fn a_flat_nucleus_is_found_beyond_the_first_candidates() {
        let mut flat: Vec<Candidate> = (0..1000).map(|t| (0.0, t)).collect();
        nucleus(&mut flat, 0.9);
        assert_eq!(flat.iter().map(|c| c.1).collect::<Vec<_>>(), (0..900).collect::<Vec<_>>());
    }

    #[test]
    fn penalties_apply_to_what_was_there() {
        let base = Sampling::default();
        let logits = [1.0f32, 0.9, -0.5];
        let repetition = Sampling { repetition_penalty: 2.0, ..base.clone() };
        let choose = |s: &Sampler| s.sample(&logits, 0, &mut Vec::new()).unwrap();
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
            assert!(sampler.sample(&bad, 0, &mut Vec::new()).is_err());
        }
    }

    #[test]
    fn log_probabilities_sum_to_one() {
        let found = log_probs(&[1.0, 3.0, 2.0], 0, 3, &mut Vec::new());
        assert_eq!(found.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2, 0]);
        let sum: f32 = found.top.iter().map(|t| t.1.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6 && found.chosen == found.top[2].1);
    }
}
