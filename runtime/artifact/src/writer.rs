//! Writes an artifact: a stream in, one file out, the same bytes every time.

use crate::error::WriteError;
use crate::format::{Header, MAX_SECTIONS, PAGE, Section, SectionKind, header_bytes};
use crate::manifest::{Manifest, Provenance};
use crate::verify::SectionSizes;
use crate::weights::{ChunkHasher, chunks, section_bytes};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Cursor, Seek, SeekFrom, Write};
use std::path::Path;

/// Receives the bytes of one weight, in any number of pieces.
pub type WeightSink<'a> = &'a mut dyn FnMut(&[u8]) -> io::Result<()>;

/// Signs the header's hash; returns as many bytes as were announced.
type Signer<'a> = Box<dyn FnOnce(&[u8; 32]) -> Vec<u8> + 'a>;

/// Collects what an artifact holds and writes it.
///
/// Weights are asked for one by one while the file is written, so that a model need
/// not be in memory twice. A file appears under its name only when it is complete.
pub struct ArtifactWriter<'a> {
    manifest: Manifest,
    code: Vec<&'a [u8]>,
    ptx: Vec<&'a str>,
    attachments: BTreeMap<String, &'a [u8]>,
    signer: Option<(u64, Signer<'a>)>,
}

impl<'a> ArtifactWriter<'a> {
    /// An artifact with that manifest; see [`crate::assign_offsets`] for the weights' places.
    pub fn new(manifest: Manifest) -> Self {
        Self {
            manifest,
            code: Vec::new(),
            ptx: Vec::new(),
            attachments: BTreeMap::new(),
            signer: None,
        }
    }

    /// Adds the machine code of the manifest's next code variant.
    #[must_use]
    pub fn code(mut self, bytes: &'a [u8]) -> Self {
        self.code.push(bytes);
        self
    }

    /// Adds the PTX of the manifest's next GPU program.
    #[must_use]
    pub fn ptx(mut self, text: &'a str) -> Self {
        self.ptx.push(text);
        self
    }

    /// Adds a named file (tokenizer, labels); a second one of that name replaces it.
    #[must_use]
    pub fn attachment(mut self, name: &str, bytes: &'a [u8]) -> Self {
        self.attachments.insert(name.to_string(), bytes);
        self
    }

    /// Adds a signature of `bytes` bytes, made by `sign` from the header's hash.
    #[must_use]
    pub fn signature(mut self, bytes: u64, sign: impl FnOnce(&[u8; 32]) -> Vec<u8> + 'a) -> Self {
        self.signer = Some((bytes, Box::new(sign)));
        self
    }

