//! The analysis: type and constant facts of every e-class.
//!
//! Types come from `ir::infer`, the one statement of the typing rules. Two nodes of
//! one class must agree; `merge` records a conflict where they do not, and the pass
//! then fails loudly, because some rule was unsound.

use super::language::{ENode, Kind, OpTable};
use cascata_ir::graph::{Const, DimCheck, Graph};
use cascata_ir::infer;
use cascata_ir::op::{Effect, Op};
use cascata_types::{Dim, Scalar, SymbolTable, TensorType, ValueType};
use egg::{Analysis, DidMerge, Id};
use std::rc::Rc;

/// The e-graph over one slice.
pub type EGraph = egg::EGraph<ENode, SliceAnalysis>;

/// What a rule may know of the contents of a constant. Part of a slice's structural
/// key, so that slices with other facts are optimised on their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConstFacts {
    /// The element, if all are the same.
    pub uniform: Option<Scalar>,
    /// The axis along which every element is its index.
    pub iota: Option<usize>,
    /// No NaN and no infinity.
    pub finite: bool,
    /// Two numbers along a diagonal of the last two axes.
    pub triangle: Option<Triangle>,
    /// `n` where element `i` of a vector is `i / n`.
    pub repeats: Option<i64>,
}

/// A matrix (leading dims are 1) that is `inside` where `column ≤ row + offset`, else `outside`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Triangle {
    /// The diagonal; not negative.
    pub offset: i64,
    /// On the diagonal and below.
    pub inside: Scalar,
    /// Above it.
    pub outside: Scalar,
}

/// Constants above this many elements are weights: their contents are not looked at,
/// except that all rules treat them as finite only when they are seen to be.
const LOOK_ELEMENTS: usize = 1 << 20;

impl ConstFacts {
    /// Looks at the elements; one pass over the data of small constants.
    pub fn of(constant: &Const) -> Self {
        let Some(size) = constant.ty.dtype.size_bytes() else { return Self::default() };
        let Some(dims) = constant.ty.static_shape() else { return Self::default() };
        let scalar = |bytes: &[u8]| {
            let mut word = [0u8; 8];
            word[..size].copy_from_slice(bytes);
            Scalar { dtype: constant.ty.dtype, bits: u64::from_le_bytes(word) }
        };
        let elements = || constant.data.chunks_exact(size).map(scalar);
        let uniform = elements().next().filter(|first| elements().all(|e| e == *first));
        let iota = (0..dims.len()).find(|&axis| {
            let inner: i64 = dims[axis + 1..].iter().product();
            let index = |i: usize| ((i as i64 / inner.max(1)) % dims[axis]) as f64;
            dims[axis] > 1 && elements().enumerate().all(|(i, e)| e.to_f64() == index(i))
        });
        let small = constant.data.len() / size <= LOOK_ELEMENTS;
        let finite =
            !constant.ty.dtype.is_float() || small && elements().all(|e| e.to_f64().is_finite());
        let all: Vec<Scalar> = if small { elements().collect() } else { vec![] };
        Self {
            uniform,
            iota,
            finite,
            triangle: triangle(&dims, &all),
            repeats: repeats(&dims, &all),
        }
    }
}

fn triangle(dims: &[i64], all: &[Scalar]) -> Option<Triangle> {
    let [lead @ .., rows, columns] = dims else { return None };
    if *rows < 2 || *columns < 2 || lead.iter().any(|d| *d != 1) || all.is_empty() {
        return None;
    }
    let columns = *columns as usize;
    let (inside, outside) = (all[0], all[columns - 1]);
    let offset = all[..columns].iter().take_while(|x| **x == inside).count() as i64 - 1;
    let expected = |i: usize| {
        let (row, column) = ((i / columns) as i64, (i % columns) as i64);
        if column <= row + offset { inside } else { outside }
    };
    let holds = inside != outside && all.iter().enumerate().all(|(i, x)| *x == expected(i));
    holds.then_some(Triangle { offset, inside, outside })
}

fn repeats(dims: &[i64], all: &[Scalar]) -> Option<i64> {
    if dims.len() != 1 || !all.first()?.dtype.is_int() {
        return None;
    }
    let times = all.iter().take_while(|x| **x == all[0]).count();
    let expected = |i: usize| (i / times) as f64;
    let holds = all.iter().enumerate().all(|(i, x)| x.to_f64() == expected(i));
    holds.then_some(times as i64)
}

/// A value from outside of the slice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leaf {
    /// Its type.
    pub ty: ValueType,
    /// Facts, when it is a constant.
    pub constant: Option<ConstFacts>,
}

/// What is known of an e-class.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// One type per result (one, except for multi-result ops).
    pub types: Rc<[ValueType]>,
    /// Known when compiling: leaves are constants only.
    pub constant: bool,
    /// Facts on the elements of a constant.
    pub elements: ConstFacts,
}

/// The analysis of one slice, with what it needs to type new nodes.
#[derive(Debug)]
pub struct SliceAnalysis {
    /// Interned ops.
    pub ops: OpTable,
    /// Values from outside.
    pub leaves: Vec<Leaf>,
    /// Symbols of the graph.
    pub symbols: SymbolTable,
    /// Equations between dims that the graph checks anyway.
    pub checks: Rc<[DimCheck]>,
    /// Nodes that a rule replaced for good: never extracted while there is another.
    pub subsumed: Vec<ENode>,
    /// Disagreements found by `merge`; not empty means that a rule is unsound.
    pub conflicts: Vec<String>,
    /// `infer` wants a graph for constants and regions; pure ops on leaves have none.
    no_graph: Graph,
}

