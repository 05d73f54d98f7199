//! Buffers during a run, with what is known of each element's last writers and readers.

use super::error::{Fault, Step, ThreadId};
use super::value::{of_raw, raw_of};
use crate::kernel::Space;
use crate::scalar::Num;
use crate::with_num;
use cascata_types::DType;

/// [`Use::reader`] when several threads (or tiles) read.
const SEVERAL: u32 = u32::MAX;

/// A buffer.
pub(super) struct Memory {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) space: Space,
    /// Elements of one copy.
    pub(super) len: usize,
    /// Where the running thread's copy starts, in elements.
    pub(super) copy_start: usize,
    pub(super) bytes: Vec<u8>,
    /// Of each element: the stamp at its last write, 0 for never. Not of inputs.
    pub(super) written: Vec<u32>,
    /// Marks what the running tile wrote: the tile's number plus one for outputs, the
    /// generation for scratch and shared buffers.
    pub(super) stamp: u32,
    /// Of each element of an output that holds data: the one stamp that read it.
    pub(super) read_by: Vec<u32>,
    /// Of each element: its users since the last barrier. Only where threads share it.
    pub(super) uses: Vec<Use>,
}

/// The threads that used an element, by epoch (the stretch between two barriers).
#[derive(Clone, Copy, Default)]
pub(super) struct Use {
    write_epoch: u32,
    writer: u32,
    read_epoch: u32,
    reader: u32,
}

/// Who uses an element.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) epoch: u32,
    pub(super) thread: u32,
}

impl Memory {
    /// The position of an element of the running thread's copy.
    #[inline]
    pub(super) fn element(&self, index: i64) -> Step<usize> {
        match usize::try_from(index) {
            Ok(i) if i < self.len => Ok(self.copy_start + i),
            _ => {
                let (buffer, len) = (self.name.clone(), self.len);
                Err(Fault::OutOfBounds { buffer, index, len }.into())
            }
        }
    }

    /// Reads an element as a raw value.
    #[inline]
    pub(super) fn load(&mut self, index: i64, now: Now) -> Step<u64> {
        let at = self.element(index)?;
        if self.space != Space::Input {
            self.note_read(at, index, now)?;
        }
        Ok(self.raw(at))
    }

    /// Writes an element from a raw value.
    #[inline]
    pub(super) fn store(&mut self, index: i64, raw: u64, now: Now) -> Step<()> {
        let at = self.element(index)?;
        self.note_write(at, index, now)?;
        self.set_raw(at, raw);
        Ok(())
    }

    #[inline]
    fn raw(&self, at: usize) -> u64 {
        // Most elements are f32; the rest go through the generic path.
        if self.dtype == DType::F32 {
            return raw_of(f32::from_bits(little_endian::<4>(&self.bytes, at) as u32));
        }
        with_num!(self.dtype, T => {
            raw_of(T::of_bits(match T::DTYPE.size_bytes() {
                Some(1) => little_endian::<1>(&self.bytes, at),
                Some(2) => little_endian::<2>(&self.bytes, at),
                Some(4) => little_endian::<4>(&self.bytes, at),
                _ => little_endian::<8>(&self.bytes, at),
            }))
        }, str => 0)
    }

    #[inline]
    fn set_raw(&mut self, at: usize, raw: u64) {
        if self.dtype == DType::F32 {
            let bytes = (f64::from_bits(raw) as f32).to_le_bytes();
            self.bytes[at * 4..][..4].copy_from_slice(&bytes);
            return;
        }
        with_num!(self.dtype, T => {
            let size = T::DTYPE.size_bytes().unwrap_or(0);
            let bytes = of_raw::<T>(raw).bits().to_le_bytes();
            self.bytes[at * size..][..size].copy_from_slice(&bytes[..size]);
        }, str => ());
    }

    fn note_read(&mut self, at: usize, index: i64, now: Now) -> Step<()> {
        if self.written[at] != self.stamp {
            self.read_unwritten(at, index)?;
        }
        let Some(used) = self.uses.get_mut(at) else { return Ok(()) };
        if used.write_epoch == now.epoch && used.writer != now.thread {
            let first = used.writer;
            return Err(self.thread_race(index, first, now.thread));
        }
        if used.read_epoch != now.epoch {
            (used.read_epoch, used.reader) = (now.epoch, now.thread);
        } else if used.reader != now.thread {
            used.reader = SEVERAL;
        }
        Ok(())
    }

    /// Reads what the running tile did not write.
    fn read_unwritten(&mut self, at: usize, index: i64) -> Step<()> {
        let buffer = || self.name.clone();
        if self.space == Space::Output && self.written[at] != 0 {
            let other = i64::from(self.written[at]) - 1;
            return Err(Fault::ReadRace { buffer: buffer(), index, other }.into());
        }
        match self.read_by.get_mut(at) {
            None => return Err(Fault::Uninitialised { buffer: buffer(), index }.into()),
            Some(reader @ 0) => *reader = self.stamp,
            Some(reader) if *reader != self.stamp => *reader = SEVERAL,
            Some(_) => {}
        }
        Ok(())
    }

    fn note_write(&mut self, at: usize, index: i64, now: Now) -> Step<()> {
        let before = std::mem::replace(&mut self.written[at], self.stamp);
        if self.space == Space::Output && before != self.stamp {
            if before != 0 {
                let (buffer, other) = (self.name.clone(), i64::from(before) - 1);
                return Err(Fault::WriteRace { buffer, index, other }.into());
            }
            if self.read_by.get(at).is_some_and(|r| *r != 0 && *r != self.stamp) {
                let buffer = self.name.clone();
                return Err(Fault::WriteAfterRead { buffer, index }.into());
            }
        }
        let Some(used) = self.uses.get_mut(at) else { return Ok(()) };
        let other_writer = used.write_epoch == now.epoch && used.writer != now.thread;
        let other_reader = used.read_epoch == now.epoch && used.reader != now.thread;
        if other_writer || other_reader {
            let first = if other_writer { used.writer } else { used.reader };
            return Err(self.thread_race(index, first, now.thread));
        }
        (used.write_epoch, used.writer) = (now.epoch, now.thread);
        Ok(())
    }

    fn thread_race(&self, index: i64, first: u32, second: u32) -> Box<Fault> {
        let id = |t| if t == SEVERAL { ThreadId::Several } else { ThreadId::One(t) };
        let (buffer, first, second) = (self.name.clone(), id(first), id(second));
        Fault::ThreadRace { buffer, index, first, second }.into()
    }

    /// Makes the contents undefined and gives each of `copies` threads its own.
    pub(super) fn poison(&mut self, generation: u32, copies: usize) {
        let elements = self.len * copies;
        if self.written.len() < elements {
            self.written.resize(elements, 0);
            self.bytes.resize(elements * self.dtype.size_bytes().unwrap_or(0), 0);
        }
        self.stamp = generation;
        self.copy_start = 0;
    }
}

fn little_endian<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut all = [0; 8];
    all[..N].copy_from_slice(&bytes[at * N..][..N]);
    u64::from_le_bytes(all)
}
