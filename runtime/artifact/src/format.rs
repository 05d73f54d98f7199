//! How the bytes lie: a header with a section table, then page-aligned sections.
//!
//! All numbers are little-endian. The header fills whole pages:
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | magic `\x89CASCATA` |
//! | 8..12, 12..16 | major and minor version |
//! | 16..20 | header bytes, a multiple of [`PAGE`] |
//! | 20..24 | number of sections |
//! | 24..32 | bytes of the whole file |
//! | 32..64 | blake3 of the header with this field zero |
//! | 64.. | one 64-byte row a section: kind u32, flags u32, offset u64, length u64, index u64, blake3 |
//!
//! Every section starts on a page, in the order of the table, without overlap; the
//! gaps are zero. A section's hash is over its bytes, with two exceptions: that of
//! [`SectionKind::Weights`] is the hash of the section of chunk hashes (so that the
//! header's own hash covers every byte without anyone reading the weights), and that
//! of [`SectionKind::Signature`] is zero (it signs the header's hash).
//!
//! A reader of one major version reads all of its minor versions: unknown sections
//! marked [`OPTIONAL`] are skipped, others are refused.

use crate::error::FormatError;
use crate::weights::CHUNK_BYTES;

/// The first bytes of every artifact.
pub const MAGIC: [u8; 8] = *b"\x89CASCATA";
/// Files of another major version are refused.
pub const MAJOR: u32 = 1;
/// Raised when something is added that older readers may skip.
pub const MINOR: u32 = 0;
/// Sections start at multiples of this.
pub const PAGE: u64 = 4096;
/// More sections than this are refused.
pub const MAX_SECTIONS: usize = 1024;
/// Section flag: a reader that does not know the kind may skip the section.
pub const OPTIONAL: u32 = 1;

const ROW: usize = 64;
const TABLE: usize = 64;
const HASH_FIELD: std::ops::Range<usize> = 32..64;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SectionKind {
    /// The manifest as JSON; exactly one.
    Manifest,
    /// Machine code of the target `index`.
    Code,
    /// The constants.
    Weights,
    /// blake3 of every chunk of the weights.
    WeightHashes,
    /// A signature of the header's hash.
    Signature,
    /// A named file of the user's (tokenizer, labels): u32 name length, name, bytes.
    Attachment,
    /// The bulky part of the manifest's provenance, which running does not need.
    Provenance,
    /// The PTX of the GPU program `index`.
    Ptx,
}

impl SectionKind {
    const ALL: [(u32, SectionKind, &'static str); 8] = [
        (1, SectionKind::Manifest, "manifest"),
        (2, SectionKind::Code, "code"),
        (3, SectionKind::Weights, "weights"),
        (4, SectionKind::WeightHashes, "weight hashes"),
        (5, SectionKind::Signature, "signature"),
        (6, SectionKind::Attachment, "attachment"),
        (7, SectionKind::Provenance, "provenance"),
        (8, SectionKind::Ptx, "ptx"),
    ];

    fn row(self) -> &'static (u32, SectionKind, &'static str) {
        Self::ALL.iter().find(|(_, k, _)| *k == self).unwrap_or(&Self::ALL[0])
    }

    fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().find(|(n, _, _)| *n == number).map(|(_, k, _)| *k)
    }

    /// Whether a reader may do without it.
    fn flags(self) -> u32 {
        use SectionKind::*;
        if matches!(self, Signature | Attachment | Provenance | Ptx) { OPTIONAL } else { 0 }
    }

    /// Whether the table's hash is of the section's own bytes.
    fn hashed(self) -> bool {
        !matches!(self, SectionKind::Weights | SectionKind::Signature)
    }
}

impl std::fmt::Display for SectionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row().2)
    }
}

/// One row of the section table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// Which of its kind: the code variant, the number of the attachment.
    pub index: u64,
    /// Where it starts in the file.
    pub offset: u64,
    /// Its bytes, without padding.
    pub length: u64,
    /// See the module text.
    pub hash: [u8; 32],
}

