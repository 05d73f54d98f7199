//! Where an artifact's bytes come from: a file, read and mapped, or memory.

use crate::sys::map::map_file;
use crate::sys::memory::AlignedBuf;
use cascata_artifact::{Header, Section, SectionKind};
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The bytes of one artifact.
pub(crate) enum Source {
    /// A file; only its weights are mapped.
    File { file: File, length: u64, weights: Option<Mmap> },
    /// A copy in aligned memory.
    Memory { bytes: AlignedBuf, weights: Range<usize> },
}

impl Source {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Source::File { file, length, weights: None })
    }

    pub(crate) fn memory(bytes: &[u8]) -> io::Result<Self> {
        let bytes =
            AlignedBuf::copy_of(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(Source::Memory { bytes, weights: 0..0 })
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Source::File { length, .. } => *length,
            Source::Memory { bytes, .. } => bytes.len() as u64,
        }
    }

    /// Copies bytes out.
    pub(crate) fn read_into(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match self {
            Source::File { file, .. } => file.read_exact_at(into, offset),
            Source::Memory { bytes, .. } => {
                let from = usize::try_from(offset).ok().and_then(|o| bytes.as_slice().get(o..));
                let from = from.and_then(|b| b.get(..into.len()));
                into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// A copy of some bytes; no more is allocated than the source has.
    pub(crate) fn read_at(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        let length =
            usize::try_from(length.min(self.len())).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = vec![0; length];
        self.read_into(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// A copy of a section.
    pub(crate) fn read(&self, section: &Section) -> io::Result<Vec<u8>> {
        self.read_at(section.offset, section.length)
    }

    /// Makes [`Source::weights`] available.
    pub(crate) fn map_weights(&mut self, header: &Header) -> io::Result<()> {
        let Ok(section) = header.section(SectionKind::Weights) else { return Ok(()) };
        match self {
            Source::File { file, weights, .. } => {
                *weights = Some(map_file(file, section.offset, section.length)?);
            }
            Source::Memory { weights, .. } => {
                *weights = section.offset as usize..section.end() as usize
            }
        }
        Ok(())
    }

    /// The weight section; page-aligned, or 64-byte aligned in memory.
    pub(crate) fn weights(&self) -> &[u8] {
        match self {
            Source::File { weights, .. } => weights.as_deref().unwrap_or(&[]),
            Source::Memory { bytes, weights } => {
                bytes.as_slice().get(weights.clone()).unwrap_or(&[])
            }
        }
    }
}
