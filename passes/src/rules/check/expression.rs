//! The language of rule examples.
//!
//! ```text
//! example := (name '=' term ';')* term
//! term    := '(' op ['{' attributes '}'] term* ')'
//!          | name ':' type [suffix]       an input; a repeated name is the same input
//!          | name ':=' type [suffix]      a constant
//!          | name                         a value bound before
//!          | number                       a rank-0 constant of the sibling's dtype
//! suffix  := '%' n (integers in 0..n) | ':iota' (counts along the last axis) | ':inf'
//!          | ':by3' (each index three times) | ':tril' | ':triu' | ':causal' (0 and −inf)
//! ```
//! Dims are numbers, capital letters (a random size each, asymmetric) or products.

use super::instance::{self, attributes, data};
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::Tensor;
use cascata_ir::op::Op;
use cascata_types::{DType, Scalar, TensorType};
use std::collections::HashMap;

/// A deterministic source of sizes and numbers.
pub struct Draw {
    state: u64,
    sizes: HashMap<char, i64>,
    pool: Vec<i64>,
}

impl Draw {
    /// The draws of a seed.
    pub fn new(seed: u64) -> Self {
        let state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self { state, sizes: HashMap::new(), pool: vec![1, 2, 3, 5, 4, 7, 6] }
    }

    /// The next random number.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.state >> 33
    }

    /// The size of a dim letter, different for each; H and W are large enough for filters.
    fn size(&mut self, letter: char) -> i64 {
        if let Some(n) = self.sizes.get(&letter) {
            return *n;
        }
        let n = match letter {
            'H' => 4 + (self.next() % 2) as i64,
            'W' => 6 + (self.next() % 2) as i64,
            _ => {
                let at = self.next() as usize % self.pool.len();
                self.pool.remove(at)
            }
        };
        self.sizes.insert(letter, n);
        n
    }

    /// The value of a dim's text.
    pub fn dim(&mut self, text: &str) -> i64 {
        let factor = |f: &str| match f.chars().next() {
            Some(c) if c.is_ascii_uppercase() => self.size(c),
            _ => f.parse().expect("a number"),
        };
        text.split('*').map(factor).product()
    }
}

/// One instance of an example.
pub struct Instance {
    /// What it is an instance of.
    pub text: String,
    /// The expression as a graph, with its value as output.
    pub graph: Graph,
    /// Data for the graph's inputs.
    pub inputs: Vec<Tensor>,
}

impl Instance {
    /// Draws an instance; `None` when the sizes drawn are ill-typed.
    pub fn new(text: &str, draw: &mut Draw) -> Option<Self> {
        let mut reader = Reader::new(draw);
        let root = reader.example(text)?;
        reader.finish(text, &[root])
    }

    /// One graph with two outputs.
    pub fn pair(left: &str, right: &str, draw: &mut Draw) -> Option<Self> {
        let mut reader = Reader::new(draw);
        let roots = [reader.example(left)?, reader.example(right)?];
        reader.finish(left, &roots)
    }
}

/// A value, or a number that waits for its sibling's dtype.
enum Term {
    Value(ValueId),
    Number(f64),
}

struct Reader<'a> {
    draw: &'a mut Draw,
    graph: Graph,
    names: HashMap<String, ValueId>,
    inputs: Vec<Tensor>,
}

impl<'a> Reader<'a> {
    fn new(draw: &'a mut Draw) -> Self {
        Self { draw, graph: Graph::new("instance"), names: HashMap::new(), inputs: vec![] }
    }

    fn finish(self, text: &str, roots: &[ValueId]) -> Option<Instance> {
        let mut graph = self.graph;
        for (i, root) in roots.iter().enumerate() {
            graph.add_output(format!("out{i}"), *root);
        }
        Some(Instance { text: text.to_string(), graph, inputs: self.inputs })
    }

    fn example(&mut self, text: &str) -> Option<ValueId> {
        let mut parts: Vec<&str> = text.split("; ").collect();
        let last = parts.pop()?;
        for part in parts {
            let (name, term) = part.split_once('=').expect("a binding");
            let value = self.term(&mut instance::tokens(term))?;
            let Term::Value(value) = value else { panic!("{part}: a number is bound") };
            self.names.insert(name.to_string(), value);
        }
        match self.term(&mut instance::tokens(last))? {
            Term::Value(v) => Some(v),
            Term::Number(_) => panic!("{text} is a number"),
        }
    }

    fn term(&mut self, tokens: &mut Vec<String>) -> Option<Term> {
        let token = tokens.remove(0);
        if token == "(" {
            return self.node(tokens).map(Term::Value);
        }
        if let Ok(x) = token.parse::<f64>() {
            return Some(Term::Number(x));
        }
        Some(Term::Value(self.leaf(&token)))
    }

    fn leaf(&mut self, token: &str) -> ValueId {
        let (name, rest) = token.split_once(':').unwrap_or((token, ""));
        if let Some(v) = self.names.get(name) {
            return *v;
        }
        let constant = rest.starts_with('=');
        let rest = rest.trim_start_matches('=');
        let end = rest.find(']').unwrap_or_else(|| panic!("'{token}' is not bound")) + 1;
        let (ty, suffix) = rest.split_at(end);
        let (dtype, dims) = ty.split_once('[').expect("a type");
        let dtype: DType = dtype.parse().expect("a dtype");
        let dims = dims.trim_end_matches(']').split(',').filter(|d| !d.is_empty());
        let dims: Vec<i64> = dims.map(|d| self.draw.dim(d)).collect();
        let tensor = data(self.draw, dtype, &dims, suffix);
        let ty = TensorType::fixed(dtype, &dims);
        let value = if constant {
            let bytes = tensor.to_le_bytes();
            self.graph.add_const(Graph::ROOT, name, ty, bytes.into())
        } else {
            self.inputs.push(tensor);
            self.graph.add_param(Graph::ROOT, name, ty)
        };
        self.names.insert(name.to_string(), value);
        value
    }

    fn node(&mut self, tokens: &mut Vec<String>) -> Option<ValueId> {
        let head = tokens.remove(0);
        let mut terms = vec![];
        while tokens[0] != ")" {
            terms.push(self.term(tokens)?);
        }
        tokens.remove(0);
        let op = attributes(self.draw, &head);
        let dtype = terms.iter().find_map(|t| match t {
            Term::Value(v) if self.graph.tensor(*v).dtype != DType::Bool => {
                Some(self.graph.tensor(*v).dtype)
            }
            _ => None,
        });
        let mut operands = vec![];
        for term in terms {
            operands.push(match term {
                Term::Value(v) => v,
                Term::Number(x) => {
                    let value = Scalar::from_f64(dtype.unwrap_or(DType::F32), x);
                    self.graph
                        .add1(Graph::ROOT, Op::Fill { value, shape: vec![] }, vec![], "")
                        .ok()?
                }
            });
        }
        self.graph.add1(Graph::ROOT, op, operands, head).ok()
    }
}
