//! `--trust`: keys whose owners' artifacts are loaded.

use super::exit::Usage;
use cascata::artifact::sign::PublicKey;
use cascata::{Artifact, LoadOptions};
use clap::Args;
use std::path::Path;

/// Whose artifacts are loaded.
#[derive(Args, Clone, Debug, Default)]
pub struct TrustArgs {
    /// Loads an artifact only if it was signed with this key: the key's text, or a file with it
    /// (repeatable: any of them)
    #[arg(long, value_name = "PUBKEY")]
    pub trust: Vec<String>,
}

impl TrustArgs {
    /// The keys.
    pub fn keys(&self) -> Result<Vec<PublicKey>, Usage> {
        self.trust.iter().map(|t| key(t)).collect()
    }

    /// Options that ask for a signature if there are keys.
    pub fn load_options(&self) -> Result<LoadOptions, Usage> {
        Ok(self.keys()?.into_iter().fold(Artifact::options(), LoadOptions::trust))
    }

    /// A subject that is compiled here has no signature.
    pub fn refuse(&self) -> Result<(), Usage> {
        match self.trust.is_empty() {
            true => Ok(()),
            false => Err(Usage("--trust works on an artifact; this is a model file".into())),
        }
    }
}

fn key(text: &str) -> Result<PublicKey, Usage> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let path = Path::new(text);
    let content = std::fs::read_to_string(path)
        .map_err(|e| Usage(format!("'{text}' is neither a public key nor a readable file: {e}")))?;
    content.parse().map_err(|e| Usage(format!("{text}: {e}")))
}
