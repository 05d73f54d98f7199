//! Text models from Hugging Face directories and GGUF files, compiled, against the NumPy
//! reference (`tests/models/text`).

use anyhow::{Context, Result, ensure};
use cascata_codegen::cpu::CpuLevel;
use cascata_frontends::onnx::ImportOptions;
use cascata_frontends::{TextCache, TextOptions, import};
use cascata_ir::graph::{Const, Graph};
use cascata_ir::interp::Tensor;
use cascata_passes::pipeline::{Options, optimise};
use cascata_runtime::{Runtime, Session};
use cascata_tests::compare::{relative_difference, worst};
use cascata_tests::pipeline::{artifact, run, session};
use cascata_tests::references::{cache, read_npz};
use cascata_types::DType;
use std::path::PathBuf;

type Named = Vec<(String, Tensor)>;

/// f32 against a reference in f64: relative to the largest logit.
const TINY: f64 = 5e-5;

/// One model with a reference.
struct Case {
    name: &'static str,
    folder: PathBuf,
}

impl Case {
    /// `None` where models are to be skipped.
    fn find(name: &'static str) -> Option<Case> {
        if std::env::var_os("CASCATA_SKIP_MODELS").is_some_and(|v| v == "1") {
            println!("skipped: CASCATA_SKIP_MODELS=1");
            return None;
        }
        let folder = cache().join("text").join(name);
        assert!(folder.join("outputs.npz").is_file(), "no {name}: run tests/setup_env.sh");
        Some(Case { name, folder })
    }

    fn graph(&self, text: TextOptions) -> Result<Graph> {
        let file = self.folder.join("model.gguf");
        let path = if file.is_file() { file } else { self.folder.join("model") };
        Ok(import(&path, &ImportOptions::default(), text).context(self.name)?.graph)
    }

    fn session(&self, text: TextOptions) -> Result<Session> {
        let mut graph = self.graph(text)?;
        optimise(&mut graph, &Options::default(), &mut |_, _| ())?;
        session(&artifact(&graph, &[CpuLevel::V3])?, &Runtime::builder().threads(2).build()?)
    }

    fn read(&self, file: &str) -> Result<Named> {
        read_npz(&self.folder.join(file))
    }

    /// The largest difference to the reference.
    fn difference(&self) -> Result<f64> {
        let session = self.session(TextOptions::default())?;
        let outputs = run(&session, &self.read("inputs.npz")?)?;
        let names: Vec<String> = session.outputs().iter().map(|p| p.name.clone()).collect();
        worst(&names, &outputs, &self.read("outputs.npz")?)
    }
}

fn check(name: &'static str, tolerance: f64) {
    let Some(case) = Case::find(name) else { return };
    let difference = case.difference().unwrap_or_else(|e| panic!("{name}: {e:#}"));
    println!("{name}: {difference:.1e}");
    assert!(difference <= tolerance, "{name} is {difference:.2e} from the reference");
}

#[test]
fn llama_family() {
    for name in ["llama", "llama3", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3"] {
        check(name, TINY);
    }
}

#[test]
fn other_decoders_and_encoders() {
    for name in ["gpt2", "neox", "bert", "roberta", "modernbert"] {
        check(name, TINY);
    }
}

#[test]
fn gguf_names_and_orders() {
    let names =
        ["gguf_llama", "gguf_qwen3", "gguf_gemma2", "gguf_gemma3", "gguf_gpt2", "gguf_neox"];
    for name in names {
        check(name, TINY);
    }
}

#[test]
fn gguf_block_formats() {
    check("gguf_blocks", TINY);
}

/// SmolLM2-135M from its GGUF: Q4_1 matrices, Q8_0 embeddings.
#[test]
fn smollm2() {
    check("smollm2", 1e-3);
}

/// The first layers of the same weights through the other reader.
/// Its rows and the last product read the same blocks.
#[test]
fn a_tied_embedding_is_one_constant() -> Result<()> {
    let Some(case) = Case::find("smollm2") else { return Ok(()) };
    let graph = case.graph(TextOptions::default())?;
    let embedding = |c: &&Const| c.name == "model.embed_tokens.weight";
    ensure!(graph.consts.values().filter(embedding).count() == 1, "an embedding of its own");
    Ok(())
}

