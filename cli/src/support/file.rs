//! An artifact's manifest, with its whole provenance, without reading its weights or
//! needing a CPU that runs its code.

use super::exit::FileError;
use cascata::artifact::manifest::{Entry, Provenance};
use cascata::artifact::sign::{PublicKey, SIGNATURE_BYTES, verify_any};
use cascata::artifact::{FormatError, Header, Manifest, Section, SectionKind, parse_manifest};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A checked manifest.
pub struct ArtifactFile {
    /// The header.
    pub header: Header,
    /// The manifest with explanations, graphs and kernels.
    pub manifest: Manifest,
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether there is a signature.
    pub signed: bool,
    path: PathBuf,
    file: File,
}

impl ArtifactFile {
    /// The PTX of a GPU program, checked.
    pub fn ptx(&self, program: usize) -> Result<String, FileError> {
        let fail = |e: &dyn std::fmt::Display| FileError::new("read", &self.path, e);
        let missing = || FormatError::Missing { section: SectionKind::Ptx };
        let section = self.header.of_kind(SectionKind::Ptx).nth(program);
        let section = section.ok_or_else(missing).map_err(|e| fail(&e))?;
        let mut bytes = vec![0; section.length.min(self.bytes) as usize];
        self.file.read_exact_at(&mut bytes, section.offset).map_err(|e| fail(&e))?;
        section.check(&bytes).map_err(|e| fail(&e))?;
        String::from_utf8(bytes).map_err(|e| fail(&e))
    }

    /// Sizes of the programs' PTX.
    pub fn ptx_bytes(&self) -> impl Iterator<Item = u64> {
        self.header.of_kind(SectionKind::Ptx).map(|s| s.length)
    }
}

/// Reads the header, the manifest and the provenance of an artifact.
pub fn read(path: &Path) -> Result<ArtifactFile, FileError> {
    read_trusted(path, &[])
}

/// As [`read`]; the signature of one of the keys is checked first, if there are keys.
pub fn read_trusted(path: &Path, trusted: &[PublicKey]) -> Result<ArtifactFile, FileError> {
    let fail = |e: &dyn std::fmt::Display| FileError::new("read", path, e);
    let file = File::open(path).map_err(|e| fail(&e))?;
    let bytes = file.metadata().map_err(|e| fail(&e))?.len();
    let take = |offset: u64, length: u64| {
        let mut buffer = vec![0; length.min(bytes) as usize];
        file.read_exact_at(&mut buffer, offset).map_err(|e| fail(&e))?;
        Ok::<_, FileError>(buffer)
    };
    let prefix = take(0, Header::PREFIX_BYTES as u64)?;
    let length = Header::length(&prefix).map_err(|e| fail(&e))? as u64;
    let header = Header::parse(&take(0, length)?, bytes).map_err(|e| fail(&e))?;
    let signature = header.of_kind(SectionKind::Signature).next();
    if !trusted.is_empty() {
        let read = |s: &Section| take(s.offset, s.length.min(SIGNATURE_BYTES + 1));
        let signature = signature.map(read).transpose()?;
        verify_any(trusted, &header.root, signature.as_deref()).map_err(|e| fail(&e))?;
    }
    let signed = signature.is_some();
    let section = |s: &Section| {
        let bytes = take(s.offset, s.length)?;
        s.check(&bytes).map_err(|e| fail(&e))?;
        Ok::<_, FileError>(bytes)
    };
    let part = header.section(SectionKind::Manifest).map_err(|e| fail(&e))?;
    let mut manifest = parse_manifest(&header, &section(part)?).map_err(|e| fail(&e))?;
    // People read formulas over the model's own symbols.
    let programs = manifest.gpu.iter_mut().flat_map(|p| &mut p.entries);
    manifest.entries.iter_mut().chain(programs).for_each(Entry::expand_formulas);
    if let Some(part) = header.of_kind(SectionKind::Provenance).next() {
        let bulk: Provenance = serde_json::from_slice(&section(part)?).map_err(|e| fail(&e))?;
        manifest.provenance.put_bulk(bulk);
    }
    Ok(ArtifactFile { header, manifest, bytes, signed, path: path.into(), file })
}