    /// Writes the file at `path`, by way of a temporary name beside it. `weight(i, sink)`
    /// pushes the bytes of weight `i` (as the manifest numbers them) into `sink`; it is
    /// called in the order of their offsets, once for weights that share one place.
    ///
    /// # Errors
    /// A manifest that does not verify, weights of another size, or I/O.
    pub fn write(
        self,
        path: impl AsRef<Path>,
        weight: impl FnMut(usize, WeightSink<'_>) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let path = path.as_ref();
        let io_error = |source| WriteError::Io { path: path.display().to_string(), source };
        let temporary = temporary_name(path);
        let result = File::create_new(&temporary).map_err(io_error).and_then(|file| {
            let mut out = BufWriter::with_capacity(1 << 20, file);
            self.write_to(&mut out, weight)?;
            let file = out.into_inner().map_err(|e| io_error(e.into_error()))?;
            file.sync_all().map_err(io_error)?;
            std::fs::rename(&temporary, path).map_err(io_error)
        });
        if result.is_err() {
            // The first error is the one to report; a leftover file is the lesser evil.
            let _ = std::fs::remove_file(&temporary);
        }
        result.map_err(|e| with_path(e, path))
    }

    /// The artifact's bytes, in memory.
    ///
    /// # Errors
    /// As [`ArtifactWriter::write`].
    pub fn to_bytes(
        self,
        weight: impl FnMut(usize, WeightSink<'_>) -> io::Result<()>,
    ) -> Result<Vec<u8>, WriteError> {
        let mut out = Cursor::new(Vec::new());
        self.write_to(&mut out, weight)?;
        Ok(out.into_inner())
    }

    /// Writes the artifact from the start of `out`, which must be empty.
    ///
    /// # Errors
    /// As [`ArtifactWriter::write`].
    pub fn write_to<W: Write + Seek>(
        mut self,
        out: &mut W,
        weight: impl FnMut(usize, WeightSink<'_>) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        self.verify()?;
        let signer = self.signer.take();
        let small = self.small_sections()?;
        let weight_bytes = section_bytes(&self.manifest.weights);
        let count =
            small.len() + usize::from(signer.is_some()) + if weight_bytes > 0 { 2 } else { 0 };
        if count > MAX_SECTIONS {
            return Err(WriteError::TooManySections(count));
        }
        let mut layout = Layout { sections: Vec::new(), end: header_bytes(count) as u64 };
        for (kind, index, bytes) in &small {
            let section = layout.add(*kind, *index, bytes.len() as u64);
            section.hash = *blake3::hash(bytes).as_bytes();
            put(out, section.offset, bytes)?;
        }
        if weight_bytes > 0 {
            self.put_weights(out, &mut layout, weight_bytes, weight)?;
        }
        let signature = signer
            .map(|(length, sign)| (layout.add(SectionKind::Signature, 0, length).clone(), sign));
        let header = Header::encode(&layout.sections, layout.end);
        put(out, 0, &header)?;
        if let Some((section, sign)) = signature {
            let root = header[32..64].try_into().unwrap_or(&[0; 32]);
            put_signature(out, &section, &sign(root))?;
        }
        out.flush().map_err(io_error)
    }

    fn verify(&self) -> Result<(), WriteError> {
        let sizes = SectionSizes {
            code: self.code.iter().map(|c| c.len() as u64).collect(),
            ptx: self.ptx.iter().map(|t| t.len() as u64).collect(),
            weights: section_bytes(&self.manifest.weights),
        };
        self.manifest.verify(&sizes).map_err(WriteError::Manifest)
    }

    /// Everything but weights: `(kind, index, bytes)` in file order.
    fn small_sections(&mut self) -> Result<Vec<(SectionKind, u64, Vec<u8>)>, WriteError> {
        let bulk = self.manifest.provenance.take_bulk();
        let mut out = vec![(SectionKind::Manifest, 0, json(&self.manifest)?)];
        for (i, code) in self.code.iter().enumerate() {
            out.push((SectionKind::Code, i as u64, code.to_vec()));
        }
        for (i, text) in self.ptx.iter().enumerate() {
            out.push((SectionKind::Ptx, i as u64, text.as_bytes().to_vec()));
        }
        if bulk != Provenance::default() {
            out.push((SectionKind::Provenance, 0, json(&bulk)?));
        }
        for (i, (name, bytes)) in self.attachments.iter().enumerate() {
            let mut section = (name.len() as u32).to_le_bytes().to_vec();
            section.extend_from_slice(name.as_bytes());
            section.extend_from_slice(bytes);
            out.push((SectionKind::Attachment, i as u64, section));
        }
        Ok(out)
    }

    fn put_weights<W: Write + Seek>(
        &self,
        out: &mut W,
        layout: &mut Layout,
        weight_bytes: u64,
        mut weight: impl FnMut(usize, WeightSink<'_>) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let hashes_at = layout.add(SectionKind::WeightHashes, 0, chunks(weight_bytes) * 32).offset;
        let offset = layout.add(SectionKind::Weights, 0, weight_bytes).offset;
        out.seek(SeekFrom::Start(offset)).map_err(io_error)?;
        let mut sink = ChunkHasher::new(&mut *out);
        let weights = &self.manifest.weights;
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by_key(|&i| (weights[i].offset, weights[i].bytes));
        let mut last = None;
        for i in order {
            let (w, place) = (&weights[i], Some((weights[i].offset, weights[i].bytes)));
            if w.bytes == 0 || place == last {
                continue;
            }
            if w.offset < sink.total {
                return Err(WriteError::WeightOverlap {
                    index: i,
                    name: w.name.clone(),
                    offset: w.offset,
                });
            }
            sink.pad_to(w.offset).map_err(io_error)?;
            weight(i, &mut |bytes| sink.push(bytes)).map_err(io_error)?;
            let found = sink.total - w.offset;
            if found != w.bytes {
                return Err(WriteError::WeightBytes {
                    index: i,
                    name: w.name.clone(),
                    expected: w.bytes,
                    found,
                });
            }
            last = place;
        }
        // Weights without bytes may end the section.
        sink.pad_to(weight_bytes).map_err(io_error)?;
        let hashes = sink.finish();
        let root = *blake3::hash(&hashes).as_bytes();
        for section in &mut layout.sections {
            if matches!(section.kind, SectionKind::Weights | SectionKind::WeightHashes) {
                section.hash = root;
            }
        }
        put(out, hashes_at, &hashes)
    }
}

/// Assigns sections to places.
struct Layout {
    sections: Vec<Section>,
    end: u64,
}

impl Layout {
    fn add(&mut self, kind: SectionKind, index: u64, length: u64) -> &mut Section {
        let offset = self.end.next_multiple_of(PAGE);
        self.end = offset + length;
        self.sections.push(Section { kind, index, offset, length, hash: [0; 32] });
        let last = self.sections.len() - 1;
        &mut self.sections[last]
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, WriteError> {
    serde_json::to_vec(value).map_err(|e| io_error(e.into()))
}

fn put<W: Write + Seek>(out: &mut W, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
    out.seek(SeekFrom::Start(offset)).and_then(|_| out.write_all(bytes)).map_err(io_error)
}

fn put_signature<W: Write + Seek>(
    out: &mut W,
    at: &Section,
    bytes: &[u8],
) -> Result<(), WriteError> {
    if bytes.len() as u64 != at.length {
        return Err(WriteError::SignatureBytes { expected: at.length, found: bytes.len() as u64 });
    }
    put(out, at.offset, bytes)
}

fn io_error(source: io::Error) -> WriteError {
    WriteError::Io { path: String::new(), source }
}

fn with_path(error: WriteError, path: &Path) -> WriteError {
    match error {
        WriteError::Io { source, .. } => {
            WriteError::Io { path: path.display().to_string(), source }
        }
        other => other,
    }
}

/// A name in the same folder that no other writer of this machine uses.
fn temporary_name(path: &Path) -> std::path::PathBuf {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}-{n}.partial", std::process::id()));
    path.with_file_name(name)
}
