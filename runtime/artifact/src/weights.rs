//! The weight section: 64-byte-aligned items and a hash of every chunk.

use crate::manifest::Weight;
use std::io::{self, Write};

/// Weights start at multiples of this.
pub const WEIGHT_ALIGN: u64 = 64;
/// One hash covers this many bytes of weights.
pub const CHUNK_BYTES: u64 = 1 << 20;

/// Lays the weights out one after the other; returns the section's length.
/// Saturates instead of overflowing: such a manifest does not verify.
pub fn assign_offsets(weights: &mut [Weight]) -> u64 {
    let mut end = 0u64;
    for w in weights {
        w.offset = end.checked_next_multiple_of(WEIGHT_ALIGN).unwrap_or(u64::MAX);
        end = w.offset.saturating_add(w.bytes);
    }
    end
}

/// Length of the weight section that holds these weights.
pub(crate) fn section_bytes(weights: &[Weight]) -> u64 {
    weights.iter().map(|w| w.offset.saturating_add(w.bytes)).max().unwrap_or(0)
}

/// Number of chunks of a weight section.
pub(crate) fn chunks(section_bytes: u64) -> u64 {
    section_bytes.div_ceil(CHUNK_BYTES)
}

/// Writes weights through and hashes every chunk on the way.
pub(crate) struct ChunkHasher<W> {
    out: W,
    hasher: blake3::Hasher,
    in_chunk: u64,
    /// Bytes written so far.
    pub(crate) total: u64,
    hashes: Vec<u8>,
}

impl<W: Write> ChunkHasher<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, hasher: blake3::Hasher::new(), in_chunk: 0, total: 0, hashes: Vec::new() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.total += bytes.len() as u64;
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = (CHUNK_BYTES - self.in_chunk) as usize;
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.hasher.update(now);
            self.in_chunk += now.len() as u64;
            if self.in_chunk == CHUNK_BYTES {
                self.close_chunk();
            }
            rest = later;
        }
        Ok(())
    }

    /// Zeros up to `offset`.
    pub(crate) fn pad_to(&mut self, offset: u64) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.total < offset {
            let n = (offset - self.total).min(ZEROS.len() as u64) as usize;
            self.push(&ZEROS[..n])?;
        }
        Ok(())
    }

    fn close_chunk(&mut self) {
        self.hashes.extend_from_slice(self.hasher.finalize().as_bytes());
        self.hasher.reset();
        self.in_chunk = 0;
    }

    /// The hashes of all chunks.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.in_chunk > 0 {
            self.close_chunk();
        }
        self.hashes
    }
}
