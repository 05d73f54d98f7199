//! Runs of GPU programs: what differs from the CPU.
//!
//! Arena, slots and scratch are the same blocks, on the GPU. Inputs are copied there when a
//! run begins to use them, outputs back when it ends. The launches of a stretch between two
//! host steps go to the stream one after the other; launches that are the same as in the run
//! before are replayed as a CUDA graph.

use super::block::{Block, Home};
use super::cuda::{Function, Gpu, GpuBuf, Graph, Module, Shot};
use super::run::{OutputSet, Run};
use crate::artifact::Artifact;
use crate::bind::InputSet;
use crate::error::{DeviceError, LoadError, RunError};
use crate::plan::{PlannedLaunch, SegmentPlan};
use cascata_artifact::gpu::{GpuKernel, GpuProgram};
use cascata_artifact::manifest::{Entry, Step, Storage};
use cascata_types::DType;
use std::collections::HashMap;

/// Blocks' scratch parts start at multiples of this.
const SCRATCH_ALIGN: u64 = 256;
/// Scratch memory of a launch is kept below this by running fewer blocks at once.
const MOST_SCRATCH: u64 = 256 << 20;
/// Blocks of a multiprocessor that kernels with scratch, and persistent ones, may have.
const RESIDENT: u32 = 4;
/// Variable that turns CUDA graphs off.
const GRAPHS: &str = "CASCATA_CUDA_GRAPHS";

/// An artifact's code and weights on one GPU.
pub(crate) struct GpuCode {
    pub(crate) gpu: Gpu,
    /// Which program of the manifest.
    program: usize,
    functions: Vec<Function>,
    /// The weight section.
    weights: GpuBuf,
    graphs: bool,
    /// Keeps the code of `functions`.
    _module: Module,
}

impl GpuCode {
    /// Compiles the best program that the GPU runs (the driver keeps what it has compiled on
    /// disk) and uploads the weights.
    pub(crate) fn load(artifact: &Artifact, index: u32) -> Result<Self, LoadError> {
        let gpu = Gpu::open(index)?;
        let programs = &artifact.manifest().gpu;
        let (major, minor) = gpu.capability();
        let best = programs.iter().rposition(|p| p.target.runs_on((major, minor)));
        let program = best.ok_or_else(|| DeviceError::NoProgram {
            name: gpu.name().into(),
            major,
            minor,
            programs: programs.iter().map(|p| p.target.name().into()).collect(),
        })?;
        // One module: the driver compiles several one after the other, too, and slower.
        let module = gpu.module(&artifact.ptx(program)?)?;
        let kernels = programs[program].kernels.iter();
        let functions = kernels.map(|k| module.function(&k.info.name, k.shared_bytes));
        let functions = functions.collect::<Result<_, _>>()?;
        let bytes = artifact.weights();
        let mut weights =
            GpuBuf::new(&gpu, bytes.len() as u64).ok_or_else(|| no_room(&gpu, bytes.len()))?;
        weights.write(0, bytes)?;
        gpu.wait("copying weights")?;
        let graphs = std::env::var_os(GRAPHS).is_none_or(|v| v != "0");
        Ok(Self { gpu, program, functions, weights, graphs, _module: module })
    }

    /// What runs.
    pub(crate) fn program<'a>(&self, artifact: &'a Artifact) -> &'a GpuProgram {
        &artifact.manifest().gpu[self.program]
    }

    /// Blocks that a kernel with so much scratch a block, or a persistent one, gets at most.
    fn most_blocks(&self, stride: u64) -> u64 {
        let resident = u64::from(self.gpu.multiprocessors() * RESIDENT);
        resident.min(MOST_SCRATCH / stride.max(1)).max(1)
    }

    /// Scratch memory for the blocks of the launch that needs most.
    pub(super) fn scratch_bytes(&self, plan: &SegmentPlan) -> u64 {
        let stride = stride(plan);
        if stride == 0 { 0 } else { stride.saturating_mul(self.most_blocks(stride)) }
    }

    fn blocks(&self, kernel: &GpuKernel, tiles: i64, stride: u64) -> u32 {
        let all = u64::try_from(tiles).unwrap_or(0).min(i32::MAX as u64);
        let few = kernel.persistent || stride > 0;
        (if few { all.min(self.most_blocks(stride)) } else { all }) as u32
    }
}

