//! The runtime: the thread pool and the micro-kernels' instruction set.

use crate::error::LoadError;
use crate::sys::pool::Pool;
use cascata_kernels::Isa;
use std::sync::{Arc, OnceLock};

/// Threads and instruction set, shared by any number of sessions. Clones are the same
/// runtime; its threads end with the last clone or session.
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    pool: Pool,
    isa: Isa,
}

/// Options of a [`Runtime`].
#[derive(Clone, Debug, Default)]
pub struct RuntimeBuilder {
    threads: usize,
    isa: Option<Isa>,
}

impl RuntimeBuilder {
    /// How many threads one run uses at most, the calling one included; 0 (the default)
    /// means one for each CPU that the process may use, 1 means no pool at all.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Uses micro-kernels of this level; what the CPU lacks is lowered to what it has.
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn build(self) -> Result<Runtime, LoadError> {
        let available = || std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if self.threads == 0 { available() } else { self.threads };
        let pool = Pool::new(threads).map_err(LoadError::Threads)?;
        let best = Isa::detect();
        Ok(Runtime(Arc::new(Inner { pool, isa: self.isa.map_or(best, |isa| isa.min(best)) })))
    }
}

impl Runtime {
    /// Options for a new runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// The process's default runtime, with all CPUs; made at the first call.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn global() -> Result<Runtime, LoadError> {
        static GLOBAL: OnceLock<Runtime> = OnceLock::new();
        if let Some(runtime) = GLOBAL.get() {
            return Ok(runtime.clone());
        }
        // Two first callers may both build one; the second one's ends here.
        let new = Self::builder().build()?;
        Ok(GLOBAL.get_or_init(|| new).clone())
    }

    /// How many threads one run uses at most.
    pub fn threads(&self) -> usize {
        self.0.pool.threads()
    }

    /// The micro-kernels' instruction set.
    pub fn isa(&self) -> Isa {
        self.0.isa
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
    }
}
