//! One run of an entry point: plan a segment, place its buffers, launch its kernels, do
//! what ends it (read symbols, run a branch or a loop), go on with the next.

use crate::artifact::Artifact;
use crate::bind::{InputSet, Values, bind_symbols, no_values};
use crate::cache::PlanCache;
use crate::cancel::CancelToken;
use crate::error::RunError;
use crate::kv_cache::KvCache;
use crate::plan::{PlannedLaunch, SegmentPlan, plan};
use crate::profile::Watch;
use crate::program::{Program, Segment};
use crate::runtime::Runtime;
use crate::sys::block::{Block, Home};
use crate::sys::exec::{DoesNotFit, Frame, ImportTable, LaunchArgs};
use crate::sys::memory::ALIGN;
use crate::tensor::Tensor;
use crate::texts::Texts;
use cascata_artifact::manifest::{Entry, KernelInfo, Launch, Step, Storage};
use cascata_types::{DType, Entity, SymbolId};

/// Bytes that the threads' scratch blocks are apart at least: two cache lines, so that
/// neighbours do not share one that is prefetched in pairs.
const SCRATCH_ALIGN: u64 = 2 * ALIGN as u64;

/// Where outputs go.
pub(crate) trait OutputSet {
    /// The memory for output `port`, of exactly this type.
    fn memory(&mut self, port: usize, dtype: DType, dims: &[i64]) -> Result<&mut [u8], RunError>;
    /// Takes the strings of output `port`, once they are all known.
    fn give(&mut self, port: usize, strings: Tensor) -> Result<(), RunError>;
}

/// Everything that runs of one session share.
pub(crate) struct Executable {
    pub(crate) artifact: Artifact,
    pub(crate) runtime: Runtime,
    /// Which entry of the manifest.
    pub(crate) entry: usize,
    pub(crate) program: Program,
    pub(crate) imports: ImportTable,
    pub(crate) cache: PlanCache,
    /// Fill memory with NaN before it is used.
    pub(crate) poison: bool,
    /// The program, where a GPU runs it.
    #[cfg(feature = "cuda")]
    pub(crate) gpu: Option<std::sync::Arc<super::gpu::GpuCode>>,
}

/// What one run needs for itself; kept between runs for its memory.
pub(crate) struct RunContext {
    pub(super) frame: Frame,
    /// One arena per segment: a later one never moves what lives in an earlier one.
    pub(super) arenas: Vec<Block>,
    /// Memory of slots, by buffer; empty for other buffers.
    pub(super) slots: Vec<Block>,
    pub(super) scratch: Block,
    /// The strings of this run.
    pub(super) texts: Texts,
    pub(super) values: Vec<Option<i64>>,
    /// Receives the numbers that a bind reads, or new values of changing dims.
    pub(super) bound: Vec<i64>,
    /// The values that a plan depends on.
    key: Vec<Option<i64>>,
    /// Bytes that the running loops have collected, one number per scanned value.
    pub(super) rows: Vec<u64>,
    /// Looked at before each launch.
    pub(crate) cancel: Option<CancelToken>,
    /// What a GPU's run keeps.
    #[cfg(feature = "cuda")]
    pub(super) gpu: super::gpu::GpuMemory,
}

/// One run: what its blocks share.
pub(super) struct Run<'r, I: ?Sized, O> {
    pub(super) exe: &'r Executable,
    pub(super) ctx: &'r mut RunContext,
    pub(super) inputs: &'r I,
    pub(super) outputs: &'r mut O,
    pub(super) watch: Option<&'r mut Watch>,
    /// What attention over the caller's cache needs.
    pub(super) cache: Option<&'r mut (dyn KvCache + 'r)>,
}

impl Executable {
    pub(crate) fn entry(&self) -> &Entry {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &self.gpu {
            return &gpu.program(&self.artifact).entries[self.entry];
        }
        &self.artifact.manifest().entries[self.entry]
    }

    /// A kernel's name, messages and what it writes.
    pub(super) fn kernel_info(&self, kernel: u32) -> &KernelInfo {
        #[cfg(feature = "cuda")]
        if let Some(gpu) = &self.gpu {
            return &gpu.program(&self.artifact).kernels[kernel as usize].info;
        }
        &self.artifact.manifest().kernels[kernel as usize]
    }

    fn home(&self) -> Home {
        #[cfg(feature = "cuda")]
        if let Some(code) = &self.gpu {
            return Home::Gpu(code.gpu.clone());
        }
        Home::Host
    }

