//! Things that run: an artifact, a compiled model, a model in the interpreter.

use super::arrays::{Arrays, views};
use super::device::DeviceArgs;
use super::exit::{FileError, Usage};
use super::inputs::Signature;
use super::parse;
use super::progress::Line;
use super::trust::TrustArgs;
use anyhow::{Context, Result};
use cascata::artifact::manifest::Port;
use cascata::ir::graph::Graph;
use cascata::ir::interp;
use cascata::onnx::{CountOption, DimOption, ImportOptions, ValueOption};
use cascata::passes::pipeline::OptLevel;
use cascata::{
    CompileOptions, DType, Device, InputError, LaunchProfile, RunError, Runtime, Session, Tensor,
    TensorView, TextOptions, compile, import, native_level,
};
use clap::Args;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Explains subjects in `--help`.
pub const HELP: &str = "\
What can be run:
  F.casc         an artifact (recognised by its content, not by its name)
  MODEL          a model file, compiled in memory first; the same as O2:MODEL
  O0:MODEL, O1:MODEL, O2:MODEL   the same at another optimisation level
  interp:MODEL   the reference interpreter on the imported model: slow, and right by definition";

/// A subject on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// How it runs; an artifact or `-O2` when nothing is said.
    pub how: Option<How>,
    /// The file.
    pub path: PathBuf,
}

/// How a model file runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// In the interpreter.
    Interpret,
    /// Compiled at this level.
    Compile(OptLevel),
}

impl FromStr for Subject {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let prefixes = [
            ("interp:", How::Interpret),
            ("O0:", How::Compile(OptLevel::O0)),
            ("O1:", How::Compile(OptLevel::O1)),
            ("O2:", How::Compile(OptLevel::O2)),
        ];
        let found =
            prefixes.into_iter().find_map(|(prefix, how)| Some((how, text.strip_prefix(prefix)?)));
        Ok(match found {
            Some((how, path)) => Subject { how: Some(how), path: path.into() },
            None => Subject { how: None, path: text.into() },
        })
    }
}

/// What a model does not say about its inputs.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ShapeArgs {
    /// Number of elements of an input that is a sequence, which becomes as many inputs: INPUT.0,
    /// INPUT.1, …
    #[arg(long, value_name = "INPUT=NUMBER", value_parser = parse::<CountOption>)]
    pub length: Vec<CountOption>,
    /// Number of axes of an input, or of a sequence's elements, that is declared without a shape
    #[arg(long, value_name = "INPUT=NUMBER", value_parser = parse::<CountOption>)]
    pub rank: Vec<CountOption>,
    /// An optional input that holds nothing and leaves the signature; all others hold something
    #[arg(long, value_name = "INPUT")]
    pub absent: Vec<String>,
}

impl ShapeArgs {
    /// For the importer.
    pub fn import_options(&self) -> ImportOptions {
        let ShapeArgs { length, rank, absent } = self.clone();
        ImportOptions { lengths: length, ranks: rank, absent, ..ImportOptions::default() }
    }
}

/// What a model file is told before it is compiled.
#[derive(Args, Clone, Debug, Default)]
pub struct ModelArgs {
    /// An input of a model that becomes a constant
    #[arg(long, value_name = "INPUT=NUMBER,…", value_parser = parse::<ValueOption>)]
    pub set: Vec<ValueOption>,
    /// Value or range of a model's dim, as `compile --dim` takes it; unlike --dim, which only
    /// sizes random inputs, it is compiled in
    #[arg(long, value_name = "NAME=MIN..MAX", value_parser = parse::<DimOption>)]
    pub fix_dim: Vec<DimOption>,
    #[command(flatten)]
    shapes: ShapeArgs,
}

impl ModelArgs {
    /// For the importer.
    pub fn import_options(&self) -> ImportOptions {
        let (dims, values) = (self.fix_dim.clone(), self.set.clone());
        ImportOptions { dims, values, ..self.shapes.import_options() }
    }

    /// An artifact has all of this compiled in.
    pub fn refuse(&self) -> Result<(), Usage> {
        let nothing = self.shapes == ShapeArgs::default();
        match nothing && self.set.is_empty() && self.fix_dim.is_empty() {
            true => Ok(()),
            false => Err(Usage(
                "--set, --fix-dim, --length, --rank and --absent work on a model file; this is an \
                 artifact"
                    .into(),
            )),
        }
    }
}

