//! The whole way from a model file to an artifact, on one page.

use crate::options::{CompileOptions, Progress};
use crate::report::{
    CompilePhase, CompileReport, build_phases, code_sizes, gpu_sizes, launches, pass_phases,
};
use crate::{Artifact, LoadError, Runtime, Session, fetch};
use cascata_artifact::WriteError;
use cascata_artifact::manifest::{Isolation, Manifest, Provenance};
use cascata_artifact::sign::SecretKey;
use cascata_codegen::build::{BuildError, BuildOptions, Built, build_variants};
use cascata_codegen::cpu::{CodegenError, CpuTarget};
use cascata_frontends::{Import, ImportError, files, import};
use cascata_ir::graph::Graph;
use cascata_ir::print::{PrintOptions, print};
use cascata_passes::error::PassError;
use cascata_passes::isolation::{Batch, Select, check};
use cascata_passes::pipeline::{optimise, pipeline};
use cascata_passes::report::Report;
use cascata_passes::variants::{Variant, variants};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What goes with a model and is larger (a tokenizer) is an attachment: the manifest, with its
/// metadata, is read at every load.
const MOST_METADATA_BYTES: usize = 16 << 10;

/// Compiles a model: an ONNX or GGUF file, or a Hugging Face directory.
///
/// # Errors
/// The file is not a model, something in it cannot be compiled (everything is named, not
/// only the first), or a defect of the compiler.
pub fn compile(
    path: impl AsRef<Path>,
    options: &CompileOptions,
    progress: &mut dyn Progress,
) -> Result<Compiled, CompileError> {
    let path = path.as_ref();

    // 1. The model becomes a graph of core ops; its weights stay in the mapped file.
    progress.phase("import");
    let (import, imported) = read_model(path, options)?;
    let Import { mut graph, opset, producer, metadata, params, .. } = import;
    let imported_isolation = isolation(&graph);

    // 2. The passes rewrite it and group it into kernels; for several profile points they
    // may come to several graphs.
    let mut graphs = specialised(&graph, options, progress)?;
    let (passes, texts) = optimised(&mut graph, options, progress)?;
    graphs.push((vec![], graph));
    let isolation =
        graphs.iter().fold(imported_isolation, |verdict, (_, g)| isolation_of_both(verdict, g));
    if options.fetch_groups {
        graphs.iter_mut().for_each(|(_, graph)| fetch::groups(graph));
    }

    // 3. Every group is lowered to Kernel IR, then to machine code for each target, and to PTX.
    progress.phase(if options.gpu.is_empty() { "build" } else { "build, ptx" });
    let start = Instant::now();
    let provenance = provenance(path, options, &passes, texts, isolation.clone())?;
    let build_options = build_options(options, provenance)?;
    let mut built = OwnedBuild::try_new(graphs, |graphs| {
        let graphs: Vec<_> = graphs.iter().map(|(guard, g)| (guard.as_slice(), g)).collect();
        build_variants(&graphs, &build_options)
    })?;
    built.with_dependent_mut(|_, built| {
        let (large, small): (Vec<_>, Vec<_>) =
            metadata.into_iter().partition(|(_, text)| text.len() > MOST_METADATA_BYTES);
        built.manifest.metadata.extend(small);
        built.attachments.extend(large);
        built.default_inputs(params.into_iter().map(|p| (p.name, p.data)));
    });
    let seconds = start.elapsed().as_secs_f64();

    // 4. `Compiled::write` packs the weights, from the mapped source into the artifact.
    let manifest = &built.borrow_dependent().manifest;
    let (launches, gpu) = (launches(manifest), gpu_sizes(built.borrow_dependent()));
    let build = build_phases(seconds, launches, &gpu);
    let report = CompileReport {
        producer,
        opset,
        phases: std::iter::once(imported).chain(pass_phases(&passes)).chain(build).collect(),
        rewriting: passes.rewriting,
        kernels: manifest.kernels.len(),
        launches,
        code: code_sizes(manifest),
        gpu,
        weight_bytes: manifest.weights.iter().map(|w| w.bytes).sum(),
        isolation,
    };
    Ok(Compiled { built, report })
}