impl Section {
    /// First byte after the section.
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }

    /// `code[1]`, for messages.
    pub fn name(&self) -> String {
        match self.kind {
            SectionKind::Code | SectionKind::Attachment | SectionKind::Ptx => {
                format!("{} section {}", self.kind, self.index)
            }
            kind => format!("{kind} section"),
        }
    }

    /// Checks that `bytes` are those that were written.
    ///
    /// # Errors
    /// A wrong length or hash. Weights and signatures have no hash of their own here.
    pub fn check(&self, bytes: &[u8]) -> Result<(), FormatError> {
        if bytes.len() as u64 != self.length {
            return Err(FormatError::Truncated {
                what: self.name(),
                offset: self.offset,
                expected: self.length,
                found: bytes.len() as u64,
            });
        }
        if !self.kind.hashed() {
            return Ok(());
        }
        check_hash(&self.name(), self.offset, &self.hash, bytes)
    }

    /// Checks one chunk of this weight section against `hashes`, the (checked) bytes of
    /// the section of chunk hashes.
    ///
    /// # Errors
    /// A wrong hash.
    pub fn check_chunk(
        &self,
        index: usize,
        chunk: &[u8],
        hashes: &[u8],
    ) -> Result<(), FormatError> {
        let hash = hashes.as_chunks::<32>().0.get(index).unwrap_or(&[0; 32]);
        check_hash("weights section", self.offset + index as u64 * CHUNK_BYTES, hash, chunk)
    }

    /// Checks an attachment and splits it into its name and its bytes.
    ///
    /// # Errors
    /// A wrong hash or a name that is none.
    pub fn parse_attachment<'a>(
        &self,
        bytes: &'a [u8],
    ) -> Result<(&'a str, &'a [u8]), FormatError> {
        self.check(bytes)?;
        let split = || {
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let (name, data) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            Some((std::str::from_utf8(name).ok()?, data))
        };
        split().ok_or_else(|| FormatError::Header {
            what: format!("the name of {}", self.name()),
            offset: self.offset,
            expected: "a length and as many bytes of UTF-8".into(),
            found: "something else".into(),
        })
    }

    /// The section's bytes in `file`; empty if they are not all there.
    pub fn slice<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        let range = usize::try_from(self.offset).ok().zip(usize::try_from(self.end()).ok());
        range.and_then(|(from, to)| file.get(from..to)).unwrap_or(&[])
    }

    fn encode(&self, row: &mut [u8]) {
        row[0..4].copy_from_slice(&self.kind.row().0.to_le_bytes());
        row[4..8].copy_from_slice(&self.kind.flags().to_le_bytes());
        row[8..16].copy_from_slice(&self.offset.to_le_bytes());
        row[16..24].copy_from_slice(&self.length.to_le_bytes());
        row[24..32].copy_from_slice(&self.index.to_le_bytes());
        row[32..64].copy_from_slice(&self.hash);
    }
}

fn check_hash(
    section: &str,
    offset: u64,
    expected: &[u8; 32],
    bytes: &[u8],
) -> Result<(), FormatError> {
    let found = blake3::hash(bytes);
    if found.as_bytes() == expected {
        return Ok(());
    }
    let expected = blake3::Hash::from_bytes(*expected).to_hex()[..16].to_string();
    let found = found.to_hex()[..16].to_string();
    Err(FormatError::Hash { section: section.into(), offset, expected, found })
}

/// The checked header of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Minor version of the file's format.
    pub minor: u32,
    /// Bytes of the whole file.
    pub file_bytes: u64,
    /// The known sections, by offset.
    pub sections: Vec<Section>,
    /// The header's hash: the root over every byte of the artifact.
    pub root: [u8; 32],
}

impl Header {
    /// Bytes at the start of a file that tell how long the header is.
    pub const PREFIX_BYTES: usize = TABLE;

    /// How long the header is that starts with `prefix`.
    ///
    /// # Errors
    /// Not an artifact, another major version, or a nonsensical length.
    pub fn length(prefix: &[u8]) -> Result<usize, FormatError> {
        let magic = &prefix[..prefix.len().min(MAGIC.len())];
        if magic != &MAGIC[..magic.len()] || magic.is_empty() {
            return Err(FormatError::NotAnArtifact { found: magic.to_vec() });
        }
        if prefix.len() < Self::PREFIX_BYTES {
            return Err(truncated("header", 0, Self::PREFIX_BYTES as u64, prefix.len() as u64));
        }
        let (major, minor) = (u32_at(prefix, 8), u32_at(prefix, 12));
        if major != MAJOR {
            return Err(FormatError::Version { major, minor });
        }
        let sections = u32_at(prefix, 20) as usize;
        if sections > MAX_SECTIONS {
            return Err(bad(
                "the number of sections",
                20,
                format!("at most {MAX_SECTIONS}"),
                sections,
            ));
        }
        let (expected, found) = (header_bytes(sections), u32_at(prefix, 16) as usize);
        if expected != found {
            return Err(bad("the header's length", 16, expected, found));
        }
        Ok(expected)
    }

