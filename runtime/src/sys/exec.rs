//! The call of generated kernels.
//!
//! A [`Frame`] knows where each buffer of an entry lies during one run and how long it
//! is; whoever places a buffer checks that it fits. [`Frame::launch`] hands the pointers
//! to a kernel.

use crate::error::RunError;
use crate::sys::block::{Block, Home};
use crate::sys::memory::AlignedBuf;
use crate::sys::pool::{JobPanicked, Pool};
use cascata_artifact::abi::{Context, Import, KernelFn, Status};
use std::sync::atomic::{AtomicI64, Ordering};

/// A pointer that may cross threads.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Ptr(*mut u8);

// SAFETY: a pointer is a number; dereferencing it is the kernel's business, whose
// accesses from several threads go to disjoint tiles (the ABI's promise).
unsafe impl Send for Ptr {}
// SAFETY: as above.
unsafe impl Sync for Ptr {}

/// Where one buffer lies.
#[derive(Clone, Copy)]
struct Place {
    ptr: Ptr,
    bytes: u64,
}

/// The resolved imports of an artifact, for one ISA.
pub(crate) struct ImportTable(Vec<Ptr>);

impl ImportTable {
    pub(crate) fn resolve(imports: &[Import], isa: cascata_kernels::Isa) -> Self {
        let resolve = |i: &Import| Ptr(cascata_kernels::resolve(*i, isa).cast_mut());
        Self(imports.iter().map(resolve).collect())
    }
}

/// What a launch needs beside its buffers.
pub(crate) struct LaunchArgs<'a> {
    pub(crate) kernel: KernelFn,
    pub(crate) dims: &'a [i64],
    pub(crate) tiles: i64,
    pub(crate) min_tiles: i64,
    pub(crate) imports: &'a ImportTable,
    pub(crate) zeros: &'a [u8],
    /// Distance between the threads' parts of the scratch block.
    pub(crate) scratch_stride: usize,
}

/// Where the buffers of one run lie.
pub(crate) struct Frame {
    /// What the pointers point into.
    home: Home,
    /// An address of a few bytes that nobody uses, for buffers without elements.
    nothing: Block,
    places: Vec<Place>,
    /// The memory of each output port.
    outputs: Vec<Place>,
    /// The current launch's pointers, in the kernel's order; kept for its capacity.
    pointers: Vec<Ptr>,
}

/// A buffer does not fit the memory that it is placed in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DoesNotFit {
    pub(crate) needs: u64,
    pub(crate) has: u64,
}

impl Frame {
    /// A frame for that many buffers and outputs, none of them placed (they have 0 bytes).
    ///
    /// # Errors
    /// A GPU has no room for a few bytes.
    pub(crate) fn new(home: &Home, buffers: usize, outputs: usize) -> Result<Self, RunError> {
        let mut nothing = Block::empty(home);
        nothing.reserve(64, "an empty buffer")?;
        nothing.fill(0)?;
        let nowhere = Place { ptr: Ptr(AlignedBuf::empty().as_mut_ptr()), bytes: 0 };
        Ok(Self {
            home: home.clone(),
            nothing,
            places: vec![nowhere; buffers],
            outputs: vec![nowhere; outputs],
            pointers: Vec::new(),
        })
    }

    fn set(&mut self, buffer: u32, ptr: *mut u8, has: usize, needs: u64) -> Result<(), DoesNotFit> {
        if needs > has as u64 {
            return Err(DoesNotFit { needs, has: has as u64 });
        }
        // Kernels that choose between operands may load the first element of an empty one
        // and drop it; the pointer of an empty slice is not an address.
        let ptr = if needs == 0 { self.nothing.as_mut_ptr() } else { ptr };
        self.places[buffer as usize] = Place { ptr: Ptr(ptr), bytes: needs };
        Ok(())
    }

    /// Places a buffer that no kernel writes.
    pub(crate) fn set_const(
        &mut self,
        buffer: u32,
        memory: &[u8],
        needs: u64,
    ) -> Result<(), DoesNotFit> {
        self.set(buffer, memory.as_ptr().cast_mut(), memory.len(), needs)
    }

    /// Says where an output port's memory is.
    pub(crate) fn set_port(&mut self, port: u32, memory: &mut [u8]) {
        self.outputs[port as usize] =
            Place { ptr: Ptr(memory.as_mut_ptr()), bytes: memory.len() as u64 };
    }

    /// Says where an output port's memory is: the first bytes of a block.
    #[cfg(feature = "cuda")]
    pub(crate) fn set_port_block(&mut self, port: u32, memory: &mut Block, bytes: u64) {
        self.outputs[port as usize] = Place { ptr: Ptr(memory.as_mut_ptr()), bytes };
    }

