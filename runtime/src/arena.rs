//! Packs buffers with known sizes and lifetimes into one block of memory.
//!
//! Greedy, each buffer into the smallest gap that fits among the buffers that live at the
//! same time (Pisarchyk and Lee, arXiv 2001.03288, section 4): the largest first. Where
//! that wastes memory, what ends highest is placed first next time, and the best of a few
//! attempts is taken. The orders are total, so the offsets are the same on every run and
//! machine.

use crate::sys::memory::ALIGN;
use std::cmp::Reverse;

/// A packing within this fraction (one in so many) of the lower bound is not improved on.
const CLOSE: u64 = 50;
const ATTEMPTS: usize = 16;

/// One buffer to place: lives from step `first` to step `last` inclusive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub(crate) first: u32,
    pub(crate) last: u32,
    pub(crate) bytes: u64,
}

/// Where the buffers lie.
#[derive(Clone, Debug, Default)]
pub(crate) struct Packing {
    /// Offset of each interval, 64-byte aligned.
    pub(crate) offsets: Vec<u64>,
    /// Bytes of the block.
    pub(crate) total: u64,
    /// The most bytes that live at one step: no packing needs less.
    pub(crate) lower_bound: u64,
}

/// Packs; `None` if the total does not fit 63 bits.
pub(crate) fn pack(intervals: &[Interval]) -> Option<Packing> {
    let mut sizes = Vec::with_capacity(intervals.len());
    let mut sum = 0u64;
    for i in intervals {
        let size = i.bytes.checked_next_multiple_of(ALIGN as u64)?;
        // The total never exceeds the sum, so nothing below can overflow.
        sum = sum.checked_add(size).filter(|s| *s <= i64::MAX as u64)?;
        sizes.push(size);
    }
    let lower_bound = most_alive(intervals, &sizes);
    let mut order: Vec<usize> = (0..intervals.len()).filter(|i| sizes[*i] > 0).collect();
    order.sort_by_key(|&i| (Reverse(sizes[i]), intervals[i].first, i));
    let mut best: Option<Packing> = None;
    for _ in 0..ATTEMPTS {
        let (offsets, total) = place(&order, intervals, &sizes);
        let top = order.iter().position(|&i| offsets[i] + sizes[i] == total);
        if best.as_ref().is_none_or(|b| total < b.total) {
            best = Some(Packing { offsets, total, lower_bound });
        }
        if total - lower_bound <= lower_bound / CLOSE {
            break;
        }
        order[..=top.unwrap_or(0)].rotate_right(1);
    }
    best
}

/// Places buffers in this order; gives their offsets and the size of the block.
fn place(order: &[usize], intervals: &[Interval], sizes: &[u64]) -> (Vec<u64>, u64) {
    let (mut offsets, mut total) = (vec![0; intervals.len()], 0u64);
    // Indices of placed buffers, by offset.
    let mut placed: Vec<usize> = Vec::with_capacity(order.len());
    for &i in order {
        let offset = best_gap(i, &placed, intervals, sizes, &offsets);
        offsets[i] = offset;
        total = total.max(offset + sizes[i]);
        let at = placed.partition_point(|&p| offsets[p] <= offset);
        placed.insert(at, i);
    }
    (offsets, total)
}

/// The start of the smallest gap that takes buffer `i`.
fn best_gap(
    i: usize,
    placed: &[usize],
    intervals: &[Interval],
    sizes: &[u64],
    offsets: &[u64],
) -> u64 {
    let overlaps = |p: &&usize| {
        intervals[**p].first <= intervals[i].last && intervals[i].first <= intervals[**p].last
    };
    let mut best: Option<(u64, u64)> = None;
    let mut end = 0;
    for &p in placed.iter().filter(overlaps) {
        let gap = offsets[p].saturating_sub(end);
        if gap >= sizes[i] && best.is_none_or(|(size, _)| gap < size) {
            best = Some((gap, end));
        }
        end = end.max(offsets[p] + sizes[p]);
    }
    best.map_or(end, |(_, start)| start)
}

fn most_alive(intervals: &[Interval], sizes: &[u64]) -> u64 {
    let mut events: Vec<(u64, bool, u64)> = Vec::with_capacity(2 * intervals.len());
    for (i, size) in intervals.iter().zip(sizes) {
        events.push((u64::from(i.first), true, *size));
        events.push((u64::from(i.last) + 1, false, *size));
    }
    events.sort_unstable(); // At one step, what ends (`false`) comes before what begins.
    let (mut now, mut most) = (0u64, 0u64);
    for (_, begins, size) in events {
        now = if begins { now + size } else { now - size };
        most = most.max(now);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn interval() -> impl Strategy<Value = Interval> {
        (0u32..30, 0u32..8, 0u64..5000).prop_map(|(first, length, bytes)| Interval {
            first,
            last: first + length,
            bytes,
        })
    }

    proptest! {
        #[test]
        fn live_buffers_do_not_overlap(all in proptest::collection::vec(interval(), 0..40)) {
            let p = pack(&all).unwrap();
            prop_assert!(p.total >= p.lower_bound);
            for (i, a) in all.iter().enumerate() {
                prop_assert_eq!(p.offsets[i] % 64, 0);
                prop_assert!(p.offsets[i] + a.bytes <= p.total);
                for (j, b) in all.iter().enumerate().skip(i + 1) {
                    let both_live = a.first <= b.last && b.first <= a.last;
                    let apart = p.offsets[i] + a.bytes <= p.offsets[j] || p.offsets[j] + b.bytes <= p.offsets[i];
                    prop_assert!(!both_live || apart || a.bytes == 0 || b.bytes == 0, "{a:?} {b:?}");
                }
            }
        }

        #[test]
        fn the_packing_is_close_to_the_lower_bound(all in proptest::collection::vec(interval(), 1..40)) {
            let p = pack(&all).unwrap();
            prop_assert!(p.total <= 2 * p.lower_bound, "{} vs {}", p.total, p.lower_bound);
        }
    }

    #[test]
    fn a_chain_reuses_two_places() {
        let chain: Vec<Interval> =
            (0..100).map(|i| Interval { first: i, last: i + 1, bytes: 640 }).collect();
        let p = pack(&chain).unwrap();
        assert_eq!((p.total, p.lower_bound), (1280, 1280));
    }

    #[test]
    fn absurd_sizes_are_refused() {
        let huge = Interval { first: 0, last: 0, bytes: i64::MAX as u64 };
        assert!(pack(&[huge, huge, huge]).is_none());
        assert!(pack(&[Interval { bytes: u64::MAX, ..huge }]).is_none());
    }
}
