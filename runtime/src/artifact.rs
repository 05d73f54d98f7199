//! A loaded artifact: its manifest, its code for this CPU, its mapped weights.

use crate::cpu::{host, obstacle};
use crate::error::LoadError;
use crate::source::Source;
use crate::sys::map::{CodeMemory, zeros};
use cascata_artifact::abi::KernelFn;
use cascata_artifact::manifest::CodeVariant;
use cascata_artifact::sign::{PublicKey, SIGNATURE_BYTES, verify_any};
use cascata_artifact::{
    CHUNK_BYTES, FormatError, Header, Manifest, Section, SectionKind, parse_manifest,
};
use memmap2::Mmap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
#[cfg(feature = "cuda")]
use {
    crate::sys::gpu::GpuCode,
    std::sync::{Mutex, PoisonError, Weak},
};

/// A loaded artifact, shared by any number of sessions; clones are the same artifact.
///
/// An artifact holds machine code: load only files that you trust as you would a
/// shared library.
#[derive(Clone)]
pub struct Artifact(Arc<Loaded>);

struct Loaded {
    path: PathBuf,
    header: Header,
    manifest: Manifest,
    source: Source,
    variant: usize,
    /// Keeps the memory of `kernels`.
    _code: CodeMemory,
    kernels: Vec<KernelFn>,
    zeros: Mmap,
    /// Code and weights on the GPUs that use them now.
    #[cfg(feature = "cuda")]
    on_gpus: Mutex<Vec<(u32, Weak<GpuCode>)>>,
}

/// Options of loading.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    level: Option<String>,
    check_weights: Option<bool>,
    trusted: Vec<PublicKey>,
}

impl LoadOptions {
    /// Runs the code of this level (e.g. `x86-64-v3`) instead of the best that the CPU has.
    #[must_use]
    pub fn level(mut self, level: &str) -> Self {
        self.level = Some(level.into());
        self
    }

    /// Reads all weights and compares them with their hashes; the default is not to, unless
    /// a key is trusted.
    #[must_use]
    pub fn check_weights(mut self, yes: bool) -> Self {
        self.check_weights = Some(yes);
        self
    }

    /// Refuses artifacts that were not signed with this key (or another trusted one), before
    /// anything else in them is read. Weights are then checked as well, once, while loading;
    /// who can write to the file later can still change what is mapped.
    #[must_use]
    pub fn trust(mut self, key: PublicKey) -> Self {
        self.trusted.push(key);
        self
    }

    /// Loads a file.
    ///
    /// # Errors
    /// As [`Artifact::load`].
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Artifact, LoadError> {
        let path = path.as_ref();
        let source = Source::open(path).map_err(|e| at(path, Problem::Io(e)))?;
        self.finish(source, path)
    }

    /// Loads an artifact that is in memory; the bytes are copied once.
    ///
    /// # Errors
    /// As [`Artifact::load`].
    pub fn from_bytes(&self, bytes: &[u8]) -> Result<Artifact, LoadError> {
        let path = Path::new("(memory)");
        let source = Source::memory(bytes).map_err(|e| at(path, Problem::Io(e)))?;
        self.finish(source, path)
    }

    fn finish(&self, mut source: Source, path: &Path) -> Result<Artifact, LoadError> {
        let header = read_header(&source).map_err(|p| at(path, p))?;
        if !self.trusted.is_empty() {
            check_signature(&source, &header, &self.trusted).map_err(|p| at(path, p))?;
        }
        let manifest = read_manifest(&source, &header).map_err(|p| at(path, p))?;
        let variant = choose(&manifest.code, self.level.as_deref(), path)?;
        let code = load_code(&source, &header, variant).map_err(|p| at(path, p))?;
        let missing =
            || at(path, Problem::Format(FormatError::Missing { section: SectionKind::Code }));
        let functions = manifest.code[variant].functions.iter();
        let kernels = functions
            .map(|(offset, _)| code.kernel(*offset).ok_or_else(missing))
            .collect::<Result<_, _>>()?;
        let zeros = zeros(manifest.zeros_bytes).map_err(|e| at(path, Problem::Io(e)))?;
        source.map_weights(&header).map_err(|e| at(path, Problem::Io(e)))?;
        let path = path.to_path_buf();
        let artifact = Artifact(Arc::new(Loaded {
            path,
            header,
            manifest,
            source,
            variant,
            _code: code,
            kernels,
            zeros,
            #[cfg(feature = "cuda")]
            on_gpus: Mutex::new(Vec::new()),
        }));
        if self.check_weights.unwrap_or(!self.trusted.is_empty()) {
            artifact.check_weights()?;
        }
        Ok(artifact)
    }
}

