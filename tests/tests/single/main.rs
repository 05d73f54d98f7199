//! Single ops through the whole compiled path against the graph interpreter.
//!
//! Each case is one op in a graph of its own, compiled at O0 for one thread and at O2 for
//! two. Shapes are asymmetric and include 1.
#![forbid(unsafe_code)]

mod attention;
mod bf16;
mod bits;
mod blocks;
mod control;
mod conv;
mod conv_rows;
mod conv_taps;
mod dynamic;
mod fetch;
mod half;
mod integers;
mod recurrent;
mod reduce;
mod resize;
mod search;
mod strings;
mod variants;

use cascata_codegen::cpu::CpuLevel;
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::{Element, Tensor, run};
use cascata_ir::kernel::{Stmt, parse_kernel};
use cascata_ir::op::{ChannelLayout, ConvAttrs, Op};
use cascata_passes::pipeline::OptLevel;
use cascata_runtime::Runtime;
use cascata_runtime::format::ArtifactReader;
use cascata_tests::pipeline;
use cascata_types::{DType, Dim, Shape, SymbolId, SymbolTable, TensorType};

/// An operand of the op under test.
enum Arg {
    /// An input of fixed dims.
    Input(Tensor),
    /// An input whose dims have names where one is given.
    Named(Tensor, &'static [&'static str]),
    /// A constant.
    Const(Tensor),
    /// A value computed where it is read: a fill of an f32 tensor.
    Fill(Vec<i64>, f32),
}

/// A tensor; `dims` must fit the number of values.
fn t<T: Element>(dims: &[usize], values: impl Into<Vec<T>>) -> Tensor {
    Tensor::new(dims, values.into()).unwrap()
}

/// Multiples of 1/8 in −9/8..=9/8, in no simple order.
fn pattern(dims: &[usize], seed: usize) -> Tensor {
    let n: usize = dims.iter().product();
    let at = |i: usize| ((i * 7 + i / 5 * 3 + seed * 5) % 19) as f32 / 8.0 - 1.125;
    t(dims, (0..n).map(at).collect::<Vec<_>>())
}

/// The value and the tensor to pass for it, if it is an input.
fn add(graph: &mut Graph, i: usize, arg: Arg) -> (ValueId, Option<(String, Tensor)>) {
    let fixed = |x: &Tensor| {
        let dims: Vec<i64> = x.dims().iter().map(|d| *d as i64).collect();
        TensorType::fixed(x.dtype(), &dims)
    };
    let name = format!("x{i}");
    match arg {
        Arg::Const(x) => {
            let ty = fixed(&x);
            (graph.add_const(Graph::ROOT, name, ty, x.to_le_bytes().into()), None)
        }
        Arg::Fill(dims, value) => {
            let shape: Shape = dims.into_iter().map(Dim::from).collect();
            let op = Op::Fill { value: cascata_types::Scalar::f32(value), shape };
            (graph.add1(Graph::ROOT, op, vec![], "fill").unwrap(), None)
        }
        Arg::Input(x) => {
            let v = graph.add_param(Graph::ROOT, &name, fixed(&x));
            (v, Some((name, x)))
        }
        Arg::Named(x, names) => {
            let dims = x.dims().iter().zip(names);
            let mut dim = |(d, n): (&usize, &&str)| match *n {
                "" => Dim::from(*d as i64),
                n => Dim::sym(graph.symbols.intern(n)),
            };
            let shape: Shape = dims.map(&mut dim).collect();
            let v = graph.add_param(Graph::ROOT, &name, TensorType::dense(x.dtype(), shape));
            (v, Some((name, x)))
        }
    }
}

/// Named inputs.
type Inputs = Vec<(String, Tensor)>;

/// The graph of `build(graph, operands) → results`, with the inputs to pass.
fn graph_of(
    args: Vec<Arg>,
    build: impl FnOnce(&mut Graph, Vec<ValueId>) -> Vec<ValueId>,
) -> (Graph, Inputs) {
    let mut graph = Graph::new("one");
    let (mut operands, mut inputs) = (Vec::new(), Vec::new());
    for (i, arg) in args.into_iter().enumerate() {
        let (v, input) = add(&mut graph, i, arg);
        operands.push(v);
        inputs.extend(input);
    }
    for (i, v) in build(&mut graph, operands).into_iter().enumerate() {
        graph.add_output(format!("y{i}"), v);
    }
    (graph, inputs)
}

fn artifact(graph: Graph, level: OptLevel) -> Vec<u8> {
    let fused = pipeline::fused_graph(graph, level).unwrap();
    pipeline::artifact(&fused, &[CpuLevel::V3]).unwrap_or_else(|e| panic!("{e}"))
}

