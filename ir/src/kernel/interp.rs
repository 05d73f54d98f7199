//! The reference interpreter of kernels: what a kernel means, and what it does wrong.
//!
//! Tiles run one after the other in a chosen order, so that a dependence between tiles
//! shows; scratch and shared memory start undefined in each. Inside a loop over threads
//! each thread runs up to the next barrier, then the next thread does. Every element
//! remembers its writers and readers, so that uses that are not ordered by a barrier are
//! reported wherever the order of running would hide them.
//!
//! Floats are computed in `f64` and rounded once per operation; micro-kernels and row
//! primitives accumulate in `f64` and round once at the end.

use super::{Kernel, Space, verify};
use cascata_types::{Dim, Entity as _, SymbolId};

mod attention;
mod codes;
mod contraction;
mod error;
mod exec;
mod host;
mod index;
mod machine;
mod memory;
mod program;
mod rows;
mod tile_gemm;
mod value;

pub use error::{Fault, KernelRunError, ThreadId};
use exec::Stop;
pub use host::HostBuffer;
use machine::Machine;
use memory::Memory;
use program::{Node, Target};

/// Most elements of a buffer and most tiles of a run.
const MAX_SIZE: i64 = 1 << 31;

/// The order in which tiles run; a right kernel gives the same results in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TileOrder {
    /// From the first.
    #[default]
    Forward,
    /// From the last.
    Reverse,
    /// In the random order of a seed.
    Shuffled(u64),
}

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Order of the tiles.
    pub order: TileOrder,
    /// Run vector loops from their end; sums then round differently.
    pub reverse_vector: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The results are in the buffers.
    Done,
    /// A check failed with this message.
    Failed(String),
}

/// Runs a kernel once over its launch buffers (inputs and outputs in order).
///
/// # Errors
/// The kernel is not valid, params or buffers do not fit, or a statement did wrong.
pub fn run(
    kernel: &Kernel,
    params: &[i64],
    buffers: &mut [HostBuffer],
) -> Result<Outcome, KernelRunError> {
    Program::new(kernel)?.run(params, buffers, &RunOptions::default())
}

/// Undefined launch buffers of the right sizes: inputs and outputs in order.
///
/// # Errors
/// Params do not fit, or a size is not computable.
pub fn launch_buffers(kernel: &Kernel, params: &[i64]) -> Result<Vec<HostBuffer>, KernelRunError> {
    check_params(kernel, params)?;
    let launch = kernel.buffers.values().filter(|b| is_launch(b.space));
    launch
        .map(|b| {
            let what = || format!("buffer '%{}'", b.name);
            Ok(HostBuffer::undefined(b.dtype, size(&b.len, params, what)? as usize))
        })
        .collect()
}

fn is_launch(space: Space) -> bool {
    matches!(space, Space::Input | Space::Output)
}

fn check_params(kernel: &Kernel, params: &[i64]) -> Result<(), KernelRunError> {
    let (expected, found) = (kernel.params, params.len());
    if expected != found {
        return Err(KernelRunError::ParamCount { expected, found });
    }
    for ((_, symbol), value) in kernel.symbols.iter().zip(params) {
        if !(symbol.min..=symbol.max).contains(value) {
            let (name, min, max) = (symbol.name.clone(), symbol.min, symbol.max);
            return Err(KernelRunError::ParamRange { name, value: *value, min, max });
        }
    }
    Ok(())
}

/// A size over parameters.
fn size(dim: &Dim, params: &[i64], what: impl Fn() -> String) -> Result<i64, KernelRunError> {
    let bind = |id: SymbolId| params.get(id.index()).copied();
    match dim.eval(&bind) {
        Ok(size @ 0..=MAX_SIZE) => Ok(size),
        Ok(size) => Err(KernelRunError::BadSize { what: what(), size }),
        Err(error) => Err(KernelRunError::Size { what: what(), error }),
    }
}

/// A compiled kernel, to run several times.
pub struct Program<'k> {
    kernel: &'k Kernel,
    tile: Target,
    body: Vec<Node<'k>>,
    has_threads: bool,
}

impl<'k> Program<'k> {
    /// Verifies and compiles a kernel.
    ///
    /// # Errors
    /// The kernel is not valid.
    pub fn new(kernel: &'k Kernel) -> Result<Self, KernelRunError> {
        verify(kernel).map_err(KernelRunError::Invalid)?;
        let compiler = program::compiler(kernel);
        let body = compiler.body(&kernel.body);
        let has_threads = body.iter().any(Node::has_threads);
        Ok(Self { kernel, tile: compiler.target(kernel.tile), body, has_threads })
    }

