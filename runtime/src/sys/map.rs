//! Mapped weights and executable code.

use cascata_artifact::abi::KernelFn;
use memmap2::{Mmap, MmapMut, MmapOptions};
use std::fs::File;
use std::io;

/// Maps part of a file read-only; no page is read before it is touched.
///
/// Another process that truncates the file while it is mapped makes reads fault; that
/// is why files are replaced by renaming, never rewritten (see `ArtifactWriter`).
pub(crate) fn map_file(file: &File, offset: u64, length: u64) -> io::Result<Mmap> {
    let length =
        usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    // SAFETY: the mapping is read-only and handed out as pointers to kernels and as
    // bytes that nobody relies on to stay the same; truncation is documented above.
    unsafe { MmapOptions::new().offset(offset).len(length).map(file) }
}

/// Machine code in memory of its own that is never writable and executable at once.
pub(crate) struct CodeMemory(Mmap);

impl CodeMemory {
    /// Reserves `length` bytes, lets `fill` write and check them, then makes them
    /// executable and read-only.
    pub(crate) fn new<E>(
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<Self, E>
    where
        E: From<io::Error>,
    {
        let mut memory = MmapMut::map_anon(length.max(1))?;
        fill(&mut memory[..length])?;
        Ok(Self(memory.make_exec()?))
    }

    /// The kernel at `offset`; `None` outside the code.
    pub(crate) fn kernel(&self, offset: u64) -> Option<KernelFn> {
        let at = self.0.get(usize::try_from(offset).ok()?..)?.first()? as *const u8;
        // SAFETY: `at` points into executable memory that `fill` has checked against the
        // artifact's hash; the artifact says that a `KernelFn` of the ABI's version starts
        // there. Loading an artifact is trusting its code, as with a shared library. Whoever
        // calls the kernel keeps `self` alive.
        Some(unsafe { std::mem::transmute::<*const u8, KernelFn>(at) })
    }
}

/// Read-only zeros, which cost no memory until they are touched.
pub(crate) fn zeros(length: u64) -> io::Result<Mmap> {
    let length =
        usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    MmapMut::map_anon(length.max(64))?.make_read_only()
}
