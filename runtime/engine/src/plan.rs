//! How many tokens of each sequence the next step computes, and the blocks for them.
//!
//! Sarathi-Serve's stall-free schedule (arXiv 2403.02310, §4): every sequence that generates
//! gets its token first; prompts share the rest of the step's token budget, so a long prompt
//! runs in chunks beside them and no decode waits for it. Prompts share equally, and what a
//! short one leaves goes to the others, so a short prompt behind a long one is not held up.
//! Drafts get what is left then: under load there are none.
//!
//! Blocks are found in the order of arrival: free ones, then the least recently used of the
//! prefix cache, then those of the sequence that came last, which is computed again later.
//! The oldest sequence can take everything, and needs no more than there is, so it always
//! gets on: there is no deadlock.

use crate::core::Core;
use crate::draft::DraftTree;
use crate::error::GenerateError;
use crate::model::Model;
use crate::sequence::{Branch, Plan};
use cascata_kv::BlockTable;

impl<M: Model> Core<M> {
    /// Fills in every running sequence's plan.
    pub(crate) fn plan(&mut self) {
        let left = self.share_tokens();
        let mut at = 0;
        while at < self.running.len() {
            at += usize::from(self.find_blocks(at));
        }
        self.plan_drafts(left);
    }

    /// Deals out the step's token budget and says what is left of it.
    fn share_tokens(&mut self) -> usize {
        let decodes = self.running.iter().filter(|s| s.pending() == 1).count();
        let mut left = self.config.step_tokens.saturating_sub(decodes);
        let prompts = self.running.iter().map(|s| s.pending()).filter(|n| *n > 1);
        let shares = share(left, &prompts.collect::<Vec<_>>());
        left -= shares.iter().sum::<usize>();
        let mut shares = shares.into_iter();
        for sequence in &mut self.running {
            let prompt = sequence.pending() > 1;
            let tokens = if prompt { shares.next().unwrap_or(0) } else { 1 };
            sequence.plan = Plan { tokens, ..Plan::default() };
        }
        left
    }

    /// Makes room for a running sequence's tokens, if need be by taking it from those that
    /// came last. False if the sequence itself had to go.
    fn find_blocks(&mut self, at: usize) -> bool {
        loop {
            let sequence = &mut self.running[at];
            let end = sequence.computed() + sequence.plan.tokens;
            let Err(out) = sequence.table.reserve(end, &mut self.pool, &mut self.copies) else {
                return true;
            };
            let wanted = out.needed - out.free;
            let evicted = self.tree.evict(wanted, &mut self.pool);
            self.stats.evictions += evicted as u64;
            if evicted < wanted && !self.preempt(at) {
                return false;
            }
        }
    }

    /// Takes the blocks of the sequence that came last; false if that is the one at `at`.
    fn preempt(&mut self, at: usize) -> bool {
        let last = self.running.len() - 1;
        let Some(mut victim) = self.running.pop() else { return false };
        if last == 0 {
            // Nothing else holds a block, and all requests were checked against the cache.
            let request = victim.id.request;
            self.drop_blocks(&mut victim);
            self.fail(request, &GenerateError::OutOfBlocks);
            return false;
        }
        self.stats.preemptions += 1;
        self.retire(&mut victim);
        let place = self.waiting.partition_point(|s| s.id < victim.id);
        self.waiting.insert(place, victim);
        last != at
    }

    /// Adds drafts where there are tokens and free blocks left; nobody loses any for them.
    fn plan_drafts(&mut self, mut left: usize) {
        let Some(speculation) = self.config.speculation else { return };
        for at in 0..self.running.len() {
            let sequence = &self.running[at];
            if left == 0 {
                return;
            }
            if sequence.pending() != 1 || sequence.siblings > 0 {
                continue;
            }
            let Some(request) = self.requests.get(&sequence.id.request) else { continue };
            // The last token that may come needs no draft after it.
            let depth =
                (request.params.max_tokens as usize).saturating_sub(sequence.new_tokens() + 1);
            let draft = speculation.draft(&sequence.tokens, depth, left);
            let nodes = draft.nodes.len();
            if nodes > 0 && self.reserve_draft(at, draft) {
                left -= nodes;
            }
        }
    }

    /// Blocks for a draft: the first branch goes on in the sequence's own table, the others
    /// in forks of it.
    fn reserve_draft(&mut self, at: usize, draft: DraftTree) -> bool {
        let Self { pool, running, copies, .. } = self;
        let sequence = &mut running[at];
        let start = sequence.computed() + 1;
        let mut branches = Vec::new();
        let copied = copies.len();
        for (number, nodes) in draft.paths().into_iter().enumerate() {
            let mut fork = (number > 0).then(|| sequence.table.fork(pool));
            let table = fork.as_mut().unwrap_or(&mut sequence.table);
            let fits = table.reserve(start + nodes.len(), pool, copies).is_ok();
            branches.push(Branch { nodes, table: fork });
            if !fits {
                copies.truncate(copied);
                clear(branches, pool);
                return false;
            }
        }
        (sequence.plan.draft, sequence.plan.branches) = (draft, branches);
        true
    }
}

fn clear(branches: Vec<Branch>, pool: &mut cascata_kv::BlockPool) {
    let tables: Vec<BlockTable> = branches.into_iter().filter_map(|b| b.table).collect();
    tables.into_iter().for_each(|mut table| table.clear(pool));
}

/// Equal shares of `budget`; what one does not want goes to the others, the earlier first.
fn share(budget: usize, wanted: &[usize]) -> Vec<usize> {
    let mut out = vec![0; wanted.len()];
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by_key(|i| wanted[*i]);
    let (mut left, mut open) = (budget, wanted.len());
    for &i in &order {
        out[i] = wanted[i].min(left / open);
        left -= out[i];
        open -= 1;
    }
    for (share, wanted) in out.iter_mut().zip(wanted) {
        let more = (wanted - *share).min(left);
        *share += more;
        left -= more;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_equal_and_nothing_is_wasted() {
        assert_eq!(share(100, &[1000, 10, 1000]), [45, 10, 45]);
        assert_eq!(share(101, &[1000, 10, 1000]), [45, 10, 46]);
        assert_eq!(share(100, &[20, 10]), [20, 10]);
        assert_eq!(share(2, &[5, 5, 5]).iter().sum::<usize>(), 2);
        assert_eq!(share(7, &[]), [0usize; 0]);
    }
}
