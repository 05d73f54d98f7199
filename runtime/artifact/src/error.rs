//! What can be wrong with an artifact, and what to do about it.

use crate::format::{MAJOR, MINOR, SectionKind};

/// Why bytes are not a usable artifact.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum FormatError {
    /// The first bytes are not the magic number.
    #[error(
        "not a Cascata artifact: it starts with {found:02x?}; pass the file that `cascata compile -o` wrote"
    )]
    NotAnArtifact { found: Vec<u8> },
    /// The format's major version is not ours.
    #[error(
        "artifact format {major}.{minor} is not supported: this runtime reads {MAJOR}.x (it writes {MAJOR}.{MINOR}); \
         recompile the model with a compiler of this version, or use a runtime of version {major}"
    )]
    Version { major: u32, minor: u32 },
    /// The file ends early.
    #[error(
        "truncated: {what} at offset {offset} needs {expected} bytes and there are {found}; \
         the file is incomplete, copy or download it again"
    )]
    Truncated { what: String, offset: u64, expected: u64, found: u64 },
    /// The file goes on after its end.
    #[error(
        "the file has {found} bytes where its header says {expected}; something was appended to it, copy it again"
    )]
    TrailingBytes { expected: u64, found: u64 },
    /// A number in the header makes no sense.
    #[error(
        "damaged header: {what} at offset {offset} is {found}, expected {expected}; copy or compile the artifact again"
    )]
    Header { what: String, offset: u64, expected: String, found: String },
    /// A section's bytes are not those that were written.
    #[error(
        "damaged {section} at offset {offset}: its blake3 hash is {found}, the header says {expected}; \
         copy or compile the artifact again"
    )]
    Hash { section: String, offset: u64, expected: String, found: String },
    /// A section that must be there is not.
    #[error("the artifact has no {section} section; compile it again")]
    Missing { section: SectionKind },
    /// A section of a kind that this reader does not know and may not skip.
    #[error(
        "section {index} at offset {offset} has the unknown kind {kind} and may not be skipped: the artifact \
         (format {major}.{minor}) needs a newer runtime than this one (format {MAJOR}.{MINOR})"
    )]
    UnknownSection { index: usize, kind: u32, offset: u64, major: u32, minor: u32 },
    /// A signature is asked for and there is none.
    #[error(
        "the artifact is not signed; sign it with `cascata compile --sign KEY`, or load it without a trusted key"
    )]
    Unsigned,
    /// The signature is not of a trusted key, or not of these bytes.
    #[error("the artifact's signature was not made with {} for these bytes: it was signed by somebody else, or changed afterwards", keys.join(" or "))]
    Signature { keys: Vec<String> },
    /// The manifest is not the JSON that it should be.
    #[error(
        "the manifest does not parse ({0}); the artifact comes from another compiler version or a broken one, compile it again"
    )]
    ManifestSyntax(#[from] serde_json::Error),
    /// The manifest parses, but contradicts itself or the other sections.
    #[error("the manifest is inconsistent (a compiler bug or a forged file):\n{}", list(.0))]
    Manifest(Vec<ManifestError>),
}

fn list(errors: &[ManifestError]) -> String {
    errors.iter().map(|e| format!("  {e}")).collect::<Vec<_>>().join("\n")
}

/// One contradiction in a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct ManifestError {
    /// Where, as a path of fields: `entries[0].steps[3].variants[1].kernel`.
    pub at: String,
    /// What is wrong there.
    pub problem: String,
}

/// Why an artifact could not be written.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields are what the message says")]
pub enum WriteError {
    /// Writing failed; no file was left behind.
    #[error("cannot write the artifact {path}: {source}")]
    Io { path: String, source: std::io::Error },
    /// The manifest does not pass its own verifier.
    #[error("the manifest is inconsistent (a compiler bug):\n{}", list(.0))]
    Manifest(Vec<ManifestError>),
    /// A weight's bytes are not what the manifest says.
    #[error("weight {index} ('{name}') has {found} bytes, the manifest says {expected}")]
    WeightBytes { index: usize, name: String, expected: u64, found: u64 },
    /// Two weights overlap in part.
    #[error("weight {index} ('{name}') starts at {offset}, inside the weight before it")]
    WeightOverlap { index: usize, name: String, offset: u64 },
    /// The signer gave another number of bytes than it announced.
    #[error("the signature has {found} bytes, {expected} were announced")]
    SignatureBytes { expected: u64, found: u64 },
    /// Too many sections for one header.
    #[error("{0} sections do not fit one artifact; the limit is {max}", max = crate::format::MAX_SECTIONS)]
    TooManySections(usize),
}