impl SliceAnalysis {
    /// For a slice with these leaves in a graph with these symbols and checks.
    pub fn new(leaves: Vec<Leaf>, symbols: SymbolTable, checks: Rc<[DimCheck]>) -> Self {
        let no_graph = Graph::new("");
        let (ops, subsumed, conflicts) = (OpTable::default(), vec![], vec![]);
        Self { ops, leaves, symbols, checks, subsumed, conflicts, no_graph }
    }

    /// Result types of a pure op, or `None` when it is ill-typed or would need a check
    /// between dims that the graph does not already make.
    pub fn infer(&self, op: &Op, operands: &[&ValueType]) -> Option<Vec<ValueType>> {
        let inferred = infer::infer(op, operands, &self.symbols, &self.no_graph).ok()?;
        let known = |c: &DimCheck| {
            self.checks
                .iter()
                .any(|k| (k.lhs == c.lhs && k.rhs == c.rhs) || (k.lhs == c.rhs && k.rhs == c.lhs))
        };
        inferred.checks.iter().all(known).then_some(inferred.types)
    }
}

impl Analysis<ENode> for SliceAnalysis {
    type Data = Facts;

    fn make(egraph: &mut EGraph, node: &ENode, _: Id) -> Facts {
        let me = &egraph.analysis;
        match node.kind {
            Kind::Leaf => {
                let leaf = &me.leaves[node.payload as usize];
                Facts {
                    types: Rc::new([leaf.ty.clone()]),
                    constant: leaf.constant.is_some(),
                    elements: leaf.constant.clone().unwrap_or_default(),
                }
            }
            Kind::Project => {
                let owner = &egraph[node.children[0]].data;
                let ty = owner.types[node.payload as usize].clone();
                Facts {
                    types: Rc::new([ty]),
                    constant: owner.constant,
                    elements: ConstFacts::default(),
                }
            }
            Kind::Op(_) => op_facts(egraph, me.ops.get(node.payload), &node.children),
        }
    }

    fn merge(&mut self, a: &mut Facts, b: Facts) -> DidMerge {
        if a.types != b.types {
            self.conflicts.push(format!("types {:?} and {:?}", a.types, b.types));
        }
        let uniform = (a.elements.uniform, b.elements.uniform);
        if let (Some(x), Some(y)) = uniform
            && x != y
        {
            self.conflicts.push(format!("constants {x:?} and {y:?}"));
        }
        let joined = Facts {
            types: a.types.clone(),
            constant: a.constant || b.constant,
            elements: ConstFacts {
                uniform: uniform.0.or(uniform.1),
                iota: a.elements.iota.or(b.elements.iota),
                finite: a.elements.finite || b.elements.finite,
                triangle: a.elements.triangle.or(b.elements.triangle),
                repeats: a.elements.repeats.or(b.elements.repeats),
            },
        };
        let changed = DidMerge(*a != joined, b != joined);
        *a = joined;
        changed
    }
}

fn op_facts(egraph: &EGraph, op: &Op, children: &[Id]) -> Facts {
    let operands: Vec<&Facts> = children.iter().map(|&c| &egraph[c].data).collect();
    let types: Vec<&ValueType> = operands.iter().map(|f| &f.types[0]).collect();
    let inferred = egraph.analysis.infer(op, &types).unwrap_or_default();
    let static_shape = inferred
        .iter()
        .all(|t| t.as_tensor().is_some_and(|t| t.shape.iter().all(|d| d.as_const().is_some())));
    let constant =
        op.effect() == Effect::Pure && static_shape && operands.iter().all(|f| f.constant);
    Facts { types: inferred.into(), constant, elements: elements(op, &operands) }
}

/// Facts that survive data movement, and those of leaves with an attribute for a value.
fn elements(op: &Op, operands: &[&Facts]) -> ConstFacts {
    match op {
        Op::Fill { value, .. } => ConstFacts {
            uniform: Some(*value),
            finite: value.to_f64().is_finite(),
            ..ConstFacts::default()
        },
        Op::Iota { shape, axis, .. } => ConstFacts {
            iota: Some(*axis).filter(|&a| shape[a].as_const().is_some_and(|d| d > 1)),
            finite: true,
            ..ConstFacts::default()
        },
        Op::Reshape { .. } | Op::Transpose { .. } | Op::Broadcast { .. } | Op::Slice { .. } => {
            let ConstFacts { uniform, finite, .. } = operands[0].elements.clone();
            ConstFacts { uniform, finite, ..ConstFacts::default() }
        }
        _ => ConstFacts::default(),
    }
}

/// The type of a class with one result.
///
/// # Panics
/// If the class holds no tensor; slices hold tensors only.
pub fn tensor(egraph: &EGraph, id: Id) -> &TensorType {
    egraph[id].data.types[0].as_tensor().expect("slices hold tensors only")
}

/// The element if every element of the class is the same number.
pub fn uniform(egraph: &EGraph, id: Id) -> Option<Scalar> {
    egraph[id].data.elements.uniform
}

/// Whether the dims are the same once ones are dropped: a reshape between two such
/// shapes keeps every element's meaning.
pub fn same_but_ones(a: &[Dim], b: &[Dim]) -> bool {
    let strip = |s: &[Dim]| s.iter().filter(|d| !d.is(1)).cloned().collect::<Vec<_>>();
    strip(a) == strip(b)
}
