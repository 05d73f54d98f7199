//! A session: an entry point of an artifact on a runtime, ready to run.

use crate::artifact::Artifact;
use crate::bind::{InputSet, Values, bind_symbols, eval, no_values};
use crate::cache::PlanCache;
use crate::cancel::RunOptions;
use crate::device::Device;
use crate::error::{LoadError, RunError, TensorError};
use crate::fetch::Fetch;
use crate::kv_cache::KvCache;
use crate::memory_plan::{MemoryPlan, symbol_values};
use crate::profile::{LaunchProfile, Profiler, Watch};
use crate::program::Program;
use crate::runtime::Runtime;
use crate::sys::exec::ImportTable;
use crate::sys::run::{Executable, OutputSet, RunContext};
use crate::tensor::{Tensor, TensorView};
use cascata_artifact::manifest::{Entry, Port};
use cascata_types::{DType, Dim, Encoding};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// An entry point, ready to run; may be used from several threads at once, each run with
/// memory of its own, which is kept for the next runs.
pub struct Session {
    general: Lane,
    /// Other ways to run the entry, with the dims that must be ≥ 0 for them.
    variants: Vec<(Vec<Dim>, Lane)>,
}

/// One entry of the manifest, ready to run.
struct Lane {
    executable: Executable,
    /// Contexts that no run uses now.
    idle: Mutex<Vec<RunContext>>,
}

/// Options of a [`Session`].
#[derive(Clone, Debug)]
pub struct SessionOptions {
    entry: Option<String>,
    cached_plans: usize,
    poison: bool,
    device: Device,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self { entry: None, cached_plans: 64, poison: false, device: Device::Cpu }
    }
}

impl SessionOptions {
    /// The entry point; the default is the only one, or `main`.
    #[must_use]
    pub fn entry(mut self, name: &str) -> Self {
        self.entry = Some(name.into());
        self
    }

    /// How many plans (one per combination of sizes) are kept for each stretch of the model
    /// between two data-dependent sizes; 64 by default.
    #[must_use]
    pub fn cached_plans(mut self, plans: usize) -> Self {
        self.cached_plans = plans;
        self
    }

    /// Where it runs; the CPU by default. See [`Session::device`] for what [`Device::Auto`]
    /// came to.
    #[must_use]
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Fills all memory with 0xff (NaN) before kernels use it: a debugging aid that makes
    /// reads of what was never written visible.
    #[must_use]
    pub fn poison(mut self, yes: bool) -> Self {
        self.poison = yes;
        self
    }
}

impl Artifact {
    /// A session of the only entry point, or of `main`.
    ///
    /// # Errors
    /// There is no such entry, or it has ports that are not dense tensors of numbers.
    pub fn session(&self, runtime: &Runtime) -> Result<Session, LoadError> {
        self.session_with(runtime, &SessionOptions::default())
    }

    /// A session with options.
    ///
    /// # Errors
    /// As [`Artifact::session`].
    pub fn session_with(
        &self,
        runtime: &Runtime,
        options: &SessionOptions,
    ) -> Result<Session, LoadError> {
        let entries = &self.manifest().entries;
        let name = match &options.entry {
            Some(name) => name,
            None if entries.len() == 1 => &entries[0].name,
            None => "main",
        };
        let entry =
            entries.iter().position(|e| e.name == name).ok_or_else(|| LoadError::NoSuchEntry {
                entry: name.into(),
                entries: self.entries().map(str::to_string).collect(),
            })?;
        check_ports(&entries[entry])?;
        let place = Place::choose(self, options.device)?;
        let lane = |entry| Lane::new(self, runtime, entry, options, &place);
        let variants = entries[entry].variants.iter();
        Ok(Session {
            variants: variants.map(|v| (v.guard.clone(), lane(v.entry as usize))).collect(),
            general: lane(entry),
        })
    }
}

/// The device of a session, ready.
enum Place {
    Cpu,
    #[cfg(feature = "cuda")]
    Gpu(std::sync::Arc<crate::sys::gpu::GpuCode>),
}

impl Place {
    #[cfg(feature = "cuda")]
    fn choose(artifact: &Artifact, device: Device) -> Result<Self, LoadError> {
        match device {
            Device::Cpu => Ok(Place::Cpu),
            Device::Cuda(index) => Ok(Place::Gpu(artifact.on_gpu(index)?)),
            Device::Auto => Ok(artifact.on_gpu(0).map_or(Place::Cpu, Place::Gpu)),
        }
    }

    #[cfg(not(feature = "cuda"))]
    fn choose(_: &Artifact, device: Device) -> Result<Self, LoadError> {
        match device {
            Device::Cpu | Device::Auto => Ok(Place::Cpu),
            Device::Cuda(_) => Err(crate::error::DeviceError::NotBuilt.into()),
        }
    }

