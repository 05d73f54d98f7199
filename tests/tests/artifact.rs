//! What holds for every model's artifact: it is the same bytes each time, loads fast and
//! lazily, refuses damage, and runs the same from anywhere.

use cascata_codegen::cpu::CpuLevel;
use cascata_frontends::onnx::{ImportOptions, import};
use cascata_ir::interp::Tensor;
use cascata_passes::pipeline::OptLevel;
use cascata_runtime::format::manifest::Storage;
use cascata_runtime::format::{ArtifactReader, Header};
use cascata_runtime::{Artifact, Runtime, Session, TensorView};
use cascata_tests::pipeline;
use cascata_tests::references::{Case, cases_or_skip};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const MODELS: [&str; 8] =
    ["magika", "minilm_int8", "minilm_l3", "nsfw", "nudenet", "ocr_cls", "ocr_det", "ocr_rec"];

/// A model compiled once for all tests of this file.
struct Compiled {
    model: &'static str,
    bytes: Vec<u8>,
    cases: Vec<Case>,
}

/// Every model; none where `CASCATA_SKIP_MODELS=1`.
fn compiled() -> &'static [Compiled] {
    static ALL: OnceLock<Vec<Compiled>> = OnceLock::new();
    ALL.get_or_init(|| MODELS.into_iter().filter_map(compile_once).collect())
}

fn compile_once(model: &'static str) -> Option<Compiled> {
    let cases = cases_or_skip(model);
    let bytes = compile(&cases.first()?.path);
    Some(Compiled { model, bytes, cases })
}

fn compile(path: &Path) -> Vec<u8> {
    let graph = pipeline::fused(path, OptLevel::O2).expect("the model is optimised");
    pipeline::artifact(&graph, &[CpuLevel::V1, CpuLevel::V3]).expect("the model is compiled")
}

impl Compiled {
    fn smallest(&self) -> Vec<(String, Tensor)> {
        let inputs = self.cases.iter().map(|c| c.inputs().expect("readable references"));
        let size =
            |inputs: &Vec<(String, Tensor)>| inputs.iter().map(|(_, t)| t.len()).sum::<usize>();
        inputs.min_by_key(size).expect("a case")
    }

    fn session(&self, threads: usize) -> Session {
        let runtime = Runtime::builder().threads(threads).build().expect("threads");
        pipeline::session(&self.bytes, &runtime).expect("a session")
    }
}

/// A file that is removed with this.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, bytes).expect("a writable target folder");
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// KiB of this process's mappings of a file that are in memory.
fn resident_kib(path: &Path) -> Option<u64> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").expect("smaps");
    let at = smaps.find(path.to_str()?)?;
    let rss = smaps[at..].lines().find(|l| l.starts_with("Rss:"))?;
    rss.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn two_compiles_give_the_same_bytes() {
    for c in compiled() {
        assert!(compile(&c.cases[0].path) == c.bytes, "{}: other bytes", c.model);
    }
}

/// The goal is 10 ms; the limit is lenient because tests share the machine.
#[test]
fn loading_takes_milliseconds_and_does_not_read_the_weights() {
    for c in compiled() {
        let file = TempFile::new(&format!("{}.casc", c.model), &c.bytes);
        let load = || {
            let start = Instant::now();
            let artifact = Artifact::load(&file.0).expect("it loads");
            let elapsed = start.elapsed();
            let resident = resident_kib(&file.0);
            assert_eq!(resident, Some(0), "{}: pages of the weights are mapped in", c.model);
            drop(artifact);
            elapsed
        };
        let mut best = load();
        for _ in 0..30 {
            if best < Duration::from_millis(10) {
                break;
            }
            best = best.min(load());
        }
        println!("{}: {:.1} MB load in {best:.2?}", c.model, c.bytes.len() as f64 / 1e6);
        assert!(best < Duration::from_millis(50), "{}: {best:?}", c.model);
    }
}

/// Constants are stored in the form that kernels read, and only in that.
#[test]
fn every_weight_is_read_by_a_kernel() {
    for c in compiled() {
        let artifact = Artifact::from_bytes(&c.bytes).expect("it loads");
        let manifest = artifact.manifest();
        let buffers = manifest.entries.iter().flat_map(|e| &e.buffers);
        let read: BTreeSet<u32> = buffers
            .filter_map(|b| match b.storage {
                Storage::Weight(index) => Some(index),
                _ => None,
            })
            .collect();
        let weights = manifest.weights.iter().enumerate();
        let idle = weights.filter(|(i, _)| !read.contains(&(*i as u32)));
        let names: Vec<&str> = idle.map(|(_, w)| w.name.as_str()).collect();
        assert!(names.is_empty(), "{}: nobody reads {names:?}", c.model);
    }
}

#[test]
fn damage_is_refused() {
    let Some(c) = compiled().first() else { return };
    let good = &c.bytes;
    // The runtime never reads the provenance: whoever shows it checks it.
    let provenance = |bytes: &[u8]| ArtifactReader::parse(bytes).and_then(|r| r.full_manifest());
    let checked = |bytes: &[u8]| {
        let artifact = Artifact::options().check_weights(true).from_bytes(bytes);
        artifact.map_err(|e| e.to_string())?;
        provenance(bytes).map_err(|e| e.to_string())
    };
    checked(good).expect("the whole artifact is sound");
    for n in (0..64).chain((64..good.len()).step_by(good.len() / 50)) {
        assert!(checked(&good[..n]).is_err(), "cut to {n} bytes");
    }
    let header = Header::parse(good, good.len() as u64).expect("a header");
    let mut bytes = good.clone();
    for section in header.sections.iter().filter(|s| s.length > 0) {
        let step = (section.length / 7).max(1) as usize;
        for at in (section.offset..section.end()).step_by(step) {
            bytes[at as usize] ^= 0x10;
            assert!(checked(&bytes).is_err(), "{:?}: a bit flipped at {at}", section.kind);
            bytes[at as usize] ^= 0x10;
        }
    }
    bytes[8] ^= 0x7f;
    let error = checked(&bytes).expect_err("another version");
    assert!(error.contains("is not supported"), "{error}");
}