#[test]
fn smollm2_as_safetensors() {
    check("smollm2_f32", 1e-3);
    check("smollm2_bf16", 1e-3);
}

/// Sentence embeddings (the mean of real tokens) of MiniLM-L6.
#[test]
fn minilm_embeddings() {
    let Some(case) = Case::find("minilm_l6") else { return };
    let inner = || -> Result<f64> {
        let inputs = case.read("inputs.npz")?;
        let outputs = run(&case.session(TextOptions::default())?, &inputs)?;
        let mask = &inputs.iter().find(|(n, _)| n == "attention_mask").context("a mask")?.1;
        let expected = case.read("outputs.npz")?;
        let (a, b) = (pooled(&outputs[0], mask)?, pooled(&expected[0].1, mask)?);
        Ok(a.iter().zip(&b).map(|(a, b)| 1.0 - cosine(a, b)).fold(0.0, f64::max))
    };
    let distance = inner().unwrap_or_else(|e| panic!("{e:#}"));
    println!("minilm_l6: cosine distance {distance:.1e}");
    assert!(distance <= 1e-4, "{distance:.2e}");
}

fn pooled(hidden: &Tensor, mask: &Tensor) -> Result<Vec<Vec<f64>>> {
    let [batch, tokens, width] = hidden.dims() else { anyhow::bail!("hidden states of rank 3") };
    let (x, mask) = (hidden.to_f64().context("floats")?, mask.to_f64().context("numbers")?);
    let row = |b: usize| {
        let mut sum = vec![0.0; *width];
        for t in (0..*tokens).filter(|t| mask[b * tokens + t] != 0.0) {
            let from = (b * tokens + t) * width;
            sum.iter_mut().zip(&x[from..from + width]).for_each(|(s, x)| *s += x);
        }
        sum
    };
    Ok((0..*batch).map(row).collect())
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Tokens `from..to` of a tensor `[B,S,…]`.
fn tokens(x: &Tensor, from: usize, to: usize) -> Result<Tensor> {
    let (batch, all) = (x.dims()[0], x.dims()[1]);
    let bytes = x.to_le_bytes();
    let width = bytes.len() / (batch * all);
    let part = |b: usize| &bytes[(b * all + from) * width..(b * all + to) * width];
    let data: Vec<u8> = (0..batch).flat_map(part).copied().collect();
    let mut dims = x.dims().to_vec();
    dims[1] = to - from;
    Ok(Tensor::from_le_bytes(x.dtype(), &dims, &data)?)
}

/// A prompt, then the rest token by token, gives the logits that all at once give.
fn in_steps(name: &'static str) -> Result<()> {
    let Some(case) = Case::find(name) else { return Ok(()) };
    let session = case.session(TextOptions { last_logits: true, cache: TextCache::Tensors })?;
    let (ids, expected) =
        (case.read("inputs.npz")?.remove(0).1, case.read("outputs.npz")?.remove(0).1);
    let total = ids.dims()[1];
    let mut past: Named = Vec::new();
    for port in session.inputs().iter().filter(|p| p.name.starts_with("past_")) {
        let ty = port.ty.as_tensor().context("a tensor")?;
        let size = |i: usize| ty.shape[i].as_const().map(|d| d as usize).context("a known size");
        let dims = [ids.dims()[0], size(1)?, 0, size(3)?];
        past.push((port.name.clone(), Tensor::from_le_bytes(DType::F32, &dims, &[])?));
    }
    let mut at = 0;
    for step in std::iter::once(4).chain(std::iter::repeat_n(1, total - 4)) {
        let mut inputs = vec![("input_ids".to_string(), tokens(&ids, at, at + step)?)];
        inputs.append(&mut past);
        at += step;
        for (port, value) in session.outputs().iter().zip(run(&session, &inputs)?) {
            match port.name.strip_prefix("present_") {
                Some(rest) => past.push((format!("past_{rest}"), value)),
                None => {
                    let want = tokens(&expected, at - 1, at)?;
                    let difference = relative_difference(&value, &want);
                    ensure!(difference <= 2.0 * TINY, "{name}, token {at}: {difference:.2e}");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn cached_keys_and_values_give_the_same_logits() {
    for name in ["llama3", "gemma2", "gpt2"] {
        in_steps(name).unwrap_or_else(|e| panic!("{e:#}"));
    }
}