    fn entries<'a>(&self, artifact: &'a Artifact) -> &'a [Entry] {
        match self {
            Place::Cpu => &artifact.manifest().entries,
            #[cfg(feature = "cuda")]
            Place::Gpu(code) => &code.program(artifact).entries,
        }
    }
}

impl Lane {
    fn new(
        artifact: &Artifact,
        runtime: &Runtime,
        entry: usize,
        options: &SessionOptions,
        place: &Place,
    ) -> Self {
        let program = Program::new(&place.entries(artifact)[entry]);
        let cache = PlanCache::new(options.cached_plans, program.segments().count());
        let executable = Executable {
            artifact: artifact.clone(),
            runtime: runtime.clone(),
            entry,
            program,
            imports: ImportTable::resolve(&artifact.manifest().imports, runtime.isa()),
            cache,
            poison: options.poison,
            #[cfg(feature = "cuda")]
            gpu: match place {
                Place::Cpu => None,
                Place::Gpu(code) => Some(code.clone()),
            },
        };
        Self { executable, idle: Mutex::new(Vec::new()) }
    }

    /// Runs with a context that nobody else uses.
    fn run(
        &self,
        options: &RunOptions,
        inputs: &(impl InputSet + ?Sized),
        outputs: &mut impl OutputSet,
        watch: Option<&mut Watch>,
        cache: Option<&mut dyn KvCache>,
    ) -> Result<(), RunError> {
        let idle = self.lock_idle().pop();
        let mut ctx = idle.map_or_else(|| self.executable.context(), Ok)?;
        ctx.cancel.clone_from(&options.cancel);
        let result = self.executable.run(&mut ctx, inputs, outputs, watch, cache);
        ctx.cancel = None;
        self.lock_idle().push(ctx);
        result
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<RunContext>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_ports(entry: &Entry) -> Result<(), LoadError> {
    for port in entry.inputs.iter().chain(&entry.outputs) {
        let plain = port.ty.as_tensor().is_some_and(|t| t.encoding == Encoding::Dense);
        if !plain {
            let ty = port.ty.display(&entry.symbols);
            return Err(LoadError::UnsupportedPort { port: port.name.clone(), ty });
        }
    }
    Ok(())
}

impl Session {
    /// Loads an artifact and makes a session of its entry `main` on the default runtime.
    ///
    /// # Errors
    /// As [`Artifact::load`] and [`Artifact::session`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Artifact::load(path)?.session(&Runtime::global()?)
    }

    /// The artifact.
    pub fn artifact(&self) -> &Artifact {
        &self.general.executable.artifact
    }

    /// The runtime.
    pub fn runtime(&self) -> &Runtime {
        &self.general.executable.runtime
    }

    /// The name of the GPU that it runs on; `None` for the CPU.
    pub fn device(&self) -> Option<&str> {
        #[cfg(feature = "cuda")]
        return self.general.executable.gpu.as_ref().map(|code| code.gpu.name());
        #[cfg(not(feature = "cuda"))]
        None
    }

    /// The entry point, with its symbols.
    pub fn entry(&self) -> &Entry {
        self.general.executable.entry()
    }

    /// The inputs, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.entry().inputs
    }

    /// The outputs, in order.
    pub fn outputs(&self) -> &[Port] {
        &self.entry().outputs
    }