#[test]
fn results_depend_neither_on_threads_nor_on_sessions_nor_on_who_else_runs() {
    for c in compiled() {
        let inputs = c.smallest();
        let one = c.session(1);
        let expected = pipeline::run(&one, &inputs).expect("a run");
        let same = |session: &Session, what: &str| {
            let found = pipeline::run(session, &inputs).expect("a run");
            assert!(bits(&found) == bits(&expected), "{}: other bits with {what}", c.model);
        };
        same(&one, "the memory of the last run");
        let two = c.session(2);
        same(&two, "two threads");
        let sessions: Vec<Session> =
            (0..8).map(|_| one.artifact().session(two.runtime()).expect("a session")).collect();
        sessions.iter().for_each(|s| same(s, "a session of its own"));
        std::thread::scope(|scope| {
            for (thread, own) in sessions.iter().take(4).enumerate() {
                let session = if thread % 2 == 0 { &two } else { own };
                scope.spawn(|| (0..2).for_each(|_| same(session, "four runs at once")));
            }
        });
    }
}

fn bits(tensors: &[Tensor]) -> Vec<Vec<u8>> {
    tensors.iter().map(Tensor::to_le_bytes).collect()
}

#[test]
fn wrong_inputs_are_named() {
    let cases = cases_or_skip("minilm_l3");
    let Some(case) = cases.first() else { return };
    let options = ImportOptions::default().dim("batch_size=1..4").expect("a dim option");
    let graph = import(&case.path, &options).expect("the model is imported").graph;
    let graph = pipeline::fused_graph(graph, OptLevel::O2).expect("it is optimised");
    let bytes = pipeline::artifact(&graph, &[CpuLevel::V1]).expect("it is compiled");
    let runtime = Runtime::builder().threads(1).build().expect("threads");
    let session = pipeline::session(&bytes, &runtime).expect("a session");
    let (ids, halves) = ([3i64; 40], [0.5f32; 40]);
    let view = |dims: &'static [i64]| {
        let count = dims.iter().product::<i64>() as usize;
        TensorView::of(dims, &ids[..count])
    };
    let check = |inputs: &[(&str, TensorView<'_>)], parts: &[&str]| {
        let error = session.run(inputs).expect_err("wrong inputs").to_string();
        for part in parts {
            assert!(error.contains(part), "no '{part}' in: {error}");
        }
    };
    let (good, mask) = (view(&[2, 3]).unwrap(), "attention_mask");
    check(&[("input_ids", good)], &["attention_mask", "missing"]);
    check(&[("input_ids", good), (mask, good), ("token_ids", good)], &["token_ids", "input_ids"]);
    let floats = TensorView::of(&[2, 3], &halves[..6]).unwrap();
    check(&[("input_ids", good), (mask, floats)], &[mask, "f32", "i64"]);
    check(&[("input_ids", good), (mask, view(&[2, 4]).unwrap())], &[mask, "axis 1", "4", "3"]);
    check(&[("input_ids", view(&[6]).unwrap()), (mask, good)], &["input_ids", "dims"]);
    let many = view(&[5, 3]).unwrap();
    check(&[("input_ids", many), (mask, many)], &["input_ids", "batch_size", "5", "1..=4"]);
    session.run(&[("input_ids", good), (mask, good)]).expect("the session is usable");
}

/// Arenas are packed within a tenth of what lives at once.
#[test]
fn memory_plans_are_tight() {
    for c in compiled() {
        let session = c.session(1);
        for case in &c.cases {
            let symbols = bind(&session, &case.inputs().expect("readable references"));
            let given: Vec<(&str, i64)> = symbols.iter().map(|(n, v)| (n.as_str(), *v)).collect();
            let plan = session.memory_plan(&given).expect("a plan");
            let (bytes, bound) = (plan.arena_bytes() as f64, plan.lower_bound_bytes() as f64);
            let ratio = bytes / bound.max(1.0);
            println!("{} {}: {:.2} MB, {ratio:.3} of the bound", c.model, case.name, bytes / 1e6);
            assert!(ratio <= 1.1, "{} {}: {bytes} bytes, bound {bound}", c.model, case.name);
        }
    }
}

/// The symbols' values that the inputs' dims give.
fn bind(session: &Session, inputs: &[(String, Tensor)]) -> Vec<(String, i64)> {
    let mut out = Vec::new();
    for port in session.inputs() {
        let (_, tensor) = inputs.iter().find(|(n, _)| *n == port.name).expect("an input");
        let ty = port.ty.as_tensor().expect("a tensor");
        for (dim, size) in ty.shape.iter().zip(tensor.dims()) {
            if let Some(symbol) = dim.as_sym() {
                out.push((session.entry().symbols.name(symbol).to_string(), *size as i64));
            }
        }
    }
    out
}
