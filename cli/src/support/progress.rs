//! The compile's progress: a line on the terminal, dumps in a folder.

use super::exit::FileError;
use anyhow::Result;
use cascata::Progress;
use cascata::ir::graph::Graph;
use cascata::ir::print::{PrintOptions, print};
use indicatif::{ProgressBar, ProgressStyle};
use regex::Regex;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Shows the current phase on standard error if that is a terminal.
pub struct Line {
    bar: ProgressBar,
    dumps: Option<Dumps>,
}

/// Writes the graph after the stages whose names match.
pub struct Dumps {
    /// Which stages.
    pub after: Regex,
    /// Where to; created when needed.
    pub folder: PathBuf,
    written: usize,
    failed: Option<FileError>,
}

impl Dumps {
    /// Dumps of matching stages into a folder.
    pub fn new(after: Regex, folder: PathBuf) -> Self {
        Self { after, folder, written: 0, failed: None }
    }

    fn write(&mut self, index: usize, name: &str, graph: &Graph) -> Result<(), FileError> {
        let fail = |path: &Path, e: std::io::Error| FileError::new("write", path, e);
        std::fs::create_dir_all(&self.folder).map_err(|e| fail(&self.folder, e))?;
        let path = self.folder.join(format!("{index:02}-{name}.txt"));
        std::fs::write(&path, print(graph, PrintOptions::default())).map_err(|e| fail(&path, e))
    }
}

impl Line {
    /// A line, with dumps if asked for.
    pub fn new(dumps: Option<Dumps>) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, dumps }
    }

    /// Clears the line. The error is that of the first dump that could not be written,
    /// or that nothing matched.
    pub fn finish(self) -> Result<()> {
        self.bar.finish_and_clear();
        let Some(dumps) = self.dumps else { return Ok(()) };
        if let Some(e) = dumps.failed {
            return Err(e.into());
        }
        if dumps.written == 0 {
            let text = format!(
                "--dump-after {}: no stage has such a name; see `cascata compile --help`",
                dumps.after
            );
            return Err(super::exit::Usage(text).into());
        }
        Ok(())
    }
}

impl Progress for Line {
    fn phase(&mut self, name: &str) {
        self.bar.set_message(name.to_string());
    }

    fn stage(&mut self, name: &str, graph: &Graph) {
        let Some(dumps) = &mut self.dumps else { return };
        if dumps.after.is_match(name) {
            if let Err(e) = dumps.write(dumps.written, name, graph) {
                dumps.failed.get_or_insert(e);
            }
            dumps.written += 1;
        }
    }
}
