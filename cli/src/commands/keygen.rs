//! `cascata keygen`.

use super::print;
use crate::support::exit::FileError;
use anyhow::Result;
use cascata::artifact::sign::SecretKey;
use clap::Args;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Makes a pair of keys to sign artifacts with
///
/// The secret key goes to FILE, readable by its owner only, the public one to FILE.pub. Neither
/// may exist.
#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Keygen {
    /// Where the secret key goes
    file: PathBuf,
}

const AFTER_HELP: &str = "\
Examples:
  cascata keygen release.key
  cascata compile model.onnx --sign release.key
  cascata run model.casc --input in.npz --trust release.key.pub

Exit codes: 3 a file exists already or cannot be written.";

impl Keygen {
    /// Runs the command.
    pub fn run(self) -> Result<()> {
        let mut seed = [0; 32];
        let system = Path::new("/dev/urandom");
        File::open(system)
            .and_then(|mut f| f.read_exact(&mut seed))
            .map_err(|e| FileError::new("read", system, e))?;
        let key = SecretKey::from_seed(seed);
        let mut public = self.file.clone().into_os_string();
        public.push(".pub");
        create(&self.file, 0o600, &key.to_text())?;
        create(Path::new(&public), 0o644, &key.public().to_string())?;
        Ok(print(format!("{}\n", key.public()))?)
    }
}

fn create(path: &Path, mode: u32, text: &str) -> Result<(), FileError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut f| writeln!(f, "{text}")).map_err(|e| FileError::new("write", path, e))
}