    /// What a run needs for itself.
    ///
    /// # Errors
    /// A GPU that does not work any more.
    pub(crate) fn context(&self) -> Result<RunContext, RunError> {
        let (entry, home) = (self.entry(), self.home());
        Ok(RunContext {
            frame: Frame::new(&home, entry.buffers.len(), entry.outputs.len())?,
            arenas: self.program.segments().map(|_| Block::empty(&home)).collect(),
            slots: entry.buffers.iter().map(|_| Block::empty(&home)).collect(),
            scratch: Block::empty(&home),
            texts: Texts::new(&self.artifact.manifest().strings, entry),
            values: no_values(entry),
            bound: Vec::new(),
            key: Vec::new(),
            rows: Vec::new(),
            cancel: None,
            #[cfg(feature = "cuda")]
            gpu: super::gpu::GpuMemory::new(&home, entry),
        })
    }

    /// Runs the entry once.
    pub(crate) fn run(
        &self,
        ctx: &mut RunContext,
        inputs: &(impl InputSet + ?Sized),
        outputs: &mut impl OutputSet,
        watch: Option<&mut Watch>,
        cache: Option<&mut dyn KvCache>,
    ) -> Result<(), RunError> {
        ctx.values.fill(None);
        ctx.rows.clear();
        bind_symbols(self.entry(), inputs, &mut ctx.values).map_err(RunError::Inputs)?;
        // What the trait object may borrow lives longer than the run does.
        let cache = cache.map(|cache| cache as &mut dyn KvCache);
        let mut run = Run { exe: self, ctx, inputs, outputs, watch, cache };
        run.take_strings()?;
        #[cfg(feature = "cuda")]
        run.enter_gpu()?;
        run.block(0)?;
        #[cfg(feature = "cuda")]
        run.leave_gpu()?;
        run.give_strings()
    }

    /// The plan of a segment; `key` is memory for the look-up.
    pub(crate) fn plan(
        &self,
        segment: &Segment,
        values: &Values,
        key: &mut Vec<Option<i64>>,
    ) -> Result<std::sync::Arc<SegmentPlan>, RunError> {
        key.clear();
        key.extend(segment.symbols.iter().map(|s| values[s.index()]));
        self.cache.get(segment.id, key, || plan(self.entry(), segment, values))
    }

    /// Scratch memory of all threads, or of all blocks of a GPU.
    fn scratch_bytes(&self, plan: &SegmentPlan) -> u64 {
        #[cfg(feature = "cuda")]
        if let Some(code) = &self.gpu {
            return code.scratch_bytes(plan);
        }
        scratch_stride(plan).saturating_mul(self.runtime.threads() as u64)
    }

    pub(super) fn misfit(&self, buffer: u32, e: &DoesNotFit) -> RunError {
        let buffer = self.entry().buffers[buffer as usize].name.clone();
        RunError::Plan { buffer, needs: e.needs, has: e.has }
    }

    fn kernel_name(&self, kernel: u32) -> String {
        self.kernel_info(kernel).name.clone()
    }

    pub(super) fn kernel_error(&self, kernel: u32, status: i32, launch: &Launch) -> RunError {
        let messages = &self.kernel_info(kernel).messages;
        let message = status
            .checked_sub(1)
            .and_then(|i| usize::try_from(i).ok())
            .and_then(|i| messages.get(i));
        RunError::Kernel {
            kernel: self.kernel_name(kernel),
            message: message.cloned().unwrap_or_else(|| format!("status {status}")),
            values: launch.values.clone(),
            source_nodes: launch.source.clone(),
        }
    }
}

