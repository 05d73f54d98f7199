//! The state of a run: registers and memory.

use super::error::Step;
use super::index::Index;
use super::memory::{Memory, Now};
use crate::kernel::Space;

/// Runs a program's nodes; see [`super::exec`].
pub(super) struct Machine {
    /// Windows of one width: the tile's, then one per thread inside a loop over threads.
    registers: Vec<i64>,
    /// Where the running thread's window starts.
    window: usize,
    width: usize,
    memories: Vec<Memory>,
    now: Now,
    /// Counts the times that scratch and shared buffers became undefined.
    generation: u32,
    /// Run vector loops from their end.
    pub(super) reverse_vector: bool,
}

impl Machine {
    pub(super) fn new(width: usize, memories: Vec<Memory>, reverse_vector: bool) -> Self {
        Self {
            registers: vec![0; width],
            window: 0,
            width,
            memories,
            now: Now { epoch: 1, thread: 0 },
            generation: 0,
            reverse_vector,
        }
    }

    pub(super) fn into_memories(self) -> Vec<Memory> {
        self.memories
    }

    #[inline]
    pub(super) fn register(&self, register: usize) -> i64 {
        self.registers[self.window + register]
    }

    #[inline]
    pub(super) fn set_register(&mut self, register: usize, value: i64) {
        self.registers[self.window + register] = value;
    }

    #[inline]
    pub(super) fn index(&self, index: &Index) -> Step<i64> {
        index.eval(&self.registers[self.window..])
    }

    /// The position of an element, if it exists.
    pub(super) fn element(&self, buffer: usize, at: i64) -> Step<usize> {
        self.memories[buffer].element(at)
    }

    #[inline]
    pub(super) fn load(&mut self, buffer: usize, at: i64) -> Step<u64> {
        self.memories[buffer].load(at, self.now)
    }

    #[inline]
    pub(super) fn store(&mut self, buffer: usize, at: i64, raw: u64) -> Step<()> {
        self.memories[buffer].store(at, raw, self.now)
    }

    /// Starts a tile: nothing is known of scratch and shared memory.
    pub(super) fn start_tile(&mut self, tile: u32) {
        self.now.epoch += 1;
        self.poison(Space::Scratch, 1);
        self.poison(Space::Shared, 1);
        for memory in self.memories.iter_mut().filter(|m| m.space == Space::Output) {
            memory.stamp = tile + 1;
        }
    }

    fn poison(&mut self, space: Space, copies: usize) {
        self.generation += 1;
        for memory in self.memories.iter_mut().filter(|m| m.space == space) {
            memory.poison(self.generation, copies);
        }
    }

    /// Gives each of `count` threads the tile's registers and scratch of its own.
    pub(super) fn fork(&mut self, count: usize) {
        self.barrier();
        self.poison(Space::Scratch, count);
        for _ in 0..count {
            self.registers.extend_from_within(..self.width);
        }
    }

    /// Continues as a thread.
    pub(super) fn switch(&mut self, thread: usize) {
        self.window = (thread + 1) * self.width;
        self.now.thread = thread as u32;
        for memory in self.memories.iter_mut().filter(|m| m.space == Space::Scratch) {
            memory.copy_start = thread * memory.len;
        }
    }

    /// Ends the threads.
    pub(super) fn join(&mut self) {
        self.barrier();
        self.poison(Space::Scratch, 1);
        self.registers.truncate(self.width);
        self.window = 0;
        self.now.thread = 0;
    }

    /// What was used before is no race with what follows.
    pub(super) fn barrier(&mut self) {
        self.now.epoch += 1;
    }
}
