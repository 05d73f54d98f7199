//! Small ONNX models, written field by field, and the command.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder with models that goes away with it.
pub struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    /// An empty folder.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a model of element-wise nodes over `f32[N,3]`: `(op, inputs, output)`.
    pub fn model(
        &self,
        name: &str,
        inputs: &[&str],
        nodes: &[(&str, &[&str], &str)],
        outputs: &[&str],
    ) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, model(inputs, nodes, outputs)).unwrap();
        path
    }

    /// `y = tanh(relu(x) + x)`, with `N`.
    pub fn small(&self) -> PathBuf {
        let nodes: [(&str, &[&str], &str); 3] =
            [("Relu", &["x"], "h"), ("Add", &["h", "x"], "s"), ("Tanh", &["s"], "y")];
        self.model("small.onnx", &["x"], &nodes, &["y"])
    }

    /// `y = relu(x · w)` over `f32[N,3]`, with `w = [2, 3, 4]` in the file.
    pub fn weighted(&self) -> PathBuf {
        let path = self.path("weighted.onnx");
        let raw: Vec<u8> = [2f32, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let w = [number(1, 3), number(2, 1), bytes(8, b"w"), bytes(9, &raw)].concat();
        let nodes: [(&str, &[&str], &str); 2] = [("Mul", &["x", "w"], "m"), ("Relu", &["m"], "y")];
        let graph = [graph(&["x"], &nodes, &["y"]), bytes(5, &w)].concat();
        std::fs::write(&path, whole(&graph)).unwrap();
        path
    }

    /// `y` is the sequence `xs` without its last element, `z` the optional `o`; all of `f32[N,3]`.
    pub fn sequences(&self) -> PathBuf {
        let path = self.path("sequences.onnx");
        let nodes: [(&str, &[&str], &str); 2] =
            [("SequenceErase", &["xs"], "y"), ("Optional", &["o"], "z")];
        let mut graph = graph(&[], &nodes, &[]);
        // Sequence types are field 4 of a type, optional ones field 9.
        for (list, name, kind) in [(11, "xs", 4), (11, "o", 9), (12, "y", 4), (12, "z", 9)] {
            let ty = bytes(kind, &bytes(1, &matrix_type()));
            graph.extend(bytes(list, &[bytes(1, name.as_bytes()), bytes(2, &ty)].concat()));
        }
        std::fs::write(&path, whole(&graph)).unwrap();
        path
    }

    /// Runs the command in the folder.
    pub fn cascata(&self, args: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cascata"));
        Run { output: command.args(args).current_dir(self.folder.path()).output().unwrap() }
    }

    /// Runs the command, which must end with 0, and gives what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let run = self.cascata(args);
        assert_eq!(run.code(), 0, "{args:?}: {}", run.stderr());
        run.stdout()
    }

    /// As [`Scene::ok`], parsed.
    pub fn json(&self, args: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// Runs the command, which must end with `code`, and gives its message.
    pub fn fails(&self, code: i32, args: &[&str]) -> String {
        let run = self.cascata(args);
        assert_eq!(run.code(), code, "{args:?}: {}\n{}", run.stderr(), run.stdout());
        run.stderr()
    }
}

/// What a command did.
pub struct Run {
    output: Output,
}

impl Run {
    pub fn code(&self) -> i32 {
        self.output.status.code().unwrap()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).unwrap()
    }
}

/// The shipped model.
pub fn magika() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/magika/model.onnx")
}

fn model(inputs: &[&str], nodes: &[(&str, &[&str], &str)], outputs: &[&str]) -> Vec<u8> {
    whole(&graph(inputs, nodes, outputs))
}

/// A model of one graph.
fn whole(graph: &[u8]) -> Vec<u8> {
    [number(1, 8), bytes(7, graph), bytes(8, &number(2, 15))].concat()
}

fn graph(inputs: &[&str], nodes: &[(&str, &[&str], &str)], outputs: &[&str]) -> Vec<u8> {
    let mut graph = Vec::new();
    for (op, inputs, output) in nodes {
        let mut node: Vec<u8> = inputs.iter().flat_map(|i| bytes(1, i.as_bytes())).collect();
        node.extend(
            [bytes(2, output.as_bytes()), bytes(3, format!("node_{output}").as_bytes())].concat(),
        );
        node.extend(bytes(4, op.as_bytes()));
        graph.extend(bytes(1, &node));
    }
    graph.extend(bytes(2, b"small"));
    inputs.iter().for_each(|name| graph.extend(bytes(11, &value_info(name))));
    outputs.iter().for_each(|name| graph.extend(bytes(12, &value_info(name))));
    graph
}

/// A value of type `f32[N,3]`.
fn value_info(name: &str) -> Vec<u8> {
    [bytes(1, name.as_bytes()), bytes(2, &matrix_type())].concat()
}

/// `f32[N,3]`.
fn matrix_type() -> Vec<u8> {
    let dims = [bytes(1, &bytes(2, b"N")), bytes(1, &number(1, 3))].concat();
    bytes(1, &[number(1, 1), bytes(2, &dims)].concat())
}

/// A length-delimited protobuf field.
fn bytes(field: u8, data: &[u8]) -> Vec<u8> {
    [vec![field << 3 | 2], varint(data.len() as u64), data.to_vec()].concat()
}

/// A varint protobuf field.
fn number(field: u8, value: u64) -> Vec<u8> {
    [vec![field << 3], varint(value)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// The folder of a text model in the cache; `None` where models are to be skipped.
pub fn text_folder(name: &str) -> Option<PathBuf> {
    if std::env::var_os("CASCATA_SKIP_MODELS").is_some_and(|v| v == "1") {
        println!("skipped: CASCATA_SKIP_MODELS=1");
        return None;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache");
    let cache = std::env::var_os("CASCATA_CACHE").map_or(here, PathBuf::from);
    let folder = cache.join("text").join(name);
    assert!(folder.join("outputs.npz").is_file(), "no {name}: run tests/setup_env.sh");
    Some(folder)
}

/// Its directory.
pub fn text_model(name: &str) -> Option<PathBuf> {
    Some(text_folder(name)?.join("model"))
}