/// Shapes of products: odd ones, batches, broadcasts, none, several K blocks of which the last
/// is shorter and odd.
const PRODUCTS: [(&[usize], &[usize]); 8] = [
    (&[1, 1], &[1, 1]),
    (&[5, 3], &[3, 17]),
    (&[70, 33], &[33, 50]),
    (&[2, 3, 7, 5], &[5, 9]),
    (&[2, 1, 7, 6], &[3, 6, 9]),
    (&[0, 4], &[4, 3]),
    (&[3, 0], &[0, 4]),
    (&[3, 1027], &[1027, 20]),
];

/// Zeros before and after, of two axes.
type Pads = [(i64, i64); 2];

/// Channels, outputs, groups and pads of convolutions with a kernel 3x2, the last one depthwise.
const CONVOLUTIONS: [(usize, usize, i64, Pads); 5] = [
    (3, 5, 1, [(0, 0), (0, 0)]),
    (5, 17, 1, [(1, 0), (0, 2)]),
    (16, 33, 1, [(1, 1), (1, 0)]),
    (6, 9, 3, [(1, 0), (0, 2)]),
    (4, 4, 4, [(1, 1), (1, 1)]),
];

/// A convolution with strides, channels first.
fn strided_conv(groups: i64, pads: Pads) -> Op {
    Op::Conv(ConvAttrs {
        strides: vec![2, 1],
        pads: pads.to_vec(),
        dilations: vec![1, 1],
        groups,
        layout: ChannelLayout::First,
    })
}

/// The result of one more op.
fn then(g: &mut Graph, op: Op, operands: &[ValueId]) -> ValueId {
    g.add1(Graph::ROOT, op, operands.to_vec(), "op").unwrap()
}

/// The type of the right factors of the first micro-kernel of a product that an artifact calls.
fn multiplied(artifact: &[u8]) -> Option<DType> {
    let manifest = ArtifactReader::parse(artifact).and_then(|r| r.full_manifest()).unwrap();
    let texts = manifest.provenance.kernel_ir.values();
    texts.map(|text| parse_kernel(text).expect("a kernel")).find_map(|kernel| {
        let right = kernel.body.iter().find_map(|s| match s {
            Stmt::Gemm(g) => Some(g.b.buffer),
            _ => None,
        })?;
        Some(kernel.buffers[right].dtype)
    })
}

/// Compiles and compares with the interpreter.
#[track_caller]
fn check_graph(
    args: Vec<Arg>,
    tolerance: f64,
    build: impl FnOnce(&mut Graph, Vec<ValueId>) -> Vec<ValueId>,
) {
    let (graph, inputs) = graph_of(args, build);
    let tensors: Vec<Tensor> = inputs.iter().map(|(_, x)| x.clone()).collect();
    let expected = run(&graph, &tensors).unwrap_or_else(|e| panic!("interpreter: {e}"));
    for (level, threads) in [(OptLevel::O0, 1), (OptLevel::O2, 2)] {
        let bytes = artifact(graph.clone(), level);
        let runtime = Runtime::builder().threads(threads).build().unwrap();
        let session = pipeline::session(&bytes, &runtime).unwrap_or_else(|e| panic!("{e}"));
        let found = pipeline::run(&session, &inputs).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            close(i, found, expected, tolerance);
        }
    }
}

/// The error text of a run that interpreter and compiled code both refuse.
fn refused(args: Vec<Arg>, build: impl FnOnce(&mut Graph, Vec<ValueId>) -> Vec<ValueId>) -> String {
    let (graph, inputs) = graph_of(args, build);
    let tensors: Vec<Tensor> = inputs.iter().map(|(_, x)| x.clone()).collect();
    run(&graph, &tensors).unwrap_err();
    let runtime = Runtime::builder().threads(1).build().unwrap();
    let session = pipeline::session(&artifact(graph, OptLevel::O0), &runtime).unwrap();
    format!("{:#}", pipeline::run(&session, &inputs).unwrap_err())
}

/// One op with all of its results.
#[track_caller]
fn check(op: Op, args: Vec<Arg>, tolerance: f64) {
    check_graph(args, tolerance, |g, operands| g.add(Graph::ROOT, op, operands, "op").unwrap());
}

/// Asserts equality within `tolerance` (absolute and relative), dims and dtype exact.
#[track_caller]
fn close(result: usize, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!((found.dtype(), found.dims()), (expected.dtype(), expected.dims()));
    let Some(b) = expected.to_f64() else { return assert_eq!(found, expected) };
    let a = found.to_f64().unwrap();
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        let near = (a - b).abs() <= tolerance * b.abs().max(1.0);
        let same = near || a == b || (a.is_nan() && b.is_nan());
        assert!(same, "result {result}, element {i}: {a}, expected {b}");
    }
}

/// A symbol that an op binds.
fn bound(symbols: &mut SymbolTable, name: &str, max: i64) -> SymbolId {
    symbols.fresh(name, 0, max)
}
