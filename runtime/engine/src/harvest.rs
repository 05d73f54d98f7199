//! From logits to tokens: sampling, verification of drafts, forks of samples.
//!
//! Verification: at the sequence's last token, and at each draft token that was right, the
//! next token is drawn from the model's own distribution, with the random number that belongs
//! to its place. If a draft has that token, the walk goes on there; if not, it ends, and the
//! drawn token stands. For a draft that names one token, this *is* rejection sampling
//! (Leviathan et al., arXiv 2211.17192, §2.3): it is accepted with probability `p(token)`, and
//! otherwise the result has the distribution `p` without it, renormalised. It gives more than
//! the same distribution: the very tokens that come without drafts.

use crate::core::Core;
use crate::error::GenerateError;
use crate::event::FinishReason;
use crate::model::Model;
use crate::sample::log_probs;
use crate::sequence::{Plan, Sequence, SequenceId};

/// What becomes of a sequence after a step.
type Outcome = Result<Option<FinishReason>, GenerateError>;

impl<M: Model> Core<M> {
    /// Takes in the step's results.
    pub(crate) fn harvest(&mut self) {
        let mut failed = Vec::new();
        for mut sequence in std::mem::take(&mut self.running) {
            let plan = std::mem::take(&mut sequence.plan);
            let mut siblings = self.siblings(&mut sequence, &plan);
            let outcome = self.advance(&mut sequence, plan);
            for sibling in &mut siblings {
                sibling.0.table = sequence.table.fork(&mut self.pool);
            }
            for (sequence, outcome) in [(sequence, outcome)].into_iter().chain(siblings) {
                match outcome {
                    Ok(None) => self.running.push(sequence),
                    Ok(Some(reason)) => self.finish(sequence, reason),
                    Err(error) => {
                        failed.push((sequence.id.request, error));
                        self.running.push(sequence);
                    }
                }
            }
        }
        for (request, error) in failed {
            self.fail(request, &error);
        }
    }

    /// If the prompt is through: the other samples, each with its own first token. Their
    /// tables are the first one's, once that has been brought up to date.
    fn siblings(&mut self, sequence: &mut Sequence, plan: &Plan) -> Vec<(Sequence, Outcome)> {
        let through = plan.tokens > 0 && plan.tokens == sequence.pending();
        if !through || sequence.siblings == 0 {
            return Vec::new();
        }
        let count = std::mem::take(&mut sequence.siblings);
        let sibling = |number| {
            let sample = sequence.id.sample + number;
            let mut sibling = sequence.sibling(SequenceId { sample, ..sequence.id });
            let outcome = self.choose(&mut sibling, plan.logit);
            (sibling, outcome)
        };
        (1..=count).map(sibling).collect()
    }

    /// Counts what was computed and chooses the next tokens, if the logits are there.
    fn advance(&mut self, sequence: &mut Sequence, plan: Plan) -> Outcome {
        if plan.tokens < sequence.pending() {
            sequence.table.advance(plan.tokens);
            self.share_prefix(sequence, plan.tokens);
            return Ok(None);
        }
        let (mut node, mut accepted) = (None, 0);
        let outcome = loop {
            let logit = plan.logit + node.map_or(0, |n| n + 1);
            match self.choose(sequence, logit) {
                Ok(None) => {}
                end => break end,
            }
            let chosen = sequence.tokens.last().copied().unwrap_or_default();
            let Some(child) = plan.draft.child(node, chosen) else { break Ok(None) };
            (node, accepted) = (Some(child), accepted + 1);
        };
        self.stats.drafts_accepted += accepted as u64;
        sequence.usage.drafted_tokens += accepted;
        let tokens = plan.tokens;
        self.settle(sequence, plan, node, accepted);
        self.share_prefix(sequence, tokens);
        outcome
    }

    /// Keeps the branch that was right and drops the others.
    fn settle(
        &mut self,
        sequence: &mut Sequence,
        plan: Plan,
        node: Option<usize>,
        accepted: usize,
    ) {
        let passes = |nodes: &[usize]| node.is_some_and(|n| nodes.contains(&n));
        let mut won = false;
        for mut branch in plan.branches {
            let wins = !won && passes(&branch.nodes);
            won |= wins;
            let Some(table) = &mut branch.table else { continue };
            if wins {
                std::mem::swap(table, &mut sequence.table);
            }
            table.clear(&mut self.pool);
        }
        sequence.table.advance(plan.tokens + accepted);
        let computed = sequence.table.tokens();
        sequence.table.truncate(computed, &mut self.pool);
    }

    /// Puts the full blocks of a prompt into the prefix cache as soon as they are computed, so
    /// that sequences beside this one find them.
    fn share_prefix(&mut self, sequence: &mut Sequence, tokens: usize) {
        let prompt = tokens > 1 || sequence.computed() <= sequence.prompt;
        if self.config.prefix_sharing && prompt && tokens > 0 {
            let (tokens, table) = (&sequence.tokens, &mut sequence.table);
            self.tree.insert(&tokens[..table.tokens()], table, false, &mut self.pool);
        }
    }

    /// Chooses a token from a row of logits and hands it out.
    fn choose(&mut self, sequence: &mut Sequence, logit: usize) -> Outcome {
        let id = sequence.id.request;
        let Some(request) = self.requests.get_mut(&id) else { return Ok(None) };
        let vocab = self.spec.vocab as usize;
        let row = &self.logits[logit * vocab..(logit + 1) * vocab];
        let index = sequence.new_tokens() as u32;
        let position = sequence.tokens.len();
        let chosen = sequence.sampler.sample(row, index, &mut self.scratch);
        let token = chosen.map_err(|_| GenerateError::Logits { position })?;
        let top = request.params.log_probs;
        let logs = top.map(|n| log_probs(row, token, n as usize, &mut self.scratch));
        let pushed = sequence.push(token, &request.params, &self.config.eos_tokens);
        self.stats.new_tokens += 1;
        if !request.sink.send(Ok(sequence.token_event(pushed.text, logs))) {
            request.cancel.cancel();
        }
        Ok(pushed.reason)
    }
}