    /// Runs once; the inputs may be in any order. Returns the outputs in order.
    ///
    /// With sizes that it has seen before, a run allocates nothing but the outputs; see
    /// [`Session::io_binding`] to bring their memory too.
    ///
    /// # Errors
    /// Everything that is wrong with the inputs at once; a failed check of the model or
    /// of a kernel; memory. The session stays usable.
    pub fn run(&self, inputs: &[(&str, TensorView<'_>)]) -> Result<Vec<Tensor>, RunError> {
        self.run_named(inputs, &RunOptions::default(), None)
    }

    /// As [`Session::run`], with options.
    ///
    /// # Errors
    /// As [`Session::run`], or the run was cancelled.
    pub fn run_with(
        &self,
        inputs: &[(&str, TensorView<'_>)],
        options: &RunOptions,
    ) -> Result<Vec<Tensor>, RunError> {
        self.run_named(inputs, options, None)
    }

    /// As [`Session::run`], of a model that attends over a KV cache.
    ///
    /// # Errors
    /// As [`Session::run`]; the cache's own.
    pub fn run_with_cache(
        &self,
        inputs: &[(&str, TensorView<'_>)],
        cache: &mut dyn KvCache,
    ) -> Result<Vec<Tensor>, RunError> {
        let mut outputs = Fresh(self.outputs().iter().map(|_| Tensor::empty()).collect());
        let lane = self.lane_for(inputs)?;
        lane.run(&RunOptions::default(), inputs, &mut outputs, None, Some(cache))?;
        Ok(outputs.0)
    }

    /// Runs once and measures every launch.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_profiled(
        &self,
        inputs: &[(&str, TensorView<'_>)],
    ) -> Result<(Vec<Tensor>, Vec<LaunchProfile>), RunError> {
        let mut watch = Watch { profiler: Some(Profiler::new()), fetch: None };
        let outputs = self.run_named(inputs, &RunOptions::default(), Some(&mut watch))?;
        Ok((outputs, watch.profiler.map(|p| p.launches).unwrap_or_default()))
    }

    /// Runs once and also gives values that kernels compute on the way, by their names in
    /// the model; of those in loops the last.
    ///
    /// # Errors
    /// As [`Session::run`]; a value that no kernel writes (it lives inside a fused kernel
    /// only: compile with it as an output), or that was not computed in this run.
    pub fn run_fetching(
        &self,
        inputs: &[(&str, TensorView<'_>)],
        values: &[&str],
    ) -> Result<(Vec<Tensor>, Vec<Tensor>), RunError> {
        let entry = self.lane_for(inputs)?.executable.entry();
        let fetch = Fetch::new(self.artifact().manifest(), entry, values)?;
        let mut watch = Watch { profiler: None, fetch: Some(fetch) };
        let outputs = self.run_named(inputs, &RunOptions::default(), Some(&mut watch))?;
        let fetched = watch.fetch.map(Fetch::finish).transpose()?;
        Ok((outputs, fetched.unwrap_or_default()))
    }

    /// Sizes and places of all memory for these symbol values.
    ///
    /// # Errors
    /// An unknown or missing symbol, or formulas without a value.
    pub fn memory_plan(&self, symbols: &[(&str, i64)]) -> Result<MemoryPlan, RunError> {
        let values = symbol_values(self.entry(), symbols)?;
        MemoryPlan::new(&self.lane(&values).executable, symbols)
    }

    /// Frees the memory that is kept for the next runs.
    pub fn trim(&self) {
        self.lanes().for_each(|lane| lane.lock_idle().clear());
    }

    /// How many plans are in the cache.
    pub fn cached_plans(&self) -> usize {
        self.lanes().map(|lane| lane.executable.cache.len()).sum()
    }

    fn run_named(
        &self,
        inputs: &[(&str, TensorView<'_>)],
        options: &RunOptions,
        watch: Option<&mut Watch>,
    ) -> Result<Vec<Tensor>, RunError> {
        let mut outputs = Fresh(self.outputs().iter().map(|_| Tensor::empty()).collect());
        self.execute(options, inputs, &mut outputs, watch)?;
        Ok(outputs.0)
    }

    /// Runs the variant that these inputs choose.
    pub(crate) fn execute(
        &self,
        options: &RunOptions,
        inputs: &(impl InputSet + ?Sized),
        outputs: &mut impl OutputSet,
        watch: Option<&mut Watch>,
    ) -> Result<(), RunError> {
        self.lane_for(inputs)?.run(options, inputs, outputs, watch, None)
    }

    fn lane_for(&self, inputs: &(impl InputSet + ?Sized)) -> Result<&Lane, RunError> {
        if self.variants.is_empty() {
            return Ok(&self.general);
        }
        let mut values = no_values(self.entry());
        bind_symbols(self.entry(), inputs, &mut values).map_err(RunError::Inputs)?;
        Ok(self.lane(&values))
    }

    /// The first variant whose guard holds.
    fn lane(&self, values: &Values) -> &Lane {
        let holds = |guard: &[Dim]| guard.iter().all(|d| eval(d, values).is_ok_and(|x| x >= 0));
        let fits = self.variants.iter().find(|(guard, _)| holds(guard));
        fits.map_or(&self.general, |(_, lane)| lane)
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        std::iter::once(&self.general).chain(self.variants.iter().map(|(_, lane)| lane))
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({:?}, {})", self.artifact(), self.entry().name)
    }
}

/// Outputs in new tensors; the verifier has checked that each is written, hence made.
struct Fresh(Vec<Tensor>);

impl OutputSet for Fresh {
    fn memory(&mut self, port: usize, dtype: DType, dims: &[i64]) -> Result<&mut [u8], RunError> {
        self.0[port] = new_output(dtype, dims)?;
        Ok(self.0[port].bytes_mut())
    }

    fn give(&mut self, port: usize, strings: Tensor) -> Result<(), RunError> {
        self.0[port] = strings;
        Ok(())
    }
}

/// A tensor for an output.
pub(crate) fn new_output(dtype: DType, dims: &[i64]) -> Result<Tensor, RunError> {
    Tensor::for_kernel(dtype, dims).map_err(|e| {
        let bytes = if let TensorError::OutOfMemory { bytes } = e { bytes } else { u64::MAX };
        RunError::OutOfMemory { what: "an output".into(), bytes }
    })
}