    /// Places a buffer that no kernel writes at an address of the GPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn set_address(
        &mut self,
        buffer: u32,
        (address, has): (*mut u8, u64),
        needs: u64,
    ) -> Result<(), DoesNotFit> {
        self.set(buffer, address, has as usize, needs)
    }

    /// The address of a buffer.
    #[cfg(feature = "cuda")]
    pub(crate) fn address(&self, buffer: u32) -> u64 {
        self.places[buffer as usize].ptr.0 as u64
    }

    /// Places a buffer in an output port's memory.
    pub(crate) fn set_output(
        &mut self,
        buffer: u32,
        port: u32,
        needs: u64,
    ) -> Result<(), DoesNotFit> {
        let port = self.outputs[port as usize];
        self.set(buffer, port.ptr.0, port.bytes as usize, needs)
    }

    /// Places a buffer in an arena.
    pub(crate) fn set_arena(
        &mut self,
        buffer: u32,
        arena: &mut Block,
        offset: u64,
        needs: u64,
    ) -> Result<(), DoesNotFit> {
        let (len, base) = (arena.len(), arena.as_mut_ptr());
        if offset.checked_add(needs).is_none_or(|end| end > len as u64) {
            return Err(DoesNotFit { needs: offset.saturating_add(needs), has: len as u64 });
        }
        // `offset` is at most `len`, so the sum stays in (or one past) the block.
        self.set(buffer, base.wrapping_add(offset as usize), len - offset as usize, needs)
    }

    /// Places a buffer at the start of its slot.
    pub(crate) fn set_slot(
        &mut self,
        buffer: u32,
        slot: &mut Block,
        needs: u64,
    ) -> Result<(), DoesNotFit> {
        self.set_arena(buffer, slot, 0, needs)
    }

    /// Places a buffer inside another one.
    pub(crate) fn set_alias(
        &mut self,
        buffer: u32,
        of: u32,
        offset: u64,
        needs: u64,
    ) -> Result<(), DoesNotFit> {
        let root = self.places[of as usize];
        if offset.checked_add(needs).is_none_or(|end| end > root.bytes) {
            return Err(DoesNotFit { needs: offset.saturating_add(needs), has: root.bytes });
        }
        let ptr = root.ptr.0.wrapping_add(offset as usize);
        self.set(buffer, ptr, (root.bytes - offset) as usize, needs)
    }

    /// Bytes of a buffer.
    pub(crate) fn bytes(&self, buffer: u32) -> u64 {
        self.places[buffer as usize].bytes
    }

    /// Copies `into.len()` bytes of a buffer from `at` on; `None` if it is shorter.
    ///
    /// # Safety
    /// The buffer's memory is still alive and initialised, nothing writes it now, and it does
    /// not overlap `into`.
    pub(crate) unsafe fn read(
        &self,
        buffer: u32,
        at: usize,
        into: &mut [u8],
    ) -> Result<Option<()>, RunError> {
        let place = self.places[buffer as usize];
        if at.checked_add(into.len()).is_none_or(|end| place.bytes < end as u64) {
            return Ok(None);
        }
        let from = place.ptr.0.wrapping_add(at);
        match &self.home {
            Home::Host => {
                let (to, len) = (into.as_mut_ptr(), into.len());
                // SAFETY: in bounds by the check above, alive and apart by the caller's promise.
                unsafe { std::ptr::copy_nonoverlapping(from, to, len) };
            }
            #[cfg(feature = "cuda")]
            // SAFETY: as above.
            Home::Gpu(gpu) => unsafe { gpu.download(into, from)? },
        }
        Ok(Some(()))
    }

    /// The floats of three buffers, and of one to be written; `None` if one is no whole number
    /// of aligned floats, if the last overlaps another, or if they lie on a GPU.
    ///
    /// # Safety
    /// The buffers' memory is alive for `'a`, that of `reads` initialised and that of `write`
    /// writable, and nothing else uses it.
    pub(crate) unsafe fn floats<'a>(
        &self,
        reads: [u32; 3],
        write: u32,
    ) -> Option<([&'a [f32]; 3], &'a mut [f32])> {
        if !matches!(self.home, Home::Host) {
            return None;
        }
        let range = |buffer: u32| {
            let place = self.places[buffer as usize];
            let (at, bytes) = (place.ptr.0, place.bytes);
            // No pointer stands for no floats.
            let at = if bytes == 0 { std::ptr::dangling_mut::<f32>() } else { at.cast::<f32>() };
            (at.is_aligned() && bytes.is_multiple_of(4)).then_some((at, (bytes / 4) as usize))
        };
        let (to, len) = range(write)?;
        let [a, b, c] = reads.map(range);
        let all = [a?, b?, c?];
        let apart = |(from, n): &(*mut f32, usize)| {
            from.wrapping_add(*n) <= to || to.wrapping_add(len) <= *from
        };
        if !all.iter().all(apart) {
            return None;
        }
        // SAFETY: aligned, as long as placed, and apart by the checks above; alive, initialised
        // and unused by the caller's promise.
        let floats = all.map(|(from, n)| unsafe { std::slice::from_raw_parts(from, n) });
        // SAFETY: as above.
        Some((floats, unsafe { std::slice::from_raw_parts_mut(to, len) }))
    }

    /// Copies a buffer to byte `at` of a block; `None` if that has no room.
    ///
    /// # Safety
    /// As of [`Frame::read`], of the block.
    pub(crate) unsafe fn copy_into(
        &self,
        buffer: u32,
        to: &mut Block,
        at: u64,
    ) -> Result<Option<()>, RunError> {
        let place = self.places[buffer as usize];
        if at.checked_add(place.bytes).is_none_or(|end| end > to.len() as u64) {
            return Ok(None);
        }
        let (from, to) = (place.ptr.0, to.as_mut_ptr().wrapping_add(at as usize));
        let bytes = place.bytes as usize;
        match &self.home {
            // SAFETY: in bounds by the check above, alive and apart by the caller's promise.
            Home::Host => unsafe { std::ptr::copy_nonoverlapping(from, to, bytes) },
            #[cfg(feature = "cuda")]
            // SAFETY: as above.
            Home::Gpu(gpu) => unsafe { gpu.copy(to, from, bytes)? },
        }
        Ok(Some(()))
    }

    /// Copies bytes to the start of a buffer; `None` if it is shorter.
    ///
    /// # Safety
    /// The buffer is no input and no constant, its memory is still alive, and nothing else
    /// uses it now.
    pub(crate) unsafe fn write(
        &mut self,
        buffer: u32,
        from: &[u8],
    ) -> Result<Option<()>, RunError> {
        let place = self.places[buffer as usize];
        if place.bytes < from.len() as u64 {
            return Ok(None);
        }
        match &self.home {
            // SAFETY: in bounds by the check above, alive and unused by the caller's promise;
            // `from` is borrowed from elsewhere.
            Home::Host => unsafe {
                std::ptr::copy_nonoverlapping(from.as_ptr(), place.ptr.0, from.len());
            },
            #[cfg(feature = "cuda")]
            Home::Gpu(gpu) => {
                // SAFETY: as above.
                unsafe { gpu.upload(place.ptr.0, from)? };
                gpu.wait("copying to the GPU")?;
            }
        }
        Ok(Some(()))
    }

    /// Runs a kernel over all its tiles; the status of the first failing range.
    ///
    /// # Safety
    /// All memory placed for `buffers` is still alive and nothing else uses it now; the
    /// kernel takes these buffers and dims; `scratch` has a stride for every thread.
    pub(crate) unsafe fn launch(
        &mut self,
        pool: &Pool,
        buffers: &[u32],
        scratch: &mut Block,
        args: &LaunchArgs<'_>,
    ) -> Result<Status, JobPanicked> {
        self.pointers.clear();
        self.pointers.extend(buffers.iter().map(|b| self.places[*b as usize].ptr));
        let shared = Shared(Context {
            buffers: self.pointers.as_ptr().cast(),
            dims: args.dims.as_ptr(),
            imports: args.imports.0.as_ptr().cast(),
            zeros: args.zeros.as_ptr(),
        });
        let scratch = Ptr(scratch.as_mut_ptr());
        let failed = AtomicI64::new(0);
        pool.run(args.tiles, args.min_tiles, &|thread, begin, end| {
            let (shared, scratch) = (&shared, &scratch);
            let mine = scratch.0.wrapping_add(thread * args.scratch_stride);
            // SAFETY: the context is alive until `run` returns; the rest is the caller's promise.
            let status = unsafe { (args.kernel)(&raw const shared.0, begin, end, mine) };
            if status != 0 {
                record(&failed, begin, status);
            }
        })?;
        // The low half is the status; see `record`.
        Ok(failed.into_inner() as i32)
    }
}

/// The context while several threads read it.
struct Shared(Context);

// SAFETY: kernels only read the context, and its tables do not change during a launch.
unsafe impl Sync for Shared {}

/// Keeps the failure with the lowest tiles, so that the report does not depend on timing:
/// `begin + 1` in the high half (0 means no failure yet), the status in the low half.
fn record(failed: &AtomicI64, begin: i64, status: Status) {
    let rank = begin.clamp(0, i64::from(i32::MAX) - 1) + 1;
    let mine = (rank << 32) | i64::from(status as u32);
    let keep_lowest = |old: i64| (old == 0 || mine >> 32 < old >> 32).then_some(mine);
    // An error means that the older failure stays.
    let _ = failed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, keep_lowest);
}