    /// Checks and reads the header at the start of `bytes` of a file of `file_bytes`.
    /// Only the header is looked at, and nothing is allocated by an unchecked number.
    ///
    /// # Errors
    /// Whatever is wrong first, with its offset.
    pub fn parse(bytes: &[u8], file_bytes: u64) -> Result<Header, FormatError> {
        let length = Self::length(bytes)?;
        let header = bytes
            .get(..length)
            .ok_or_else(|| truncated("header", 0, length as u64, bytes.len() as u64))?;
        let root = header_hash(header);
        check_hash(
            "header",
            0,
            header[HASH_FIELD].try_into().unwrap_or(&[0; 32]),
            &zeroed(header),
        )?;
        let expected = u64_at(header, 24);
        match expected.cmp(&file_bytes) {
            std::cmp::Ordering::Greater => {
                return Err(truncated("the file", 0, expected, file_bytes));
            }
            std::cmp::Ordering::Less => {
                return Err(FormatError::TrailingBytes { expected, found: file_bytes });
            }
            std::cmp::Ordering::Equal => {}
        }
        let sections = parse_table(header, file_bytes)?;
        Ok(Header { minor: u32_at(header, 12), file_bytes, sections, root })
    }

    /// The sections of one kind, in order.
    pub fn of_kind(&self, kind: SectionKind) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(move |s| s.kind == kind)
    }

    /// The only section of a kind.
    ///
    /// # Errors
    /// There is none.
    pub fn section(&self, kind: SectionKind) -> Result<&Section, FormatError> {
        self.of_kind(kind).next().ok_or(FormatError::Missing { section: kind })
    }

    /// The header's bytes for these sections.
    pub(crate) fn encode(sections: &[Section], file_bytes: u64) -> Vec<u8> {
        let mut out = vec![0; header_bytes(sections.len())];
        let length = out.len() as u32;
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&MAJOR.to_le_bytes());
        out[12..16].copy_from_slice(&MINOR.to_le_bytes());
        out[16..20].copy_from_slice(&length.to_le_bytes());
        out[20..24].copy_from_slice(&(sections.len() as u32).to_le_bytes());
        out[24..32].copy_from_slice(&file_bytes.to_le_bytes());
        for (section, row) in sections.iter().zip(out[TABLE..].chunks_exact_mut(ROW)) {
            section.encode(row);
        }
        let hash = header_hash(&out);
        out[HASH_FIELD].copy_from_slice(&hash);
        out
    }
}

fn parse_table(header: &[u8], file_bytes: u64) -> Result<Vec<Section>, FormatError> {
    let count = u32_at(header, 20) as usize;
    let mut sections: Vec<Section> = Vec::with_capacity(count);
    let mut end = header.len() as u64;
    for i in 0..count {
        let at = TABLE + i * ROW;
        let (offset, length) = (u64_at(header, at + 8), u64_at(header, at + 16));
        let name = |field: &str| format!("{field} of section {i}");
        if !offset.is_multiple_of(PAGE) {
            return Err(bad(&name("the offset"), at + 8, format!("a multiple of {PAGE}"), offset));
        }
        if offset < end {
            return Err(bad(
                &name("the offset"),
                at + 8,
                format!("at least {end} (no overlap)"),
                offset,
            ));
        }
        if length > file_bytes.saturating_sub(offset) {
            return Err(truncated(
                &format!("section {i}"),
                offset,
                length,
                file_bytes.saturating_sub(offset),
            ));
        }
        end = offset + length;
        let number = u32_at(header, at);
        let Some(kind) = SectionKind::from_number(number) else {
            if u32_at(header, at + 4) & OPTIONAL != 0 {
                continue;
            }
            let (major, minor) = (u32_at(header, 8), u32_at(header, 12));
            return Err(FormatError::UnknownSection {
                index: i,
                kind: number,
                offset,
                major,
                minor,
            });
        };
        let index = u64_at(header, at + 24);
        let before = sections.iter().filter(|s| s.kind == kind).count() as u64;
        let many = matches!(kind, SectionKind::Code | SectionKind::Attachment | SectionKind::Ptx);
        if index != before || (before > 0 && !many) {
            return Err(bad(&name(&format!("the index ({kind})")), at + 24, before, index));
        }
        let hash = header[at + 32..at + ROW].try_into().unwrap_or([0; 32]);
        sections.push(Section { kind, index, offset, length, hash });
    }
    Ok(sections)
}

/// Bytes of a header with that many sections.
pub(crate) fn header_bytes(sections: usize) -> usize {
    (TABLE + sections * ROW).next_multiple_of(PAGE as usize)
}

fn zeroed(header: &[u8]) -> Vec<u8> {
    let mut copy = header.to_vec();
    copy[HASH_FIELD].fill(0);
    copy
}

fn header_hash(header: &[u8]) -> [u8; 32] {
    *blake3::hash(&zeroed(header)).as_bytes()
}

fn truncated(what: &str, offset: u64, expected: u64, found: u64) -> FormatError {
    FormatError::Truncated { what: what.into(), offset, expected, found }
}

fn bad(what: &str, offset: usize, expected: impl ToString, found: impl ToString) -> FormatError {
    FormatError::Header {
        what: what.into(),
        offset: offset as u64,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}