    /// Runs the kernel over its launch buffers (inputs and outputs in order). After an
    /// error the outputs hold what was written so far.
    ///
    /// # Errors
    /// Params or buffers do not fit, or a statement did wrong.
    pub fn run(
        &self,
        params: &[i64],
        buffers: &mut [HostBuffer],
        options: &RunOptions,
    ) -> Result<Outcome, KernelRunError> {
        check_params(self.kernel, params)?;
        let tiles = match self.kernel.grid.eval(&|id| params.get(id.index()).copied()) {
            Ok(tiles @ ..0) => tiles,
            _ => size(&self.kernel.grid, params, || "the grid".to_string())?,
        };
        let memories = self.memories(params, buffers)?;
        // One register more for what a group of threads combines.
        let width = self.kernel.symbols.len() + self.kernel.locals.len() + 1;
        let mut machine = Machine::new(width, memories, options.reverse_vector);
        for (register, value) in params.iter().enumerate() {
            machine.set_register(register, *value);
        }
        let result = self.tiles(&mut machine, tiles, options.order);
        give_back(machine.into_memories(), buffers);
        result
    }

    fn tiles(
        &self,
        machine: &mut Machine,
        tiles: i64,
        order: TileOrder,
    ) -> Result<Outcome, KernelRunError> {
        for tile in tile_order(tiles, order) {
            machine.start_tile(tile as u32);
            machine.set_register(self.tile.register, tile);
            let fault = |statement: String, fault: Fault| KernelRunError::Fault {
                kernel: self.kernel.name.clone(),
                tile,
                statement,
                fault,
            };
            if let Err(e) = self.tile.check(tile) {
                return Err(fault("grid".to_string(), *e));
            }
            match machine.body(&self.body) {
                Ok(()) => {}
                Err(Stop::Check(i)) => {
                    return Ok(Outcome::Failed(self.kernel.messages[i].clone()));
                }
                Err(Stop::Fault(stmt, e)) => {
                    return Err(fault(self.kernel.stmt_headline(stmt), *e));
                }
            }
        }
        Ok(Outcome::Done)
    }

    /// Checks the launch buffers and moves their bytes into the run's memory.
    fn memories(
        &self,
        params: &[i64],
        buffers: &mut [HostBuffer],
    ) -> Result<Vec<Memory>, KernelRunError> {
        let all = &self.kernel.buffers;
        let expected = all.values().filter(|b| is_launch(b.space)).count();
        if expected != buffers.len() {
            return Err(KernelRunError::BufferCount { expected, found: buffers.len() });
        }
        let mut lens = Vec::new();
        for buffer in all.values() {
            lens.push(size(&buffer.len, params, || format!("buffer '%{}'", buffer.name))? as usize);
        }
        for ((declared, len), host) in all.values().zip(&lens).zip(&*buffers) {
            if (declared.dtype, *len) != (host.dtype, host.len()) {
                return Err(KernelRunError::BufferType {
                    name: declared.name.clone(),
                    expected_dtype: declared.dtype,
                    expected: *len,
                    found_dtype: host.dtype,
                    found: host.len(),
                });
            }
        }
        let mut hosts = buffers.iter_mut();
        let memory = |(declared, len)| self.memory(declared, len, &mut hosts);
        Ok(all.values().zip(lens).map(memory).collect())
    }

    fn memory<'b>(
        &self,
        declared: &super::Buffer,
        len: usize,
        hosts: &mut impl Iterator<Item = &'b mut HostBuffer>,
    ) -> Memory {
        let host = if is_launch(declared.space) { hosts.next() } else { None };
        let is_output = declared.space == Space::Output;
        let holds_data = is_output && host.as_ref().is_some_and(|h| h.first_undefined.is_none());
        let has_uses = self.has_threads && (is_output || declared.space == Space::Shared);
        Memory {
            name: declared.name.clone(),
            dtype: declared.dtype,
            space: declared.space,
            len,
            copy_start: 0,
            bytes: host.map(|h| std::mem::take(&mut h.bytes)).unwrap_or_default(),
            written: if is_output { vec![0; len] } else { Vec::new() },
            stamp: 0,
            read_by: if holds_data { vec![0; len] } else { Vec::new() },
            uses: if has_uses { vec![Default::default(); len] } else { Vec::new() },
        }
    }
}

fn give_back(memories: Vec<Memory>, buffers: &mut [HostBuffer]) {
    for (memory, host) in memories.into_iter().zip(buffers) {
        host.bytes = memory.bytes;
        if memory.space == Space::Output && host.first_undefined.is_some() {
            host.first_undefined = memory.written.iter().position(|stamp| *stamp == 0);
        }
    }
}

fn tile_order(tiles: i64, order: TileOrder) -> Box<dyn Iterator<Item = i64>> {
    match order {
        TileOrder::Forward => Box::new(0..tiles),
        TileOrder::Reverse => Box::new((0..tiles).rev()),
        TileOrder::Shuffled(mut seed) => {
            let mut all: Vec<i64> = (0..tiles).collect();
            for i in (1..all.len()).rev() {
                all.swap(i, (split_mix(&mut seed) % (i as u64 + 1)) as usize);
            }
            Box::new(all.into_iter())
        }
    }
}

/// SplitMix64 (Steele et al. 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
