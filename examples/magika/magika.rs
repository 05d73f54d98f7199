//! Magika's rules around its network; README.md beside this file numbers the steps.

use anyhow::{Context, Result};
use cascata::{Artifact, CompileOptions, Runtime, Session, TensorView, compile};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Most files that one run of the network takes.
const BATCH: usize = 64;

/// The network with everything that is known about it.
pub struct Magika {
    session: Session,
    config: Config,
    types: HashMap<String, ContentType>,
}

/// The fields of `config.min.json` that are used here.
#[derive(Deserialize)]
struct Config {
    beg_size: usize,
    end_size: usize,
    block_size: u64,
    min_file_size_for_dl: usize,
    padding_token: i32,
    medium_confidence_threshold: f32,
    target_labels_space: Vec<String>,
    thresholds: HashMap<String, f32>,
    overwrite_map: HashMap<String, String>,
}

/// What is known about a type.
#[derive(Deserialize)]
pub struct ContentType {
    /// MIME type.
    pub mime_type: Option<String>,
    /// A few words.
    pub description: Option<String>,
    is_text: bool,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The type's label.
    pub label: String,
    /// How sure that is, 0 to 1.
    pub score: f32,
    /// The network's own label, if it was asked.
    pub model_label: Option<String>,
}

impl Answer {
    fn certain(label: &str) -> Self {
        Self { label: label.into(), score: 1.0, model_label: None }
    }
}

/// The network's input for a file, or the answer that needs no network.
enum Features {
    Tokens(Vec<i32>),
    Known(Answer),
}

impl Magika {
    /// Reads the tables in `folder`, and compiles its model unless `artifact` is newer than
    /// the model and this program.
    pub fn open(folder: &Path, artifact: &Path) -> Result<Self> {
        let model = folder.join("model.onnx");
        if !is_newer(artifact, &[&model, &std::env::current_exe()?]) {
            compile(&model, &CompileOptions::default(), &mut ())?.write(artifact)?;
        }
        Ok(Self {
            session: Artifact::load(artifact)?.session(&Runtime::global()?)?,
            config: json(&folder.join("config.min.json"))?,
            types: json(&folder.join("content_types_kb.min.json"))?,
        })
    }

    /// What is known about a label.
    pub fn content_type(&self, label: &str) -> Option<&ContentType> {
        self.types.get(label)
    }

    /// Tells what each file is.
    pub fn identify<P: AsRef<Path>>(&self, files: &[P]) -> Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(files.len());
        for batch in files.chunks(BATCH) {
            let features =
                |p: &P| self.features(p.as_ref()).with_context(|| p.as_ref().display().to_string());
            let features = batch.iter().map(features).collect::<Result<Vec<_>>>()?;
            let mut scores = self.scores(&features)?.into_iter();
            for one in features {
                answers.push(match one {
                    Features::Known(answer) => answer,
                    Features::Tokens(_) => {
                        self.answer(&scores.next().context("a row for each file")?)
                    }
                });
            }
        }
        Ok(answers)
    }

    /// "From bytes to features".
    fn features(&self, path: &Path) -> Result<Features> {
        let c = &self.config;
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        if size == 0 {
            return Ok(Features::Known(Answer::certain("empty")));
        }
        let n = size.min(c.block_size);
        let head = read(&mut file, 0, n)?;
        let few_bytes = || {
            let label = if std::str::from_utf8(&head).is_ok() { "txt" } else { "unknown" };
            Ok(Features::Known(Answer::certain(label)))
        };
        if size < c.min_file_size_for_dl as u64 {
            return few_bytes();
        }
        let tail = read(&mut file, size - n, n)?;
        let tokens = c.tokens(&head, &tail);
        if tokens[c.min_file_size_for_dl - 1] == c.padding_token {
            return few_bytes();
        }
        Ok(Features::Tokens(tokens))
    }

    /// The network's output rows for the files that it is asked about.
    fn scores(&self, features: &[Features]) -> Result<Vec<Vec<f32>>> {
        let asked = features
            .iter()
            .filter_map(|f| if let Features::Tokens(t) = f { Some(t) } else { None });
        let rows: Vec<&Vec<i32>> = asked.collect();
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let bytes: Vec<i32> = rows.iter().flat_map(|r| r.iter().copied()).collect();
        let dims = [rows.len() as i64, (self.config.beg_size + self.config.end_size) as i64];
        let outputs = self.session.run(&[("bytes", TensorView::of(&dims, &bytes)?)])?;
        let scores = outputs[0].as_slice::<f32>()?;
        Ok(scores.chunks(self.config.target_labels_space.len()).map(<[f32]>::to_vec).collect())
    }

    /// "From output to label".
    fn answer(&self, scores: &[f32]) -> Answer {
        let c = &self.config;
        // `max_by` would take the last one of a tie.
        let best =
            (1..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best });
        let (label, score) = (&c.target_labels_space[best], scores[best]);
        let candidate = c.overwrite_map.get(label).unwrap_or(label);
        let threshold = c.thresholds.get(label).copied().unwrap_or(c.medium_confidence_threshold);
        let is_text = self.types.get(candidate).is_some_and(|t| t.is_text);
        let answer = match (score >= threshold, is_text) {
            (true, _) => candidate,
            (false, true) => "txt",
            (false, false) => "unknown",
        };
        Answer { label: answer.into(), score, model_label: Some(label.clone()) }
    }
}

impl Config {
    /// Head and tail as tokens, padded on the outside.
    fn tokens(&self, head: &[u8], tail: &[u8]) -> Vec<i32> {
        let start = head.iter().position(|b| !is_space(*b)).unwrap_or(head.len());
        let end = tail.iter().rposition(|b| !is_space(*b)).map_or(0, |i| i + 1);
        let (head, tail) = (&head[start..], &tail[..end]);
        let head = &head[..head.len().min(self.beg_size)];
        let tail = &tail[tail.len() - tail.len().min(self.end_size)..];
        let padding = self.beg_size - head.len() + self.end_size - tail.len();
        let values = |bytes: &[u8]| bytes.iter().map(|b| i32::from(*b)).collect::<Vec<_>>();
        [values(head), vec![self.padding_token; padding], values(tail)].concat()
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, 0x09..=0x0d | 0x20)
}

fn read(file: &mut File, from: u64, n: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(n).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn is_newer(path: &Path, others: &[&Path]) -> bool {
    let time = |p: &Path| p.metadata().and_then(|m| m.modified()).ok();
    time(path).is_some_and(|t| others.iter().all(|o| time(o).is_some_and(|o| o < t)))
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&bytes).with_context(|| path.display().to_string())
}