/// Imports the model, with the values to fetch among its outputs.
fn read_model(
    path: &Path,
    options: &CompileOptions,
) -> Result<(Import, CompilePhase), CompileError> {
    let start = Instant::now();
    let mut model = import(path, &options.import, options.text)?;
    let phase = CompilePhase {
        name: "import",
        seconds: start.elapsed().as_secs_f64(),
        verify_seconds: 0.0,
        nodes: model.graph.root().nodes.len(),
        changes: 0,
    };
    fetch::fetch_values(&mut model.graph, &options.fetch)?;
    known_symbols(&model.graph, options)?;
    Ok((model, phase))
}

fn build_options(
    options: &CompileOptions,
    provenance: Provenance,
) -> Result<BuildOptions, CompileError> {
    let targets = options.targets.iter().map(|t| CpuTarget::new(*t)).collect::<Result<_, _>>();
    let targets = targets.map_err(CompileError::Target)?;
    Ok(BuildOptions {
        targets,
        gpu: options.gpu.clone(),
        keep_kernel_ir: options.keep_text,
        provenance,
    })
}

/// Every symbol of the profile points is one of the graph's.
fn known_symbols(graph: &Graph, options: &CompileOptions) -> Result<(), CompileError> {
    let mut names = options.passes.egraph.profile.iter().flat_map(|p| p.keys());
    let Some(name) = names.find(|n| graph.symbols.lookup(n).is_none()) else { return Ok(()) };
    let symbols: Vec<String> = graph.symbols.iter().map(|(_, s)| s.name.clone()).collect();
    Err(CompileError::NoSuchSymbol { name: name.clone(), symbols: symbols.join(", ") })
}

/// The graphs that serve some sizes better than that of the first profile point.
fn specialised(
    graph: &Graph,
    options: &CompileOptions,
    progress: &mut dyn Progress,
) -> Result<Vec<Variant>, PassError> {
    if options.passes.egraph.profile.len() < 2 {
        return Ok(vec![]);
    }
    progress.phase("profile points");
    let mut found = variants(graph, &options.passes)?;
    found.pop(); // That of the first point.
    Ok(found)
}

/// Runs the passes for the first profile point; also gives the printed graph after each
/// stage that changed it.
fn optimised(
    graph: &mut Graph,
    options: &CompileOptions,
    progress: &mut dyn Progress,
) -> Result<(Report, Vec<(String, String)>), PassError> {
    let names: Vec<&str> = pipeline(&options.passes).iter().map(|p| p.name).collect();
    let mut coming = names.iter();
    let mut graphs = Vec::new();
    let mut seen = |stage: &str, graph: &Graph| {
        progress.stage(stage, graph);
        if options.keep_text {
            keep(&mut graphs, stage, print(graph, PrintOptions::default()));
        }
        if let Some(next) = coming.next() {
            progress.phase(next);
        }
    };
    let mut passes = options.passes.clone();
    passes.egraph.profile.truncate(1);
    let report = optimise(graph, &passes, &mut seen)?;
    Ok((report, graphs))
}

/// Keeps what differs from the stage before. A stage that runs again is numbered: `fold-2`.
fn keep(graphs: &mut Vec<(String, String)>, stage: &str, text: String) {
    if graphs.last().is_some_and(|(_, last)| *last == text) {
        return;
    }
    let numbered = |n: usize| if n == 1 { stage.to_string() } else { format!("{stage}-{n}") };
    let taken = |name: &String| graphs.iter().any(|(kept, _)| kept == name);
    if let Some(name) = (1..).map(numbered).find(|name| !taken(name)) {
        graphs.push((name, text));
    }
}

/// What is proven about the entries of a batch, if the model has one.
fn isolation(graph: &Graph) -> Option<Isolation> {
    let batch = Batch::find(graph, &Select::Leading).ok()?;
    let report = check(graph, &batch);
    let leak = report.leaks().next().map(|(output, leak)| format!("output '{output}': {leak}"));
    Some(Isolation { batch: batch.name().to_string(), leak })
}

/// What is compiled counts; where the model itself mixes, its own names tell more.
fn isolation_of_both(imported: Option<Isolation>, optimised: &Graph) -> Option<Isolation> {
    match imported {
        Some(Isolation { leak: None, .. }) => isolation(optimised),
        leaks => leaks,
    }
}

