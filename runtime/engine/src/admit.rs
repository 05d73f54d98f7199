//! Which sequences may start.
//!
//! In the order of arrival, while there are places and blocks for the whole of what the
//! sequence has now, and one block more for each that runs: a sequence that is let in too
//! early only throws out another one. The first that does not fit ends the search, so a large
//! request is never overtaken for ever. If nothing runs, the first one always fits: requests
//! that need more than the whole cache were refused.
//!
//! One exception to the order: a sequence whose prefix another one is computing right now
//! waits for it, and shares it, while later ones go on.

use crate::core::Core;
use crate::model::Model;
use crate::sequence::Sequence;
use cascata_kv::BlockCopy;

/// What is to become of a waiting sequence.
enum Verdict {
    Admitted,
    /// Its prefix is on its way.
    Later,
    /// There is no room.
    Full,
}

impl<M: Model> Core<M> {
    /// Moves sequences from waiting to running.
    pub(crate) fn admit(&mut self) {
        let mut at = 0;
        // Sequences that wait for a prefix could make this search long.
        while at < self.waiting.len().min(self.config.max_sequences) {
            let Some(mut sequence) = self.waiting.remove(at) else { return };
            let verdict = self.try_admit(&mut sequence);
            if matches!(verdict, Verdict::Admitted) {
                let place = self.running.partition_point(|s| s.id < sequence.id);
                self.running.insert(place, sequence);
                continue;
            }
            self.waiting.insert(at, sequence);
            at += 1;
            if matches!(verdict, Verdict::Full) {
                return;
            }
        }
    }

    fn try_admit(&mut self, sequence: &mut Sequence) -> Verdict {
        let places: usize = self.running.iter().map(|s| 1 + s.siblings as usize).sum();
        let wanted = 1 + sequence.siblings as usize;
        if places + wanted > self.config.max_sequences {
            return Verdict::Full;
        }
        if self.config.prefix_sharing && self.is_being_computed(sequence) {
            return Verdict::Later;
        }
        if self.config.prefix_sharing {
            self.adopt_prefix(sequence);
        }
        let needed = sequence.table.missing(sequence.tokens.len(), &self.pool);
        let spare = if self.running.is_empty() { 0 } else { places + wanted };
        if needed + spare > self.pool.free() + self.pool.evictable() {
            sequence.table.clear(&mut self.pool);
            return Verdict::Full;
        }
        if self.config.prefix_sharing {
            self.adopt_partial(sequence);
        }
        let cached = sequence.computed();
        self.stats.cached_tokens += cached as u64;
        if sequence.new_tokens() == 0 {
            sequence.usage.cached_tokens = cached;
        }
        Verdict::Admitted
    }

    /// Whether a running sequence is computing more of this one's prefix than the cache has.
    fn is_being_computed(&self, sequence: &Sequence) -> bool {
        let wanted = &sequence.tokens[..sequence.tokens.len() - 1];
        let mut cached = None;
        self.running.iter().filter(|s| s.pending() > 1).any(|other| {
            let both = wanted.iter().zip(&other.tokens);
            let common = both.take_while(|(a, b)| a == b).count();
            let block = self.config.block_tokens as usize;
            let shared = common / block * block;
            shared > other.computed()
                && shared > *cached.get_or_insert_with(|| self.tree.matched(wanted))
        })
    }

    /// Starts with the blocks that the cache has. The last token is always computed: its
    /// logits are wanted.
    fn adopt_prefix(&mut self, sequence: &mut Sequence) {
        let found = self.tree.find(&sequence.tokens[..sequence.tokens.len() - 1]);
        found.blocks.iter().for_each(|b| self.pool.retain(*b));
        sequence.table.replace_prefix(&found.blocks, &mut self.pool);
    }

    /// Copies the beginning of a block that the cache has.
    fn adopt_partial(&mut self, sequence: &mut Sequence) {
        let wanted = &sequence.tokens[..sequence.tokens.len() - 1];
        if self.pool.free() == 0 && self.tree.find(wanted).partial.is_some() {
            // This may give up the very block that was found.
            self.stats.evictions += self.tree.evict(1, &mut self.pool) as u64;
        }
        let found = self.tree.find(wanted);
        let Some((from, tokens)) = found.partial else { return };
        if found.blocks.len() != sequence.table.blocks().len() {
            return;
        }
        let end = sequence.computed() + tokens;
        if sequence.table.reserve(end, &mut self.pool, &mut self.copies).is_ok() {
            let to = sequence.table.slot(end - 1).block;
            self.copies.push(BlockCopy { from, to, tokens: tokens as u32 });
            sequence.table.advance(tokens);
        }
    }
}
