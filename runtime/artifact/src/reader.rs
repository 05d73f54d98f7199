//! Checks and reads an artifact that lies in memory.

use crate::error::FormatError;
use crate::format::{Header, SectionKind};
use crate::manifest::{Manifest, Provenance};
use crate::verify::SectionSizes;
use crate::weights::{CHUNK_BYTES, chunks};

/// A checked artifact over borrowed bytes.
#[derive(Debug)]
pub struct ArtifactReader<'a> {
    file: &'a [u8],
    header: Header,
    manifest: Manifest,
}

impl<'a> ArtifactReader<'a> {
    /// Checks header, manifest and code (ranges, hashes, consistency); weights are
    /// not touched.
    ///
    /// # Errors
    /// Whatever is wrong first; every inconsistency of the manifest at once.
    pub fn parse(file: &'a [u8]) -> Result<Self, FormatError> {
        let header = Header::parse(file, file.len() as u64)?;
        let manifest = parse_manifest(&header, header.section(SectionKind::Manifest)?.slice(file))?;
        for section in header.of_kind(SectionKind::Code) {
            section.check(section.slice(file))?;
        }
        Ok(Self { file, header, manifest })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The manifest, without the bulky parts of its provenance.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest with its whole provenance (explanations, printed graphs and kernels).
    ///
    /// # Errors
    /// A damaged provenance section.
    pub fn full_manifest(&self) -> Result<Manifest, FormatError> {
        let mut manifest = self.manifest.clone();
        if let Some(section) = self.header.of_kind(SectionKind::Provenance).next() {
            section.check(section.slice(self.file))?;
            let bulk: Provenance = serde_json::from_slice(section.slice(self.file))?;
            manifest.provenance.put_bulk(bulk);
        }
        Ok(manifest)
    }

    /// The machine code of one variant.
    pub fn code(&self, variant: usize) -> Option<&'a [u8]> {
        self.header.of_kind(SectionKind::Code).nth(variant).map(|s| s.slice(self.file))
    }

    /// The PTX of one GPU program.
    ///
    /// # Errors
    /// A damaged section, one that is missing, or text that is none.
    pub fn ptx(&self, program: usize) -> Result<&'a str, FormatError> {
        let section = self.header.of_kind(SectionKind::Ptx).nth(program);
        let section = section.ok_or(FormatError::Missing { section: SectionKind::Ptx })?;
        let bytes = section.slice(self.file);
        section.check(bytes)?;
        std::str::from_utf8(bytes).map_err(|e| FormatError::Header {
            what: section.name(),
            offset: section.offset + e.valid_up_to() as u64,
            expected: "text".into(),
            found: "other bytes".into(),
        })
    }

    /// The weight section; empty if there is none.
    pub fn weights(&self) -> &'a [u8] {
        self.header.of_kind(SectionKind::Weights).next().map_or(&[], |s| s.slice(self.file))
    }

    /// The bytes of one weight.
    pub fn weight(&self, index: usize) -> Option<&'a [u8]> {
        let w = self.manifest.weights.get(index)?;
        let from = usize::try_from(w.offset).ok()?;
        self.weights().get(from..from.checked_add(usize::try_from(w.bytes).ok()?)?)
    }

    /// The signature, unchecked; it signs [`Header::root`].
    pub fn signature(&self) -> Option<&'a [u8]> {
        self.header.of_kind(SectionKind::Signature).next().map(|s| s.slice(self.file))
    }

    /// The attached files, checked: `(name, bytes)`.
    ///
    /// # Errors
    /// A damaged attachment.
    pub fn attachments(&self) -> Result<Vec<(&'a str, &'a [u8])>, FormatError> {
        let all = self.header.of_kind(SectionKind::Attachment);
        all.map(|s| s.parse_attachment(s.slice(self.file))).collect()
    }

    /// Reads all weights and compares them with their hashes.
    ///
    /// # Errors
    /// The first damaged chunk, with its offset.
    pub fn check_weights(&self) -> Result<(), FormatError> {
        let Ok(section) = self.header.section(SectionKind::Weights) else { return Ok(()) };
        let hashes = self.header.section(SectionKind::WeightHashes)?;
        hashes.check(hashes.slice(self.file))?;
        for (i, chunk) in section.slice(self.file).chunks(CHUNK_BYTES as usize).enumerate() {
            section.check_chunk(i, chunk, hashes.slice(self.file))?;
        }
        Ok(())
    }
}

/// Checks the hash of the manifest's bytes, parses and verifies it against the header.
///
/// # Errors
/// A wrong hash, wrong JSON, or every inconsistency.
pub fn parse_manifest(header: &Header, bytes: &[u8]) -> Result<Manifest, FormatError> {
    header.section(SectionKind::Manifest)?.check(bytes)?;
    check_weight_sections(header)?;
    let manifest: Manifest = serde_json::from_slice(bytes)?;
    let sizes = SectionSizes {
        code: header.of_kind(SectionKind::Code).map(|s| s.length).collect(),
        ptx: header.of_kind(SectionKind::Ptx).map(|s| s.length).collect(),
        weights: header.of_kind(SectionKind::Weights).next().map_or(0, |s| s.length),
    };
    manifest.verify(&sizes).map_err(FormatError::Manifest)?;
    Ok(manifest)
}

/// Weights and their hashes come together and match in size and root.
fn check_weight_sections(header: &Header) -> Result<(), FormatError> {
    let Ok(weights) = header.section(SectionKind::Weights) else { return Ok(()) };
    let hashes = header.section(SectionKind::WeightHashes)?;
    let expected = chunks(weights.length).saturating_mul(32);
    if hashes.length != expected || hashes.hash != weights.hash {
        return Err(FormatError::Header {
            what: "the length or hash of the weight hashes".into(),
            offset: hashes.offset,
            expected: format!("{expected} bytes and the weights' root hash"),
            found: format!("{} bytes", hashes.length),
        });
    }
    Ok(())
}
