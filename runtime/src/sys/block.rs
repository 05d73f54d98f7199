//! Memory that a run keeps, on the host or on a GPU.

use crate::error::RunError;
use crate::sys::memory::AlignedBuf;

#[cfg(feature = "cuda")]
use crate::sys::cuda::{Gpu, GpuBuf};

/// Where a run's memory is.
#[derive(Clone)]
pub(crate) enum Home {
    /// The host's memory.
    Host,
    /// A GPU's.
    #[cfg(feature = "cuda")]
    Gpu(Gpu),
}

/// A block of memory that grows.
pub(crate) enum Block {
    Host(AlignedBuf),
    #[cfg(feature = "cuda")]
    Gpu(GpuBuf),
}

fn out_of_memory(what: &str, bytes: u64) -> RunError {
    RunError::OutOfMemory { what: what.into(), bytes }
}

impl Block {
    /// No bytes; allocates nothing.
    pub(crate) fn empty(home: &Home) -> Self {
        match home {
            Home::Host => Block::Host(AlignedBuf::empty()),
            #[cfg(feature = "cuda")]
            Home::Gpu(gpu) => Block::Gpu(GpuBuf::empty(gpu)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Block::Host(buf) => buf.len(),
            #[cfg(feature = "cuda")]
            Block::Gpu(buf) => buf.len(),
        }
    }

    /// Its address there.
    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        match self {
            Block::Host(buf) => buf.as_mut_ptr(),
            #[cfg(feature = "cuda")]
            Block::Gpu(buf) => buf.address(),
        }
    }

    /// Makes room for `len` bytes of `what`; the old contents are lost when it must grow.
    pub(crate) fn reserve(&mut self, len: u64, what: &str) -> Result<(), RunError> {
        match self {
            Block::Host(buf) => buf.reserve(len).map_err(|e| out_of_memory(what, e.bytes)),
            #[cfg(feature = "cuda")]
            Block::Gpu(buf) if len > buf.len() as u64 => {
                let gpu = buf.gpu().clone();
                // Free first: the two need not exist together.
                *buf = GpuBuf::empty(&gpu);
                *buf = GpuBuf::new(&gpu, len).ok_or_else(|| out_of_memory(what, len))?;
                Ok(())
            }
            #[cfg(feature = "cuda")]
            Block::Gpu(_) => Ok(()),
        }
    }

    /// Makes room for `len` bytes of `what` and keeps the first `used`; grows by doubling.
    pub(crate) fn extend(&mut self, used: u64, len: u64, what: &str) -> Result<(), RunError> {
        match self {
            Block::Host(buf) => buf.extend(used, len).map_err(|e| out_of_memory(what, e.bytes)),
            #[cfg(feature = "cuda")]
            Block::Gpu(buf) if len > buf.len() as u64 => {
                let gpu = buf.gpu().clone();
                let room = len.max((buf.len() as u64).saturating_mul(2));
                let larger = GpuBuf::new(&gpu, room).ok_or_else(|| out_of_memory(what, room))?;
                let used = (used as usize).min(buf.len());
                // SAFETY: both blocks are ours, apart, and at least that long.
                unsafe { gpu.copy(larger.address(), buf.address(), used)? };
                *buf = larger;
                Ok(())
            }
            #[cfg(feature = "cuda")]
            Block::Gpu(_) => Ok(()),
        }
    }

    /// Sets all bytes.
    pub(crate) fn fill(&mut self, byte: u8) -> Result<(), RunError> {
        match self {
            Block::Host(buf) => buf.as_mut_slice().fill(byte),
            #[cfg(feature = "cuda")]
            Block::Gpu(buf) => buf.fill(byte)?,
        }
        Ok(())
    }

    /// Copies to its start what it has room for; the bytes stay as they are until the GPU has
    /// them (a run waits for the GPU before it ends).
    pub(crate) fn write(&mut self, from: &[u8]) -> Result<(), RunError> {
        match self {
            Block::Host(buf) => buf.as_mut_slice()[..from.len()].copy_from_slice(from),
            #[cfg(feature = "cuda")]
            Block::Gpu(buf) => {
                buf.write(0, from)?;
                buf.gpu().wait("copying to the GPU")?;
            }
        }
        Ok(())
    }
}