fn no_room(gpu: &Gpu, bytes: usize) -> DeviceError {
    let free = gpu.memory().map_or(0, |(free, _)| free);
    DeviceError::Call {
        call: "cuMemAlloc",
        doing: format!("making room for {bytes} bytes of weights on {}", gpu.name()),
        error: format!("{free} bytes are free"),
    }
}

/// The distance of blocks' scratch parts.
fn stride(plan: &SegmentPlan) -> u64 {
    plan.scratch_bytes.next_multiple_of(SCRATCH_ALIGN)
}

/// What runs on a GPU keep beside arena and slots.
pub(crate) struct GpuMemory {
    inputs: Vec<Block>,
    /// Inputs that are there in this run.
    here: Vec<bool>,
    outputs: Vec<Block>,
    /// Outputs of this run.
    given: Vec<Option<Vec<i64>>>,
    /// A status per launch of a stretch.
    status: Block,
    shots: Vec<Shot>,
    /// By segment: launches and their graph.
    recorded: HashMap<usize, (Vec<Shot>, Option<Graph>)>,
}

impl GpuMemory {
    pub(super) fn new(home: &Home, entry: &Entry) -> Self {
        Self {
            inputs: entry.inputs.iter().map(|_| Block::empty(home)).collect(),
            here: vec![false; entry.inputs.len()],
            outputs: entry.outputs.iter().map(|_| Block::empty(home)).collect(),
            given: vec![None; entry.outputs.len()],
            status: Block::empty(home),
            shots: Vec::new(),
            recorded: HashMap::new(),
        }
    }
}

fn dtype_of(entry: &Entry, port: u32) -> DType {
    entry.outputs[port as usize].ty.as_tensor().map_or(DType::U8, |t| t.dtype)
}