/// Where the artifact comes from. No time and no path: two compiles give the same bytes.
fn provenance(
    path: &Path,
    options: &CompileOptions,
    passes: &Report,
    stages: Vec<(String, String)>,
    isolation: Option<Isolation>,
) -> Result<Provenance, CompileError> {
    let source_hash = source_hash(path)
        .map_err(|source| CompileError::Hash { path: path.to_path_buf(), source })?;
    let used = passes.rewriting.rules.iter().filter(|(_, count)| count.used > 0);
    let names = |rules: &[&str]| rules.iter().map(ToString::to_string).collect();
    Ok(Provenance {
        source: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        source_hash,
        compiler: format!("cascata {}", env!("CARGO_PKG_VERSION")),
        options: options.text(),
        rules: used.map(|(rule, count)| (rule.to_string(), count.used as u64)).collect(),
        explanations: passes
            .provenance
            .iter()
            .map(|(v, rules)| (v.clone(), names(rules)))
            .collect(),
        stages,
        isolation,
        ..Provenance::default()
    })
}

/// The hash of a model file; of a directory, that of the names and hashes of its files.
fn source_hash(path: &Path) -> std::io::Result<String> {
    let hash = |path: &Path| {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(std::fs::File::open(path)?)?;
        Ok::<_, std::io::Error>(hasher.finalize())
    };
    if !path.is_dir() {
        return Ok(hash(path)?.to_hex().to_string());
    }
    let mut all = blake3::Hasher::new();
    for file in files(path)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        all.update(name.as_bytes()).update(&[0]).update(hash(&file)?.as_bytes());
    }
    Ok(all.finalize().to_hex().to_string())
}

self_cell::self_cell!(
    /// A build with the graphs whose constants it still reads.
    struct OwnedBuild {
        owner: Vec<Variant>,
        #[covariant]
        dependent: Built,
    }
);

/// A compiled model, not yet written. Weights are still in the source's files.
pub struct Compiled {
    built: OwnedBuild,
    report: CompileReport,
}

impl Compiled {
    /// What the compile did.
    pub fn report(&self) -> &CompileReport {
        &self.report
    }

    /// The manifest that is written.
    pub fn manifest(&self) -> &Manifest {
        &self.built.borrow_dependent().manifest
    }

    /// The optimised graph.
    pub fn graph(&self) -> &Graph {
        let graphs = self.built.borrow_owner();
        &graphs.last().expect("the one for all sizes").1
    }

    /// Writes the artifact; it appears under its name only when it is complete.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), CompileError> {
        Ok(self.built.borrow_dependent().write(path)?)
    }

    /// As [`Compiled::write`], signed.
    ///
    /// # Errors
    /// As [`Compiled::write`].
    pub fn write_signed(
        &self,
        path: impl AsRef<Path>,
        key: &SecretKey,
    ) -> Result<(), CompileError> {
        Ok(self.built.borrow_dependent().write_signed(path, key)?)
    }

    /// The artifact's bytes.
    ///
    /// # Errors
    /// A defect of the compiler.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CompileError> {
        Ok(self.built.borrow_dependent().to_bytes()?)
    }

    /// A session that runs the model in this process; no file is written.
    ///
    /// # Errors
    /// This CPU runs none of the targets.
    pub fn session(&self, runtime: &Runtime) -> Result<Session, CompileError> {
        Ok(Artifact::from_bytes(&self.to_bytes()?)?.session(runtime)?)
    }
}

/// Why a model cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The file cannot be read, is not a model, or has parts that cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The source cannot be hashed.
    #[error("cannot read {}: {source}", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// [`CompileOptions::fetch`] names something that the model's body does not compute.
    #[error(
        "no node of the model's body computes a value '{0}'; `inspect --graph --stage input` lists them"
    )]
    NoSuchValue(String),
    /// A profile point names a symbol that the model does not have.
    #[error("the model has no symbol '{name}' for --profile; it has: {symbols}")]
    NoSuchSymbol {
        /// The name.
        name: String,
        /// The model's symbols.
        symbols: String,
    },
    /// A pass failed: a defect of the compiler.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// A target cannot be set up: a defect of the compiler.
    #[error(transparent)]
    Target(CodegenError),
    /// Ops without a kernel, or kernels without code: all of them.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The artifact cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The artifact cannot be run here.
    #[error(transparent)]
    Load(#[from] LoadError),
}