/// What opening a subject is told.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Threads; 0 means all.
    pub threads: usize,
    /// Where an artifact runs.
    pub device: DeviceArgs,
    /// For the importer.
    pub model: ModelArgs,
    /// Values of a model that become outputs.
    pub fetch: Vec<String>,
    /// As [`CompileOptions::fetch_groups`].
    pub fetch_groups: bool,
    /// Whose artifacts are loaded.
    pub trust: TrustArgs,
}

impl Subject {
    /// Loads, compiles or imports.
    pub fn open(&self, setup: &Setup) -> Result<Runner> {
        let how = match self.how {
            None if is_artifact(&self.path)? => return self.load(setup),
            None => How::Compile(OptLevel::O2),
            Some(how) => how,
        };
        setup.trust.refuse()?;
        if setup.device.device != Device::Cpu {
            let why = "--device is for artifacts: compile the model with --gpu first";
            return Err(Usage(why.into()).into());
        }
        let options = setup.model.import_options();
        match how {
            How::Interpret => {
                Ok(Runner::Interpreter(Box::new(self.interpreter(&options, &setup.fetch)?)))
            }
            How::Compile(level) => self.compile(level, options, setup),
        }
    }

    /// Whether this is an artifact file.
    pub fn is_artifact(&self) -> Result<bool> {
        Ok(self.how.is_none() && is_artifact(&self.path)?)
    }

    fn load(&self, setup: &Setup) -> Result<Runner> {
        setup.model.refuse()?;
        let runtime = Runtime::builder().threads(setup.threads).build()?;
        let artifact = setup.trust.load_options()?.load(&self.path)?;
        let session = artifact.session_with(&runtime, &setup.device.session_options())?;
        let is_output = |name: &&String| session.outputs().iter().any(|p| p.name == **name);
        let fetch = setup.fetch.iter().filter(|name| !is_output(name)).cloned().collect();
        Ok(Runner::Session(session, fetch))
    }

    fn interpreter(&self, options: &ImportOptions, fetch: &[String]) -> Result<Graph> {
        let mut graph = import(&self.path, options, TextOptions::default())?.graph;
        cascata::fetch_values(&mut graph, fetch)?;
        Ok(graph)
    }

    fn compile(&self, level: OptLevel, import: ImportOptions, setup: &Setup) -> Result<Runner> {
        let mut options = CompileOptions {
            import,
            targets: vec![native_level()],
            fetch: setup.fetch.clone(),
            fetch_groups: setup.fetch_groups,
            keep_text: false,
            ..CompileOptions::default()
        };
        options.passes.level = level;
        let mut line = Line::new(None);
        let compiled = compile(&self.path, &options, &mut line);
        line.finish()?;
        let runtime = Runtime::builder().threads(setup.threads).build()?;
        Ok(Runner::Session(compiled?.session(&runtime)?, vec![]))
    }
}

fn is_artifact(path: &Path) -> Result<bool, FileError> {
    if path.is_dir() {
        return Ok(false);
    }
    let mut start = Vec::new();
    let file = File::open(path).and_then(|f| f.take(8).read_to_end(&mut start));
    file.map_err(|e| FileError::new("read", path, e))?;
    Ok(start == cascata::artifact::format::MAGIC)
}

/// Something that is ready to run.
pub enum Runner {
    /// Compiled code, and the values to copy out beside the outputs.
    Session(Session, Vec<String>),
    /// The reference interpreter.
    Interpreter(Box<Graph>),
}

