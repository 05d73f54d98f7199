//! The bounded cache of plans, by segment and the values of the symbols that matter to it.

use crate::bind::Values;
use crate::plan::SegmentPlan;
use std::sync::{Arc, Mutex, PoisonError};

/// Of each segment, the least recently used plans are dropped first.
pub(crate) struct PlanCache {
    capacity: usize,
    segments: Vec<Mutex<Vec<Cached>>>,
}

struct Cached {
    values: Box<Values>,
    plan: Arc<SegmentPlan>,
}

impl PlanCache {
    /// A cache of that many plans for each of `segments` segments.
    pub(crate) fn new(capacity: usize, segments: usize) -> Self {
        let segments = (0..segments).map(|_| Mutex::new(Vec::new())).collect();
        Self { capacity: capacity.max(1), segments }
    }

    /// The plan for these values, made by `make` if it is not in the cache. Two threads
    /// may make the same plan at once; plans are equal, so either may stay.
    pub(crate) fn get<E>(
        &self,
        segment: usize,
        values: &Values,
        make: impl FnOnce() -> Result<SegmentPlan, E>,
    ) -> Result<Arc<SegmentPlan>, E> {
        if let Some(plan) = self.find(segment, values) {
            return Ok(plan);
        }
        let plan = Arc::new(make()?);
        let mut entries = self.lock(segment);
        if entries.len() >= self.capacity {
            entries.pop();
        }
        entries.insert(0, Cached { values: values.into(), plan: plan.clone() });
        Ok(plan)
    }

    /// The most recently used are in front.
    fn find(&self, segment: usize, values: &Values) -> Option<Arc<SegmentPlan>> {
        let mut entries = self.lock(segment);
        let at = entries.iter().position(|c| *c.values == *values)?;
        entries[..=at].rotate_right(1);
        Some(entries[0].plan.clone())
    }

    pub(crate) fn len(&self) -> usize {
        (0..self.segments.len()).map(|s| self.lock(s).len()).sum()
    }

    fn lock(&self, segment: usize) -> std::sync::MutexGuard<'_, Vec<Cached>> {
        self.segments[segment].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(cache: &PlanCache, segment: usize, value: i64) -> bool {
        let mut made = false;
        let make = || {
            made = true;
            Ok::<_, ()>(SegmentPlan::default())
        };
        cache.get(segment, &[Some(value)], make).unwrap();
        made
    }

    #[test]
    fn the_least_recently_used_plan_goes() {
        let cache = PlanCache::new(2, 2);
        assert!(get(&cache, 0, 1));
        assert!(get(&cache, 0, 2));
        assert!(!get(&cache, 0, 1));
        assert!(get(&cache, 1, 1), "another segment has plans of its own");
        assert!(get(&cache, 0, 3), "2 goes");
        assert!(!get(&cache, 0, 1));
        assert!(get(&cache, 0, 2));
        assert_eq!(cache.len(), 3);
    }

    #[test]
    fn failures_are_not_cached() {
        let cache = PlanCache::new(2, 1);
        assert!(cache.get(0, &[], || Err(7)).is_err_and(|e| e == 7));
        assert_eq!(cache.len(), 0);
    }
}
