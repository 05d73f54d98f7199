//! One run of an entry point: plan a segment, place its buffers, launch its kernels,
//! read the symbols that it binds, go on with the next.

use crate::artifact::Artifact;
use crate::bind::{InputSet, Values, bind_symbols};
use crate::cache::PlanCache;
use crate::cancel::CancelToken;
use crate::error::RunError;
use crate::plan::{PlannedLaunch, SegmentPlan, plan};
use crate::profile::Profiler;
use crate::program::Segment;
use crate::runtime::Runtime;
use crate::sys::exec::{DoesNotFit, Frame, ImportTable, LaunchArgs};
use crate::sys::memory::{ALIGN, AlignedBuf};
use cascata_artifact::manifest::{Entry, Launch, Step, Storage};
use cascata_types::{DType, Entity, SymbolId};

/// Bytes that the threads' scratch blocks are apart at least: two cache lines, so that
/// neighbours do not share one that is prefetched in pairs.
const SCRATCH_ALIGN: u64 = 2 * ALIGN as u64;

/// Where outputs go.
pub(crate) trait OutputSet {
    /// The memory for output `port`, of exactly this type.
    fn memory(&mut self, port: usize, dtype: DType, dims: &[i64]) -> Result<&mut [u8], RunError>;
}

/// Everything that runs of one session share.
pub(crate) struct Executable {
    pub(crate) artifact: Artifact,
    pub(crate) runtime: Runtime,
    /// Which entry of the manifest.
    pub(crate) entry: usize,
    pub(crate) segments: Vec<Segment>,
    pub(crate) imports: ImportTable,
    pub(crate) cache: PlanCache,
    /// Fill memory with NaN before it is used.
    pub(crate) poison: bool,
}

/// What one run needs for itself; kept between runs for its memory.
pub(crate) struct RunContext {
    frame: Frame,
    /// One arena per segment: a later one never moves what lives in an earlier one.
    arenas: Vec<AlignedBuf>,
    scratch: AlignedBuf,
    values: Vec<Option<i64>>,
    /// Receives the numbers that a bind reads.
    bound: Vec<i64>,
    /// Looked at before each launch.
    pub(crate) cancel: Option<CancelToken>,
}

impl Executable {
    pub(crate) fn entry(&self) -> &Entry {
        &self.artifact.manifest().entries[self.entry]
    }

    pub(crate) fn context(&self) -> RunContext {
        let entry = self.entry();
        RunContext {
            frame: Frame::new(entry.buffers.len(), entry.outputs.len()),
            arenas: self.segments.iter().map(|_| AlignedBuf::empty()).collect(),
            scratch: AlignedBuf::empty(),
            values: vec![None; entry.symbols.len()],
            bound: Vec::new(),
            cancel: None,
        }
    }

    /// Runs the entry once.
    pub(crate) fn run(
        &self,
        ctx: &mut RunContext,
        inputs: &(impl InputSet + ?Sized),
        outputs: &mut impl OutputSet,
        mut profiler: Option<&mut Profiler>,
    ) -> Result<(), RunError> {
        ctx.values.fill(None);
        bind_symbols(self.entry(), inputs, &mut ctx.values).map_err(RunError::Inputs)?;
        for (index, segment) in self.segments.iter().enumerate() {
            let plan = self.plan(index, &ctx.values)?;
            self.place(ctx, index, &plan, inputs, outputs)?;
            for launch in &plan.launches {
                self.launch(ctx, &plan, launch, profiler.as_deref_mut())?;
            }
            if let Some((buffer, symbols)) = &segment.bind {
                self.bind(ctx, *buffer, symbols)?;
            }
        }
        Ok(())
    }

    pub(crate) fn plan(
        &self,
        segment: usize,
        values: &Values,
    ) -> Result<std::sync::Arc<SegmentPlan>, RunError> {
        self.cache.get(segment, values, || plan(self.entry(), &self.segments[segment], values))
    }

    /// Gives every buffer that the segment touches first its memory.
    fn place(
        &self,
        ctx: &mut RunContext,
        segment: usize,
        plan: &SegmentPlan,
        inputs: &(impl InputSet + ?Sized),
        outputs: &mut impl OutputSet,
    ) -> Result<(), RunError> {
        let entry = self.entry();
        let arena = &mut ctx.arenas[segment];
        reserve(arena, plan.arena_bytes, "the arena")?;
        let stride = scratch_stride(plan);
        let scratch = stride.saturating_mul(self.runtime.threads() as u64);
        reserve(&mut ctx.scratch, scratch, "the threads' scratch")?;
        if self.poison {
            arena.as_mut_slice().fill(0xff);
            ctx.scratch.as_mut_slice().fill(0xff);
        }
        let frame = &mut ctx.frame;
        for p in &plan.arena {
            frame
                .set_arena(p.buffer, arena, p.offset, p.bytes)
                .map_err(|e| self.misfit(p.buffer, &e))?;
        }
        for (port, dims) in &plan.outputs {
            let dtype = entry.outputs[*port as usize].ty.as_tensor().map_or(DType::U8, |t| t.dtype);
            let memory = outputs.memory(*port as usize, dtype, dims)?;
            if self.poison {
                memory.fill(0xff);
            }
            frame.set_port(*port, memory);
        }
        for &(buffer, needs) in &plan.outside {
            let result = match entry.buffers[buffer as usize].storage {
                Storage::Output(port) => frame.set_output(buffer, port, needs),
                Storage::Weight(w) => frame.set_const(buffer, self.artifact.weight(w), needs),
                Storage::Input(i) => {
                    let view = inputs.tensor(i as usize, &entry.inputs[i as usize].name);
                    frame.set_const(buffer, view.map_or(&[], |v| v.bytes()), needs)
                }
                Storage::Arena { .. } | Storage::Alias { .. } => Ok(()),
            };
            result.map_err(|e| self.misfit(buffer, &e))?;
        }
        for (of, p) in &plan.aliases {
            frame
                .set_alias(p.buffer, *of, p.offset, p.bytes)
                .map_err(|e| self.misfit(p.buffer, &e))?;
        }
        Ok(())
    }

