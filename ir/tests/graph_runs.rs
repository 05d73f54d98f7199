//! Runs `filetests/graph/*.txt` in the interpreter where a file says what comes out:
//!
//! ```text
//! // run x=[2,2](1 2 3 4) m=[2](0 1) -> y=[1,2](3 4)
//! ```
//! Tensors are dims and elements in row-major order; dtypes are the graph's.

use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::{Tensor, run};
use cascata_ir::parse::parse;
use cascata_ir::types::DType;
use std::path::Path;

#[test]
fn graph_files_compute_what_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/graph");
    let (mut runs, mut failures) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).expect("the filetests folder") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a file");
        let graph = parse(&text).unwrap_or_else(|e| panic!("{}:{e}", path.display()));
        for directive in text.lines().filter_map(|l| l.strip_prefix("// run ")) {
            runs += 1;
            if let Err(e) = check(&graph, directive) {
                failures.push(format!("{}: '{directive}': {e}", path.display()));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(runs >= 7, "only {runs} directives");
}

fn check(graph: &Graph, directive: &str) -> Result<(), String> {
    let (given, expected) = directive.split_once("->").ok_or("no '->'")?;
    let (given, expected) = (arrays(given)?, arrays(expected)?);
    let operand = |v: &ValueId| {
        let name = &graph.values[*v].name;
        find(&given, name)?.tensor(graph.tensor(*v).dtype)
    };
    let inputs = graph.inputs().iter().map(operand).collect::<Result<Vec<_>, String>>()?;
    let outputs = run(graph, &inputs).map_err(|e| e.to_string())?;
    if expected.len() != outputs.len() {
        return Err(format!("{} results, {} are expected", outputs.len(), expected.len()));
    }
    for (name, got) in graph.output_names.iter().zip(&outputs) {
        let want = find(&expected, name)?.tensor(got.dtype())?;
        if *got != want {
            return Err(format!("{name} is {:?} {:?}", got.dims(), got.to_f64()));
        }
    }
    Ok(())
}

struct Array {
    name: String,
    dims: Vec<usize>,
    values: Vec<f64>,
}

impl Array {
    fn tensor(&self, dtype: DType) -> Result<Tensor, String> {
        let integers: Vec<i128> = self.values.iter().map(|x| *x as i128).collect();
        let made = match dtype.is_float() {
            true => Tensor::from_f64(dtype, &self.dims, self.values.clone()),
            false => Tensor::from_i128(dtype, &self.dims, &integers),
        };
        made.map_err(|e| format!("{}: {e}", self.name))
    }
}

fn find<'a>(arrays: &'a [Array], name: &str) -> Result<&'a Array, String> {
    arrays.iter().find(|a| a.name == name).ok_or(format!("nothing is said about '{name}'"))
}

/// `x=[2,2](1 2 3 4) m=[](1)`.
fn arrays(text: &str) -> Result<Vec<Array>, String> {
    let one = |part: &str| {
        let (name, rest) = part.split_once("=[").ok_or(format!("no '=[' in '{part}'"))?;
        let (dims, values) = rest.split_once("](").ok_or(format!("no '](' in '{part}'"))?;
        Ok(Array {
            name: name.trim().into(),
            dims: numbers(dims, ',')?.into_iter().map(|d| d as usize).collect(),
            values: numbers(values, ' ')?,
        })
    };
    text.split(')').map(str::trim).filter(|p| !p.is_empty()).map(one).collect()
}

fn numbers(text: &str, separator: char) -> Result<Vec<f64>, String> {
    let parts = text.split(separator).map(str::trim).filter(|p| !p.is_empty());
    parts.map(|x| x.parse().map_err(|e| format!("'{x}': {e}"))).collect()
}
