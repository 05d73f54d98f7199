//! Signatures of artifacts: Ed25519 over the header's hash.
//!
//! The header holds the section table with a hash of every section (of the weights: the root
//! of their tree of hashes), so its own hash stands for every byte that is ever used. What is
//! signed is that hash behind a text that no other protocol signs. Keys are one line of text.

use crate::error::FormatError;
use ed25519_compact::{KeyPair, Seed, Signature};
use std::fmt;
use std::str::FromStr;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: u64 = 64;

const CONTEXT: &[u8] = b"cascata artifact signature v1\0";
const PUBLIC: &str = "cascata-ed25519-public:";
const SECRET: &str = "cascata-ed25519-secret:";

fn message(root: &[u8; 32]) -> Vec<u8> {
    [CONTEXT, root].concat()
}

/// A key whose owner is trusted. Its text is `cascata-ed25519-public:` and 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Checks the signature of a header's hash.
    ///
    /// # Errors
    /// There is none, or it was not made with this key for this hash.
    pub fn verify(&self, root: &[u8; 32], signature: Option<&[u8]>) -> Result<(), FormatError> {
        verify_any(std::slice::from_ref(self), root, signature)
    }

    fn accepts(&self, root: &[u8; 32], signature: &Signature) -> bool {
        ed25519_compact::PublicKey::new(self.0).verify(message(root), signature).is_ok()
    }
}

/// Checks that one of the keys made the signature of a header's hash.
///
/// # Errors
/// There is no signature, or none of the keys made it for this hash.
pub fn verify_any(
    keys: &[PublicKey],
    root: &[u8; 32],
    signature: Option<&[u8]>,
) -> Result<(), FormatError> {
    let signature = signature.ok_or(FormatError::Unsigned)?;
    let wrong = || FormatError::Signature { keys: keys.iter().map(ToString::to_string).collect() };
    let signature = Signature::from_slice(signature).map_err(|_| wrong())?;
    if keys.iter().any(|k| k.accepts(root, &signature)) { Ok(()) } else { Err(wrong()) }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", hex(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        key_bytes(text, PUBLIC).map(Self)
    }
}

/// A key that signs. Its text is `cascata-ed25519-secret:` and 64 hex digits.
pub struct SecretKey {
    seed: [u8; 32],
    pair: KeyPair,
}

impl SecretKey {
    /// The key of 32 bytes that nobody can guess: take them from the system's generator.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed, pair: KeyPair::from_seed(Seed::new(seed)) }
    }

    /// The key that others trust.
    pub fn public(&self) -> PublicKey {
        PublicKey(*self.pair.pk)
    }

    /// Signs a header's hash; equal hashes give equal signatures.
    pub fn sign(&self, root: &[u8; 32]) -> Vec<u8> {
        self.pair.sk.sign(message(root), None).to_vec()
    }

    /// The key's text, for a file that only its owner can read.
    pub fn to_text(&self) -> String {
        format!("{SECRET}{}", hex(&self.seed))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let seed = key_bytes(text, SECRET)?;
        Ok(Self::from_seed(seed))
    }
}

/// Text that is no key. It does not repeat the text: that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a key: it must be one line, '{prefix}' and 64 hex digits, as `cascata keygen` writes it"
)]
pub struct KeyError {
    prefix: &'static str,
}

fn key_bytes(text: &str, prefix: &'static str) -> Result<[u8; 32], KeyError> {
    let error = KeyError { prefix };
    let digits = text.trim().strip_prefix(prefix).ok_or(error.clone())?;
    if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(error);
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| error.clone())?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| error.clone())?;
    }
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
