//! 64-byte-aligned memory whose allocation may fail.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Alignment of everything that kernels touch: a cache line, a 512-bit register.
pub(crate) const ALIGN: usize = 64;

/// The allocator has no such block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfMemory {
    pub(crate) bytes: u64,
}

/// An owned block of bytes.
pub(crate) struct AlignedBuf {
    ptr: NonNull<u8>,
    len: usize,
}

// SAFETY: the block is owned and has no thread affinity; `&AlignedBuf` gives only reads.
unsafe impl Send for AlignedBuf {}
// SAFETY: as above.
unsafe impl Sync for AlignedBuf {}

impl AlignedBuf {
    /// No bytes; allocates nothing.
    pub(crate) const fn empty() -> Self {
        const { assert!(align_of::<Line>() == ALIGN) }
        Self { ptr: NonNull::<Line>::dangling().cast(), len: 0 }
    }

    /// `len` bytes of zeros.
    pub(crate) fn zeroed(len: u64) -> Result<Self, OutOfMemory> {
        // SAFETY: the layout has a non-zero size.
        Self::allocate(len, |layout| unsafe { alloc_zeroed(layout) })
    }

    /// `len` bytes that a kernel will write before anyone reads them.
    pub(crate) fn for_kernel(len: u64) -> Result<Self, OutOfMemory> {
        // SAFETY: the layout has a non-zero size.
        Self::allocate(len, |layout| unsafe { alloc(layout) })
    }

    /// A copy of `bytes`.
    pub(crate) fn copy_of(bytes: &[u8]) -> Result<Self, OutOfMemory> {
        let mut buf = Self::for_kernel(bytes.len() as u64)?;
        buf.as_mut_slice().copy_from_slice(bytes);
        Ok(buf)
    }

    fn allocate(bytes: u64, get: impl FnOnce(Layout) -> *mut u8) -> Result<Self, OutOfMemory> {
        if bytes == 0 {
            return Ok(Self::empty());
        }
        let oom = OutOfMemory { bytes };
        let len = usize::try_from(bytes).map_err(|_| oom)?;
        let layout = Layout::from_size_align(len, ALIGN).map_err(|_| oom)?;
        let ptr = NonNull::new(get(layout)).ok_or(oom)?;
        Ok(Self { ptr, len })
    }

    /// Makes room for `len` bytes; the old contents are lost when it must grow.
    pub(crate) fn reserve(&mut self, len: u64) -> Result<(), OutOfMemory> {
        if len > self.len as u64 {
            *self = Self::empty(); // Free first: the two need not exist together.
            *self = Self::for_kernel(len)?;
        }
        Ok(())
    }

    /// Makes room for `len` bytes and keeps the first `used`; grows by doubling.
    pub(crate) fn extend(&mut self, used: u64, len: u64) -> Result<(), OutOfMemory> {
        if len <= self.len as u64 {
            return Ok(());
        }
        let mut larger = Self::for_kernel(len.max((self.len as u64).saturating_mul(2)))?;
        let used = (used as usize).min(self.len);
        larger.as_mut_slice()[..used].copy_from_slice(&self.as_slice()[..used]);
        *self = larger;
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: `ptr` is valid for `len` bytes, which the owner has initialised or a
        // kernel has (whose writes the compiler cannot see and must assume).
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` excludes other users.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.ptr.as_ptr()
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if let (true, Ok(layout)) = (self.len > 0, Layout::from_size_align(self.len, ALIGN)) {
            // SAFETY: allocated with this layout in `allocate`.
            unsafe { dealloc(self.ptr.as_ptr(), layout) }
        }
    }
}

/// Something with the alignment of [`ALIGN`], for dangling pointers.
#[repr(align(64))]
struct Line;