impl<I: InputSet + ?Sized, O: OutputSet> Run<'_, I, O> {
    /// Before the first step.
    pub(super) fn enter_gpu(&mut self) -> Result<(), RunError> {
        let Some(code) = &self.exe.gpu else { return Ok(()) };
        code.gpu.enter()?;
        self.ctx.gpu.here.fill(false);
        self.ctx.gpu.given.fill(None);
        Ok(())
    }

    /// After the last step: hands the outputs out.
    pub(super) fn leave_gpu(&mut self) -> Result<(), RunError> {
        let Some(code) = self.exe.gpu.clone() else { return Ok(()) };
        let entry = self.exe.entry();
        for port in 0..entry.outputs.len() as u32 {
            let Some(dims) = self.ctx.gpu.given[port as usize].take() else { continue };
            let memory = match dtype_of(entry, port) {
                DType::Str => self.ctx.texts.output(port as usize, &dims)?,
                dtype => self.outputs.memory(port as usize, dtype, &dims)?,
            };
            let from = self.ctx.gpu.outputs[port as usize].as_mut_ptr();
            // SAFETY: the block was made as long as this output when it was placed.
            unsafe { code.gpu.download(memory, from)? };
        }
        Ok(code.gpu.wait("finishing a run")?)
    }

    /// Places inputs, outputs, weights and aliases.
    pub(super) fn place_outside_on_gpu(
        &mut self,
        code: &GpuCode,
        plan: &SegmentPlan,
    ) -> Result<(), RunError> {
        let entry = self.exe.entry();
        for (port, dims) in &plan.outputs {
            let size = dtype_of(entry, *port).stored_bytes() as u64;
            let count = dims.iter().try_fold(1u64, |n, d| n.checked_mul(u64::try_from(*d).ok()?));
            let bytes = count.and_then(|n| n.checked_mul(size)).unwrap_or(u64::MAX);
            let memory = &mut self.ctx.gpu.outputs[*port as usize];
            memory.reserve(bytes, "an output on the GPU")?;
            if self.exe.poison {
                memory.fill(0xff)?;
            }
            self.ctx.frame.set_port_block(*port, memory, bytes);
            self.ctx.gpu.given[*port as usize] = Some(dims.clone());
        }
        for &(buffer, needs) in &plan.outside {
            let placed = match entry.buffers[buffer as usize].storage {
                Storage::Output(port) => self.ctx.frame.set_output(buffer, port, needs),
                Storage::Weight(w) => {
                    let at = weight(self.exe, code, w);
                    self.ctx.frame.set_address(buffer, at, needs)
                }
                Storage::Input(i) => self.place_input(code, buffer, i, needs)?,
                Storage::Arena { .. } | Storage::Slot | Storage::Alias { .. } => Ok(()),
            };
            placed.map_err(|e| self.exe.misfit(buffer, &e))?;
        }
        self.place_aliases(plan)
    }

    fn place_input(
        &mut self,
        code: &GpuCode,
        buffer: u32,
        input: u32,
        needs: u64,
    ) -> Result<Result<(), super::exec::DoesNotFit>, RunError> {
        let (entry, i) = (self.exe.entry(), input as usize);
        let port = &entry.inputs[i];
        let given = match entry.buffers[buffer as usize].ty.dtype {
            DType::Str => Some(self.ctx.texts.input(i)),
            _ => self.inputs.tensor(i, &port.name).map(|v| v.bytes()),
        };
        let Some(bytes) = given else {
            let at = port.default.map_or((std::ptr::null_mut(), 0), |w| weight(self.exe, code, w));
            return Ok(self.ctx.frame.set_address(buffer, at, needs));
        };
        let memory = &mut self.ctx.gpu.inputs[i];
        if !std::mem::replace(&mut self.ctx.gpu.here[i], true) {
            memory.reserve(bytes.len() as u64, "an input on the GPU")?;
            // SAFETY: the block has room; the input is borrowed until the run has waited.
            unsafe { code.gpu.upload(memory.as_mut_ptr(), bytes)? };
        }
        Ok(self.ctx.frame.set_slot(buffer, memory, needs))
    }

    /// Launches a stretch and waits for it.
    pub(super) fn gpu_launches(
        &mut self,
        code: &GpuCode,
        block: u32,
        plan: &SegmentPlan,
        segment: usize,
    ) -> Result<(), RunError> {
        if plan.launches.is_empty() {
            return Ok(());
        }
        let bytes = 4 * plan.launches.len() as u64;
        self.ctx.gpu.status.reserve(bytes, "launches' statuses")?;
        self.ctx.gpu.status.fill(0)?;
        let mut shots = std::mem::take(&mut self.ctx.gpu.shots);
        shots.clear();
        for (i, planned) in plan.launches.iter().enumerate() {
            shots.extend(self.shot(code, block, plan, planned, i));
        }
        let watched = self.watch.is_some();
        let result = match watched {
            true => self.one_by_one(code, block, plan, &mut shots),
            false => self.fire(code, segment, &mut shots, plan.launches[0].step),
        };
        self.ctx.gpu.shots = shots;
        result?;
        self.statuses(code, block, plan)
    }

    /// A launch with its parameters; see `cascata_artifact::gpu` for their order.
    fn shot(
        &mut self,
        code: &GpuCode,
        block: u32,
        plan: &SegmentPlan,
        planned: &PlannedLaunch,
        i: usize,
    ) -> Option<Shot> {
        let kernel = &code.program(&self.exe.artifact).kernels[planned.kernel as usize];
        let exe = self.exe;
        let Step::Launch(launch) = &exe.entry().steps_of(block)[planned.step] else { return None };
        let stride = stride(plan);
        let mut params: Vec<u64> =
            launch.buffers.iter().map(|b| self.ctx.frame.address(*b)).collect();
        params.extend(plan.dims[planned.dims.clone()].iter().map(|d| *d as u64));
        let status = self.ctx.gpu.status.as_mut_ptr() as u64 + 4 * i as u64;
        params.extend([planned.tiles as u64, self.ctx.scratch.as_mut_ptr() as u64, stride, status]);
        Some(Shot {
            kernel: planned.kernel,
            blocks: code.blocks(kernel, planned.tiles, stride),
            threads: kernel.threads,
            shared_bytes: kernel.shared_bytes,
            params,
        })
    }

    /// All at once: as the graph of the last run if that did the same.
    fn fire(
        &mut self,
        code: &GpuCode,
        segment: usize,
        shots: &mut [Shot],
        step: usize,
    ) -> Result<(), RunError> {
        self.go_on(step)?;
        let all = |shots: &mut [Shot]| {
            shots.iter_mut().try_for_each(|shot| {
                let function = code.functions[shot.kernel as usize];
                // SAFETY: every buffer of these launches was placed in this run, as of the CPU's
                // launches; blocks grow only when their own segment starts, which changes the
                // parameters; the manifest's verifier has compared arities.
                unsafe { code.gpu.launch(function, shot) }
            })
        };
        if !code.graphs || shots.len() < 2 {
            return Ok(all(shots)?);
        }
        match self.ctx.gpu.recorded.get_mut(&segment) {
            Some((same, graph)) if same == shots => {
                if graph.is_none() {
                    *graph = Some(code.gpu.record(|| all(shots))?);
                }
                if let Some(graph) = graph {
                    // SAFETY: these are the launches of `all`, with the same parameters.
                    unsafe { graph.replay()? };
                }
            }
            _ => {
                self.ctx.gpu.recorded.insert(segment, (shots.to_vec(), None));
                all(shots)?;
            }
        }
        Ok(())
    }

    /// One after the other, each waited for, for those who watch.
    fn one_by_one(
        &mut self,
        code: &GpuCode,
        block: u32,
        plan: &SegmentPlan,
        shots: &mut [Shot],
    ) -> Result<(), RunError> {
        let exe = self.exe;
        for (planned, shot) in plan.launches.iter().zip(shots) {
            self.go_on(planned.step)?;
            let Step::Launch(launch) = &exe.entry().steps_of(block)[planned.step] else { continue };
            let started = std::time::Instant::now();
            // SAFETY: as in `fire`.
            unsafe { code.gpu.launch(code.functions[shot.kernel as usize], shot)? };
            code.gpu.wait("running a kernel")?;
            if let Some(profiler) = self.watch.as_deref_mut().and_then(|w| w.profiler.as_mut()) {
                let kernel = &exe.kernel_info(planned.kernel).name;
                profiler.record(started, kernel, (block, launch), planned, &self.ctx.values);
            }
            self.fetch(launch, planned.kernel)?;
        }
        Ok(())
    }

    /// Waits; the first launch whose check failed is the run's error.
    fn statuses(&mut self, code: &GpuCode, block: u32, plan: &SegmentPlan) -> Result<(), RunError> {
        let exe = self.exe;
        let mut words = vec![0u8; 4 * plan.launches.len()];
        let from = self.ctx.gpu.status.as_mut_ptr();
        // SAFETY: the block was made that long.
        unsafe { code.gpu.download(&mut words, from)? };
        let (words, _) = words.as_chunks::<4>();
        let failed = words.iter().map(|w| i32::from_ne_bytes(*w)).zip(&plan.launches);
        for (status, planned) in failed.filter(|(status, _)| *status != 0) {
            if let Step::Launch(launch) = &exe.entry().steps_of(block)[planned.step] {
                return Err(exe.kernel_error(planned.kernel, status, launch));
            }
        }
        Ok(())
    }
}

/// Address and bytes of a weight.
fn weight(exe: &super::run::Executable, code: &GpuCode, w: u32) -> (*mut u8, u64) {
    let weight = &exe.artifact.manifest().weights[w as usize];
    (code.weights.address().wrapping_add(weight.offset as usize), weight.bytes)
}
