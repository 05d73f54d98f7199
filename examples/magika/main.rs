//! Which type is this file? Compiles Magika's network and asks it.
//!
//! ```text
//! cargo run --release --example magika -- README.md cli
//! ```
//!
//! Folders are walked; without arguments the samples beside this file are shown.

mod magika;

use anyhow::{Context, Result};
use magika::Magika;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = root.join("examples/magika");
    std::fs::create_dir_all(root.join("target"))?;
    let start = Instant::now();
    let magika = Magika::open(&folder, &root.join("target/magika.casc"))?;
    let ready = start.elapsed();

    let mut paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if paths.is_empty() {
        paths.push(folder.join("samples"));
    }
    let mut files = Vec::new();
    for path in paths {
        walk(path, &mut files)?;
    }
    let start = Instant::now();
    let answers = magika.identify(&files)?;
    for (file, answer) in files.iter().zip(&answers) {
        let about = magika.content_type(&answer.label);
        let description = about.and_then(|t| t.description.as_deref()).unwrap_or("no description");
        let mime = about.and_then(|t| t.mime_type.as_deref()).unwrap_or("no MIME type");
        let shown = file.canonicalize().unwrap_or_else(|_| file.clone());
        let shown = shown.strip_prefix(std::env::current_dir()?).unwrap_or(&shown);
        println!(
            "{}: {} {:.4} ({description}, {mime})",
            shown.display(),
            answer.label,
            answer.score
        );
    }
    println!("ready after {ready:.1?}, {} files in {:.1?}", files.len(), start.elapsed());
    Ok(())
}

/// The files at or below a path, sorted.
fn walk(path: PathBuf, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path);
        return Ok(());
    }
    let entries = std::fs::read_dir(&path).with_context(|| path.display().to_string())?;
    let mut below = entries.map(|e| Ok(e?.path())).collect::<Result<Vec<_>>>()?;
    below.sort();
    below.into_iter().try_for_each(|p| walk(p, files))
}