impl Runner {
    /// What it takes.
    pub fn signature(&self) -> Signature<'_> {
        match self {
            Runner::Session(s, _) => {
                Signature { inputs: s.inputs().to_vec(), symbols: &s.entry().symbols }
            }
            Runner::Interpreter(g) => Signature { inputs: graph_inputs(g), symbols: &g.symbols },
        }
    }

    /// Runs once.
    pub fn run(&self, inputs: &Arrays) -> Result<Arrays> {
        match self {
            Runner::Session(s, fetch) => {
                let values: Vec<&str> = fetch.iter().map(String::as_str).collect();
                let (outputs, fetched) = s.run_fetching(&views(inputs), &values)?;
                let mut arrays = named(s, outputs);
                arrays.extend(fetch.iter().cloned().zip(fetched));
                Ok(arrays)
            }
            Runner::Interpreter(g) => interpret(g, inputs, &mut |_, _| ()),
        }
    }

    /// Runs once and measures every launch; the interpreter has none.
    pub fn run_profiled(&self, inputs: &Arrays) -> Result<(Arrays, Vec<LaunchProfile>)> {
        match self {
            Runner::Session(s, _) => {
                let (outputs, launches) = s.run_profiled(&views(inputs))?;
                Ok((named(s, outputs), launches))
            }
            Runner::Interpreter(_) => Ok((self.run(inputs)?, Vec::new())),
        }
    }
}

fn named(session: &Session, outputs: Vec<Tensor>) -> Arrays {
    session.outputs().iter().map(|p| p.name.clone()).zip(outputs).collect()
}

fn graph_inputs(graph: &Graph) -> Vec<Port> {
    let port =
        |v| Port { name: graph.values[v].name.clone(), ty: graph.ty(v).clone(), default: None };
    graph.inputs().iter().copied().map(port).collect()
}

/// Runs a graph in the interpreter, by names.
pub fn interpret(graph: &Graph, inputs: &Arrays, observer: interp::Observer<'_>) -> Result<Arrays> {
    let ports = graph_inputs(graph);
    check_names(&ports, inputs, graph)?;
    let by_name =
        |p: &Port| inputs.iter().find(|(name, _)| *name == p.name).map(|(_, t)| to_interpreter(t));
    let operands: Vec<interp::Tensor> = ports.iter().filter_map(by_name).collect::<Result<_>>()?;
    let outputs = interp::run_with(graph, &operands, observer)?;
    let outputs = graph.output_names.iter().zip(&outputs);
    outputs.map(|(name, t)| Ok((name.clone(), from_interpreter(t)?))).collect()
}

/// As the runtime does: everything that is missing or unknown at once.
fn check_names(ports: &[Port], inputs: &Arrays, graph: &Graph) -> Result<(), RunError> {
    let missing = ports.iter().filter(|p| !inputs.iter().any(|(name, _)| *name == p.name));
    let missing = missing.map(|p| InputError::Missing {
        name: p.name.clone(),
        expected: p.ty.display(&graph.symbols),
    });
    let known: Vec<String> = ports.iter().map(|p| p.name.clone()).collect();
    let unknown = inputs.iter().filter(|(name, _)| !known.contains(name));
    let unknown =
        unknown.map(|(name, _)| InputError::Unknown { name: name.clone(), inputs: known.clone() });
    let errors: Vec<InputError> = unknown.chain(missing).collect();
    if errors.is_empty() { Ok(()) } else { Err(RunError::Inputs(errors)) }
}

fn to_interpreter(t: &Tensor) -> Result<interp::Tensor> {
    let dims: Vec<usize> = t.dims().iter().map(|d| *d as usize).collect();
    interp::Tensor::from_le_bytes(t.dtype(), &dims, t.bytes()).context("an input")
}

/// The interpreter's tensor as the runtime's.
pub fn from_interpreter(t: &interp::Tensor) -> Result<Tensor> {
    let dims: Vec<i64> = t.dims().iter().map(|d| *d as i64).collect();
    if t.dtype() == DType::Str {
        return Ok(TensorView::new(DType::Str, &dims, &t.to_le_bytes())?.to_tensor()?);
    }
    let mut tensor = Tensor::zeros(t.dtype(), &dims)?;
    tensor.bytes_mut().copy_from_slice(&t.to_le_bytes());
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_say_how() {
        let subject = |text: &str| text.parse::<Subject>().unwrap();
        assert_eq!(
            subject("interp:a.onnx"),
            Subject { how: Some(How::Interpret), path: "a.onnx".into() }
        );
        assert_eq!(
            subject("O0:b"),
            Subject { how: Some(How::Compile(OptLevel::O0)), path: "b".into() }
        );
        assert_eq!(subject("c:d.casc"), Subject { how: None, path: "c:d.casc".into() });
    }
}
