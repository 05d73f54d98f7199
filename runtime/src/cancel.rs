//! Stopping a run from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks runs to stop; clones ask the same runs. A run looks at it before each launch, so it
/// goes on for one launch at most, and ends with an error that says so.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that does not ask yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks all runs with this token to stop, and those to come. Any thread may call it.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Takes it back, for the next runs.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether runs are asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Options of one run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    pub(crate) cancel: Option<CancelToken>,
}

impl RunOptions {
    /// Stops when the token says so.
    #[must_use]
    pub fn cancel(mut self, token: &CancelToken) -> Self {
        self.cancel = Some(token.clone());
        self
    }
}