impl<I: InputSet + ?Sized, O: OutputSet> Run<'_, I, O> {
    /// Runs the steps of a block.
    pub(super) fn block(&mut self, block: u32) -> Result<(), RunError> {
        let exe = self.exe;
        for segment in &exe.program.blocks[block as usize] {
            let plan = exe.plan(segment, &self.ctx.values, &mut self.ctx.key)?;
            self.place(segment.id, &plan)?;
            self.launches(block, &plan, segment.id)?;
            if segment.ends {
                match &exe.entry().steps_of(block)[segment.steps.end] {
                    Step::Bind { buffer, symbols } => self.bind(*buffer, symbols)?,
                    Step::Text(text) => self.text(text, segment.steps.end)?,
                    Step::If(branch) => self.branch(branch)?,
                    Step::Loop(l) => self.repeat(l, segment.steps.end)?,
                    Step::Launch(_) | Step::CacheAttention(_) => {}
                }
            }
        }
        Ok(())
    }

    fn launches(
        &mut self,
        block: u32,
        plan: &SegmentPlan,
        _segment: usize,
    ) -> Result<(), RunError> {
        #[cfg(feature = "cuda")]
        if let Some(code) = self.exe.gpu.clone() {
            return self.gpu_launches(&code, block, plan, _segment);
        }
        let mut attention = plan.cache_attention.iter().copied().peekable();
        for launch in &plan.launches {
            while let Some(step) = attention.next_if(|step| *step < launch.step) {
                self.cache_attention(block, step)?;
            }
            self.launch(block, plan, launch)?;
        }
        attention.try_for_each(|step| self.cache_attention(block, step))
    }

    /// Gives every buffer that the segment touches first its memory.
    fn place(&mut self, segment: usize, plan: &SegmentPlan) -> Result<(), RunError> {
        let (exe, ctx) = (self.exe, &mut *self.ctx);
        let arena = &mut ctx.arenas[segment];
        arena.reserve(plan.arena_bytes, "the arena")?;
        let scratch = exe.scratch_bytes(plan);
        ctx.scratch.reserve(scratch, "the scratch memory of kernels")?;
        for &(slot, needs) in &plan.slots {
            ctx.slots[slot as usize].reserve(needs, "what a block hands out")?;
        }
        if exe.poison {
            arena.fill(0xff)?;
            ctx.scratch.fill(0xff)?;
            plan.slots.iter().try_for_each(|(s, _)| ctx.slots[*s as usize].fill(0xff))?;
        }
        let frame = &mut ctx.frame;
        for p in &plan.arena {
            frame
                .set_arena(p.buffer, arena, p.offset, p.bytes)
                .map_err(|e| exe.misfit(p.buffer, &e))?;
        }
        for &(slot, needs) in &plan.slots {
            let memory = &mut ctx.slots[slot as usize];
            frame.set_slot(slot, memory, needs).map_err(|e| exe.misfit(slot, &e))?;
        }
        #[cfg(feature = "cuda")]
        if let Some(code) = exe.gpu.clone() {
            return self.place_outside_on_gpu(&code, plan);
        }
        self.place_outside(plan)
    }

    /// Places what is in the caller's or the artifact's memory, and aliases.
    fn place_outside(&mut self, plan: &SegmentPlan) -> Result<(), RunError> {
        let (exe, ctx) = (self.exe, &mut *self.ctx);
        let (frame, texts) = (&mut ctx.frame, &mut ctx.texts);
        let entry = exe.entry();
        for (port, dims) in &plan.outputs {
            let dtype = entry.outputs[*port as usize].ty.as_tensor().map_or(DType::U8, |t| t.dtype);
            let memory = match dtype {
                DType::Str => texts.output(*port as usize, dims)?,
                _ => self.outputs.memory(*port as usize, dtype, dims)?,
            };
            if exe.poison {
                memory.fill(0xff);
            }
            frame.set_port(*port, memory);
        }
        for &(buffer, needs) in &plan.outside {
            let result = match entry.buffers[buffer as usize].storage {
                Storage::Output(port) => frame.set_output(buffer, port, needs),
                Storage::Weight(w) => frame.set_const(buffer, exe.artifact.weight(w), needs),
                Storage::Input(i) if entry.buffers[buffer as usize].ty.dtype == DType::Str => {
                    frame.set_const(buffer, texts.input(i as usize), needs)
                }
                Storage::Input(i) => {
                    let port = &entry.inputs[i as usize];
                    let given = self.inputs.tensor(i as usize, &port.name).map(|v| v.bytes());
                    let default = || port.default.map(|w| exe.artifact.weight(w));
                    frame.set_const(buffer, given.or_else(default).unwrap_or(&[]), needs)
                }
                Storage::Arena { .. } | Storage::Slot | Storage::Alias { .. } => Ok(()),
            };
            result.map_err(|e| exe.misfit(buffer, &e))?;
        }
        self.place_aliases(plan)
    }

    /// Places what lies inside of other buffers.
    pub(super) fn place_aliases(&mut self, plan: &SegmentPlan) -> Result<(), RunError> {
        for (of, p) in &plan.aliases {
            let placed = self.ctx.frame.set_alias(p.buffer, *of, p.offset, p.bytes);
            placed.map_err(|e| self.exe.misfit(p.buffer, &e))?;
        }
        Ok(())
    }

    fn launch(
        &mut self,
        block: u32,
        plan: &SegmentPlan,
        planned: &PlannedLaunch,
    ) -> Result<(), RunError> {
        self.go_on(planned.step)?;
        let (exe, ctx) = (self.exe, &mut *self.ctx);
        let Step::Launch(launch) = &exe.entry().steps_of(block)[planned.step] else {
            return Ok(());
        };
        let args = LaunchArgs {
            kernel: exe.artifact.kernel(planned.kernel),
            dims: &plan.dims[planned.dims.clone()],
            tiles: planned.tiles,
            min_tiles: planned.min_tiles,
            imports: &exe.imports,
            zeros: exe.artifact.zeros(),
            scratch_stride: scratch_stride(plan) as usize,
        };
        let profiler = self.watch.as_deref_mut().and_then(|w| w.profiler.as_mut());
        let started = profiler.as_ref().map(|_| std::time::Instant::now());
        // SAFETY: every buffer of this launch was placed in this run of its block, by this
        // segment or an earlier one (`Program` lists each at its first touch), by the branch
        // or loop that fills it, or in the same way by a block that runs this one: in the
        // caller's tensors, borrowed for all of `run`, in the artifact's weights, in arenas,
        // which grow only when their own segment starts, or in slots, which grow only when
        // they are filled anew. The manifest's verifier has checked that along every path
        // each is written, hence placed, before it is read, and has compared the kernel's
        // arity with the buffers and dims; `place` has reserved scratch for every thread.
        let result = unsafe {
            ctx.frame.launch(exe.runtime.pool(), &launch.buffers, &mut ctx.scratch, &args)
        };
        if let (Some(profiler), Some(started)) = (profiler, started) {
            let kernel = &exe.kernel_info(planned.kernel).name;
            profiler.record(started, kernel, (block, launch), planned, &ctx.values);
        }
        match result {
            Ok(0) => self.fetch(launch, planned.kernel),
            Ok(status) => Err(exe.kernel_error(planned.kernel, status, launch)),
            Err(_) => Err(RunError::Panicked { kernel: exe.kernel_name(planned.kernel) }),
        }
    }

    /// Ends the run before a step if it was cancelled.
    pub(super) fn go_on(&self, step: usize) -> Result<(), RunError> {
        match self.ctx.cancel.as_ref().is_some_and(CancelToken::is_cancelled) {
            true => Err(RunError::Cancelled { step }),
            false => Ok(()),
        }
    }

    /// Copies what a launch has written, where somebody wants it.
    pub(super) fn fetch(&mut self, launch: &Launch, kernel: u32) -> Result<(), RunError> {
        let exe = self.exe;
        let Some(fetch) = self.watch.as_deref_mut().and_then(|w| w.fetch.as_mut()) else {
            return Ok(());
        };
        for write in &exe.kernel_info(kernel).writes {
            let id = launch.buffers[*write as usize];
            let frame = &self.ctx.frame;
            // SAFETY: the launch that has just ended wrote the buffer; no kernel runs now.
            let read = |into: &mut [u8]| unsafe { frame.read(id, 0, into) };
            fetch.take(exe.entry(), &self.ctx.values, id, read)?;
        }
        Ok(())
    }

    /// Reads the symbols that a bind step binds.
    fn bind(&mut self, buffer: u32, symbols: &[SymbolId]) -> Result<(), RunError> {
        let name = &self.exe.entry().buffers[buffer as usize].name;
        for (i, symbol) in symbols.iter().enumerate() {
            let value = self.number(buffer, i)?;
            self.set_symbol(*symbol, value, || name.clone())?;
        }
        Ok(())
    }

    /// Gives a data-dependent symbol its value, read from something of this name.
    pub(super) fn set_symbol(
        &mut self,
        symbol: SymbolId,
        value: i64,
        from: impl FnOnce() -> String,
    ) -> Result<(), RunError> {
        let symbols = &self.exe.entry().symbols;
        let (min, max) = symbols.range(symbol);
        if !(min..=max).contains(&value) {
            let (symbol, buffer) = (symbols.name(symbol), from());
            return Err(RunError::DataDependent { symbol, value, buffer, min, max });
        }
        self.ctx.values[symbol.index()] = Some(value);
        Ok(())
    }
}

/// Distance between the threads' scratch blocks.
pub(crate) fn scratch_stride(plan: &SegmentPlan) -> u64 {
    plan.scratch_bytes.checked_next_multiple_of(SCRATCH_ALIGN).unwrap_or(u64::MAX)
}
