//! Read-only file mappings as [`Bytes`].

use bytes::Bytes;
use memmap2::Mmap;
use std::fs::File;
use std::io;
use std::path::Path;

/// Maps a whole file; the mapping lives as long as any view of the result.
pub fn map_file(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if file.metadata()?.len() == 0 {
        return Ok(Bytes::new());
    }
    map(&file).map(Bytes::from_owner)
}

#[allow(unsafe_code, reason = "mapping a file has no safe form")]
fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: the mapping is read-only and private. What remains is that another
    // process may truncate or rewrite the file meanwhile: model files are treated as
    // immutable while a compile runs, and every reader checks what it reads instead of
    // trusting that two reads agree.
    unsafe { Mmap::map(file) }
}