    fn misfit(&self, buffer: u32, e: &DoesNotFit) -> RunError {
        let buffer = self.entry().buffers[buffer as usize].name.clone();
        RunError::Plan { buffer, needs: e.needs, has: e.has }
    }

    fn launch(
        &self,
        ctx: &mut RunContext,
        plan: &SegmentPlan,
        planned: &PlannedLaunch,
        profiler: Option<&mut Profiler>,
    ) -> Result<(), RunError> {
        let Step::Launch(launch) = &self.entry().steps[planned.step] else { return Ok(()) };
        if ctx.cancel.as_ref().is_some_and(CancelToken::is_cancelled) {
            return Err(RunError::Cancelled { step: planned.step });
        }
        let args = LaunchArgs {
            kernel: self.artifact.kernel(planned.kernel),
            dims: &plan.dims[planned.dims.clone()],
            tiles: planned.tiles,
            min_tiles: planned.min_tiles,
            imports: &self.imports,
            zeros: self.artifact.zeros(),
            scratch_stride: scratch_stride(plan) as usize,
        };
        let started = profiler.as_ref().map(|_| std::time::Instant::now());
        // SAFETY: every buffer of this launch was placed in this run, by this segment or an
        // earlier one (`program::segments` lists each at its first touch): in the caller's
        // tensors, borrowed for all of `run`, in the artifact's weights, or in the context's
        // arenas, which grow only when their own segment starts. The manifest's verifier has
        // compared the kernel's arity with the buffers and dims; `place` has reserved scratch
        // for every thread.
        let result = unsafe {
            ctx.frame.launch(self.runtime.pool(), &launch.buffers, &mut ctx.scratch, &args)
        };
        if let (Some(profiler), Some(started)) = (profiler, started) {
            profiler.record(started, &self.artifact, launch, planned, &ctx.values);
        }
        match result {
            Ok(0) => Ok(()),
            Ok(status) => Err(self.kernel_error(planned.kernel, status, launch)),
            Err(_) => Err(RunError::Panicked { kernel: self.kernel_name(planned.kernel) }),
        }
    }

    fn kernel_name(&self, kernel: u32) -> String {
        self.artifact.manifest().kernels[kernel as usize].name.clone()
    }

    fn kernel_error(&self, kernel: u32, status: i32, launch: &Launch) -> RunError {
        let messages = &self.artifact.manifest().kernels[kernel as usize].messages;
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

    /// Reads the symbols that a bind step binds.
    fn bind(
        &self,
        ctx: &mut RunContext,
        buffer: u32,
        symbols: &[SymbolId],
    ) -> Result<(), RunError> {
        let entry = self.entry();
        ctx.bound.clear();
        ctx.bound.resize(symbols.len(), 0);
        // SAFETY: the buffer was placed in this run (see `launch`) and written by an earlier
        // step (the verifier has checked), and no kernel runs now.
        if unsafe { ctx.frame.read_i64(buffer, &mut ctx.bound) }.is_none() {
            let needs = 8 * symbols.len() as u64;
            return Err(self.misfit(buffer, &DoesNotFit { needs, has: 0 }));
        }
        for (symbol, &value) in symbols.iter().zip(&ctx.bound) {
            let (min, max) = entry.symbols.range(*symbol);
            if !(min..=max).contains(&value) {
                let buffer = entry.buffers[buffer as usize].name.clone();
                return Err(RunError::DataDependent {
                    symbol: entry.symbols.name(*symbol),
                    value,
                    buffer,
                    min,
                    max,
                });
            }
            ctx.values[symbol.index()] = Some(value);
        }
        Ok(())
    }
}

/// Distance between the threads' scratch blocks.
pub(crate) fn scratch_stride(plan: &SegmentPlan) -> u64 {
    plan.scratch_bytes.checked_next_multiple_of(SCRATCH_ALIGN).unwrap_or(u64::MAX)
}

fn reserve(memory: &mut AlignedBuf, bytes: u64, what: &str) -> Result<(), RunError> {
    memory.reserve(bytes).map_err(|e| RunError::OutOfMemory { what: what.into(), bytes: e.bytes })
}
