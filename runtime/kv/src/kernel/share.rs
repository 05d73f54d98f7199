//! What each thread computes: ranges of the rows of products of all key heads.
//!
//! A key head's rows of products are the ranks of the step, each with the query heads that
//! share the key head.

use std::ops::Range;

/// A thread's rows of products, counted over all key heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    rows: Range<usize>,
    /// Rows of one key head.
    each: usize,
}

impl Share {
    /// The key heads and the rows of each.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
        let (Range { start, end }, each) = (self.rows.clone(), self.each.max(1));
        let heads = if start < end { start / each..end.div_ceil(each) } else { 0..0 };
        heads.map(move |head| {
            let first = head * each;
            (head, start.max(first) - first..end.min(first + each) - first)
        })
    }
}

/// Cuts the rows so that each share reads about as many keys as the others.
pub(super) fn shares(
    positions: &[u32],
    group: usize,
    heads: usize,
    count: usize,
    out: &mut Vec<Share>,
) {
    let each = positions.len() * group;
    let cost = |rank: usize| u64::from(positions[rank]) + 1;
    let one: u64 = (0..positions.len()).map(cost).sum::<u64>() * group as u64;
    let all = one * heads as u64;
    let (mut at, mut spent) = (0, 0);
    for share in 1..=count.max(1) as u64 {
        let (start, until) = (at, all * share / count.max(1) as u64);
        // A row goes where its middle lies.
        while at < each * heads && spent + cost(at % each / group) / 2 < until {
            spent += cost(at % each / group);
            at += 1;
        }
        if share == count.max(1) as u64 {
            at = each * heads;
        }
        if start < at {
            out.push(Share { rows: start..at, each });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where each share begins and ends.
    fn cut(positions: &[u32], group: usize, heads: usize, count: usize) -> Vec<[usize; 2]> {
        let mut out = Vec::new();
        shares(positions, group, heads, count, &mut out);
        out.into_iter().map(|s| [s.rows.start, s.rows.end]).collect()
    }

    #[test]
    fn rows_are_dealt_out_by_what_they_read() {
        assert_eq!(cut(&[7], 3, 3, 1), [[0, 9]]);
        assert_eq!(cut(&[7], 3, 3, 2), [[0, 4], [4, 9]]);
        assert_eq!(cut(&[99, 0, 0], 1, 1, 2), [[0, 1], [1, 3]]);
        assert_eq!(cut(&[5], 1, 1, 4), [[0, 1]]);
        assert_eq!(cut(&[], 2, 2, 2), [] as [[usize; 2]; 0]);
    }

    #[test]
    fn pieces_are_of_one_key_head_each() {
        let share = Share { rows: 4..9, each: 3 };
        assert_eq!(share.pieces().collect::<Vec<_>>(), [(1, 1..3), (2, 0..3)]);
        let share = Share { rows: 3..6, each: 3 };
        assert_eq!(share.pieces().collect::<Vec<_>>(), [(1, 0..3)]);
    }
}
