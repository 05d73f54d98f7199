//! Drafts of tokens to come, from the sequence's own text.
//!
//! Prompt lookup: where the last tokens occurred before, what followed then may follow now.
//! The latest occurrences of the longest match give up to `branches` continuations, which
//! become a tree; the model judges all of it in one step (`verify` in [`crate::Core`]).

/// How drafts are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speculation {
    /// Tokens of one continuation at most.
    pub max_tokens: usize,
    /// Continuations at most.
    pub branches: usize,
    /// The shortest match that counts.
    pub min_match: usize,
    /// The longest match that is looked for.
    pub max_match: usize,
}

impl Default for Speculation {
    fn default() -> Self {
        Self { max_tokens: 5, branches: 2, min_match: 2, max_match: 4 }
    }
}

/// A tree of tokens: a node's parent comes before it, and a node without one follows the
/// sequence's last token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DraftTree {
    pub(crate) nodes: Vec<DraftNode>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DraftNode {
    pub(crate) token: u32,
    pub(crate) parent: Option<usize>,
    /// How many nodes come before it.
    pub(crate) depth: usize,
}

impl DraftTree {
    /// The node that follows `parent` with this token.
    pub(crate) fn child(&self, parent: Option<usize>, token: u32) -> Option<usize> {
        self.nodes.iter().position(|n| n.parent == parent && n.token == token)
    }

    /// Adds a continuation, no deeper than it fits into `room` nodes altogether.
    fn add(&mut self, tokens: &[u32], room: usize) {
        let mut parent = None;
        for (depth, &token) in tokens.iter().enumerate() {
            let known = self.child(parent, token);
            if known.is_none() && self.nodes.len() >= room {
                return;
            }
            parent = known.or_else(|| {
                self.nodes.push(DraftNode { token, parent, depth });
                Some(self.nodes.len() - 1)
            });
        }
    }

    /// For each leaf, the nodes from the first to it.
    pub(crate) fn paths(&self) -> Vec<Vec<usize>> {
        let inner = |at: usize| self.nodes.iter().any(|n| n.parent == Some(at));
        let path = |leaf: usize| {
            let up = std::iter::successors(Some(leaf), |at| self.nodes[*at].parent);
            let mut path: Vec<usize> = up.collect();
            path.reverse();
            path
        };
        (0..self.nodes.len()).filter(|at| !inner(*at)).map(path).collect()
    }
}

impl Speculation {
    /// A draft of at most `room` nodes, none deeper than `depth`.
    pub(crate) fn draft(&self, tokens: &[u32], depth: usize, room: usize) -> DraftTree {
        let (mut tree, depth) = (DraftTree::default(), depth.min(self.max_tokens));
        if depth == 0 {
            return tree;
        }
        for end in self.matches(tokens) {
            tree.add(&tokens[end..(end + depth).min(tokens.len())], room);
        }
        tree
    }

    /// Where the latest of the longest matches end.
    fn matches(&self, tokens: &[u32]) -> Vec<usize> {
        let (mut found, mut longest) = (Vec::new(), self.min_match.max(1));
        let Some((last, before)) = tokens.split_last() else { return found };
        for end in (1..=before.len()).rev() {
            if before[end - 1] != *last {
                continue;
            }
            let both = tokens[..end].iter().rev().zip(tokens.iter().rev());
            let length = both.take(self.max_match).take_while(|(a, b)| a == b).count();
            if length > longest {
                (found, longest) = (Vec::new(), length);
            }
            if length == longest && found.len() < self.branches {
                found.push(end);
            }
            if longest == self.max_match && found.len() == self.branches {
                break;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(s: Speculation, tokens: &[u32], depth: usize, room: usize) -> Vec<Vec<u32>> {
        let tree = s.draft(tokens, depth, room);
        let tokens = |path: &Vec<usize>| path.iter().map(|n| tree.nodes[*n].token).collect();
        tree.paths().iter().map(tokens).collect()
    }

    const S: Speculation = Speculation { max_tokens: 3, branches: 2, min_match: 1, max_match: 2 };

    #[test]
    fn what_followed_before_is_drafted() {
        assert_eq!(paths(S, &[7, 1, 2, 3, 4, 5, 1, 2], 9, 9), [[3, 4, 5]]);
        assert_eq!(paths(S, &[1, 2, 3, 4], 9, 9), Vec::<Vec<u32>>::new());
    }

    #[test]
    fn the_longest_match_wins_and_branches_share_their_start() {
        let tokens = [1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2];
        assert_eq!(paths(S, &tokens, 9, 9), [vec![3, 5, 9], vec![3, 4, 9]]);
        assert_eq!(paths(S, &tokens, 9, 3), [[3, 5, 9]]);
        assert_eq!(paths(S, &tokens, 1, 9), [[3]]);
    }

    #[test]
    fn a_match_may_overlap_its_continuation() {
        assert_eq!(paths(S, &[5, 5, 5, 5], 9, 9), [[5, 5]]);
    }
}