impl Artifact {
    /// Loads a file: checks header, manifest and code before any of it is used, maps
    /// the weights (whose pages are read when kernels touch them) and picks the best
    /// code that the CPU runs.
    ///
    /// # Errors
    /// An unreadable, damaged or inconsistent file, another format version, or a CPU
    /// that lacks what all of its code needs.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        Self::options().load(path)
    }

    /// Loads an artifact that is in memory; the bytes are copied once.
    ///
    /// # Errors
    /// As [`Artifact::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LoadError> {
        Self::options().from_bytes(bytes)
    }

    /// Options for loading.
    pub fn options() -> LoadOptions {
        LoadOptions::default()
    }

    /// The manifest (without the bulky parts of its provenance, see `ArtifactReader`).
    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// Names of the entry points.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.0.manifest.entries.iter().map(|e| e.name.as_str())
    }

    /// The code that was picked.
    pub fn code_variant(&self) -> &CodeVariant {
        &self.0.manifest.code[self.0.variant]
    }

    /// The hash over the whole artifact and its signature, for whoever checks it.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn signature(&self) -> Result<([u8; 32], Option<Vec<u8>>), LoadError> {
        let section = self.0.header.of_kind(SectionKind::Signature).next();
        let bytes = section.map(|s| self.0.source.read(s)).transpose();
        Ok((self.0.header.root, bytes.map_err(|e| at(&self.0.path, Problem::Io(e)))?))
    }

    /// An attached file (tokenizer, labels), checked; `None` if there is none of that name.
    ///
    /// # Errors
    /// The file cannot be read any more, or the attachment is damaged.
    pub fn attachment(&self, name: &str) -> Result<Option<Vec<u8>>, LoadError> {
        for section in self.0.header.of_kind(SectionKind::Attachment) {
            let mut bytes =
                self.0.source.read(section).map_err(|e| at(&self.0.path, Problem::Io(e)))?;
            let (found, data) = section
                .parse_attachment(&bytes)
                .map_err(|e| at(&self.0.path, Problem::Format(e)))?;
            if found == name {
                let start = bytes.len() - data.len();
                bytes.drain(..start);
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// Reads all weights and compares them with their hashes.
    ///
    /// # Errors
    /// The first damaged chunk.
    pub fn check_weights(&self) -> Result<(), LoadError> {
        let loaded = &*self.0;
        let Ok(section) = loaded.header.section(SectionKind::Weights) else { return Ok(()) };
        let check = || -> Result<(), Problem> {
            let hashes = loaded.header.section(SectionKind::WeightHashes)?;
            let bytes = loaded.source.read(hashes)?;
            hashes.check(&bytes)?;
            for (i, chunk) in loaded.source.weights().chunks(CHUNK_BYTES as usize).enumerate() {
                section.check_chunk(i, chunk, &bytes)?;
            }
            Ok(())
        };
        check().map_err(|p| at(&loaded.path, p))
    }

    /// The PTX of a GPU program, checked.
    ///
    /// # Errors
    /// The file cannot be read any more, or the section is damaged.
    #[cfg(feature = "cuda")]
    pub(crate) fn ptx(&self, program: usize) -> Result<String, LoadError> {
        let read = || -> Result<String, Problem> {
            let sections = self.0.header.of_kind(SectionKind::Ptx);
            let missing = || Problem::Format(FormatError::Missing { section: SectionKind::Ptx });
            let section = sections.into_iter().nth(program).ok_or_else(missing)?;
            let bytes = self.0.source.read(section)?;
            section.check(&bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().map_err(|p| at(&self.0.path, p))
    }

    /// Code and weights on a GPU, which all sessions there share.
    #[cfg(feature = "cuda")]
    pub(crate) fn on_gpu(&self, index: u32) -> Result<Arc<GpuCode>, LoadError> {
        let mut all = self.0.on_gpus.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, code)| code.strong_count() > 0);
        let held = all.iter().find(|(i, _)| *i == index).and_then(|(_, code)| code.upgrade());
        if let Some(code) = held {
            return Ok(code);
        }
        let code = Arc::new(GpuCode::load(self, index)?);
        all.push((index, Arc::downgrade(&code)));
        Ok(code)
    }

    /// The whole weight section.
    #[cfg(feature = "cuda")]
    pub(crate) fn weights(&self) -> &[u8] {
        self.0.source.weights()
    }

    pub(crate) fn kernel(&self, index: u32) -> KernelFn {
        self.0.kernels[index as usize]
    }

    pub(crate) fn zeros(&self) -> &[u8] {
        &self.0.zeros
    }

    /// The bytes of a weight; the manifest's verifier has checked the range.
    pub(crate) fn weight(&self, index: u32) -> &[u8] {
        let w = &self.0.manifest.weights[index as usize];
        let from = w.offset as usize;
        self.0.source.weights().get(from..from + w.bytes as usize).unwrap_or(&[])
    }
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Artifact({}, {})", self.0.path.display(), self.code_variant().level)
    }
}

/// What goes wrong while reading; [`at`] adds the path.
enum Problem {
    Io(std::io::Error),
    Format(FormatError),
}

impl From<std::io::Error> for Problem {
    fn from(e: std::io::Error) -> Self {
        Problem::Io(e)
    }
}

impl From<FormatError> for Problem {
    fn from(e: FormatError) -> Self {
        Problem::Format(e)
    }
}

fn at(path: &Path, problem: Problem) -> LoadError {
    let path = path.to_path_buf();
    match problem {
        Problem::Io(source) => LoadError::Io { path, source },
        Problem::Format(source) => LoadError::Format { path, source },
    }
}

/// Copies the header, then checks the copy: what is checked is what is used, even if the
/// file changes meanwhile. So do the functions below.
fn read_header(source: &Source) -> Result<Header, Problem> {
    let prefix = source.read_at(0, source.len().min(Header::PREFIX_BYTES as u64))?;
    let length = (Header::length(&prefix)? as u64).min(source.len());
    Ok(Header::parse(&source.read_at(0, length)?, source.len())?)
}

/// The header's hash, which stands for all that is used later, is signed with one of the keys.
fn check_signature(source: &Source, header: &Header, keys: &[PublicKey]) -> Result<(), Problem> {
    let section = header.of_kind(SectionKind::Signature).next();
    // A signature of another length is wrong; nothing is allocated for it.
    let read = |s: &Section| source.read_at(s.offset, s.length.min(SIGNATURE_BYTES + 1));
    let signature = section.map(read).transpose()?;
    Ok(verify_any(keys, &header.root, signature.as_deref())?)
}

fn read_manifest(source: &Source, header: &Header) -> Result<Manifest, Problem> {
    let bytes = source.read(header.section(SectionKind::Manifest)?)?;
    Ok(parse_manifest(header, &bytes)?)
}

fn load_code(source: &Source, header: &Header, variant: usize) -> Result<CodeMemory, Problem> {
    let missing = FormatError::Missing { section: SectionKind::Code };
    let section: &Section = header.of_kind(SectionKind::Code).nth(variant).ok_or(missing)?;
    let length = usize::try_from(section.length)
        .map_err(|_| std::io::Error::from(std::io::ErrorKind::OutOfMemory))?;
    CodeMemory::new(length, |memory| {
        source.read_into(section.offset, memory)?;
        Ok(section.check(memory)?)
    })
}

/// The best variant (they are sorted, best last) that runs here, or the forced one.
fn choose(code: &[CodeVariant], level: Option<&str>, path: &Path) -> Result<usize, LoadError> {
    let wanted = |v: &CodeVariant| level.is_none_or(|l| l == v.level);
    if let Some(level) = level
        && !code.iter().any(wanted)
    {
        let levels = code.iter().map(|v| v.level.clone()).collect();
        return Err(LoadError::NoSuchLevel { path: path.into(), level: level.into(), levels });
    }
    let fits = |v: &CodeVariant| wanted(v) && obstacle(v).is_none();
    code.iter().rposition(fits).ok_or_else(|| LoadError::Unsupported {
        path: path.into(),
        host: host(),
        variants: code.iter().filter(|v| wanted(v)).filter_map(obstacle).collect(),
    })
}
