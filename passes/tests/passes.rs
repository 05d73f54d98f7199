//! Single passes: what they must do and what they must leave.

use bytes::Bytes;
use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::{self, Tensor};
use cascata_ir::op::{BinaryOp, ChannelLayout, ConvAttrs, Op, SliceRange, UnaryOp};
use cascata_ir::types::{DType, Dim, Scalar, TensorType};
use cascata_passes::canonicalise::canonicalise;
use cascata_passes::fold::{Budget, fold};
use cascata_passes::pad_columns::pad_columns;
use cascata_passes::{dims, horizontal};

fn names(graph: &Graph) -> Vec<&'static str> {
    graph.root().nodes.iter().map(|n| graph.nodes[*n].op.name()).collect()
}

fn add(graph: &mut Graph, op: Op, operands: &[ValueId]) -> ValueId {
    graph.add1(Graph::ROOT, op, operands.to_vec(), "").expect("well-typed")
}

fn weight(graph: &mut Graph, dims: &[i64], seed: i64) -> ValueId {
    let n: i64 = dims.iter().product();
    let data: Vec<u8> =
        (0..n).flat_map(|i| (((i * 7 + seed) % 11) as f32 - 5.0).to_le_bytes()).collect();
    graph.add_const(Graph::ROOT, "", TensorType::fixed(DType::F32, dims), Bytes::from(data))
}

fn shape(dims: &[i64]) -> Vec<Dim> {
    dims.iter().map(|&d| d.into()).collect()
}

#[test]
fn small_constants_fold_and_large_formulas_stay() {
    let mut g = Graph::new("fold");
    let (a, b) = (weight(&mut g, &[3, 5], 1), weight(&mut g, &[5], 2));
    let small = add(&mut g, Op::Binary(BinaryOp::Mul), &[a, b]);
    let wide = add(&mut g, Op::Broadcast { shape: shape(&[1 << 12, 3, 5]) }, &[small]);
    g.add_output("small", small);
    g.add_output("wide", wide);
    assert_eq!(fold(&mut g, Budget::default()), 1);
    assert!(g.as_const(small).is_some());
    assert!(g.as_const(wide).is_none(), "60 bytes would become 240 KB");
}

#[test]
fn converted_weights_stay_narrow() {
    let mut g = Graph::new("int8");
    let ty = TensorType::fixed(DType::I8, &[400, 300]);
    let data: Vec<u8> = (0..400 * 300).map(|i| (i % 251) as u8).collect();
    let q = g.add_const(Graph::ROOT, "q", ty, data.into());
    let w = add(&mut g, Op::Cast { to: DType::F32 }, &[q]);
    g.add_output("w", w);
    assert_eq!(fold(&mut g, Budget::default()), 0);
}

#[test]
fn movement_that_moves_nothing_disappears() {
    let mut g = Graph::new("movement");
    let x = g.add_param(Graph::ROOT, "x", TensorType::fixed(DType::F32, &[3, 5, 2]));
    let y = add(&mut g, Op::Transpose { perm: vec![2, 0, 1] }, &[x]);
    let y = add(&mut g, Op::Transpose { perm: vec![1, 2, 0] }, &[y]);
    let y = add(&mut g, Op::Reshape { shape: shape(&[15, 2]) }, &[y]);
    let y = add(&mut g, Op::Reshape { shape: shape(&[3, 5, 2]) }, &[y]);
    let y = add(&mut g, Op::Cast { to: DType::F32 }, &[y]);
    let range = SliceRange { axis: 1, start: 0.into(), len: 5.into(), step: 1 };
    let y = add(&mut g, Op::Slice { ranges: vec![range] }, &[y]);
    g.add_output("y", y);
    canonicalise(&mut g);
    assert_eq!(names(&g), Vec::<&str>::new());
    assert_eq!(g.outputs(), [x]);
    assert_eq!(g.output_names, ["y"]);
}

#[test]
fn casts_that_lose_something_stay() {
    let mut g = Graph::new("casts");
    let x = g.add_param(Graph::ROOT, "x", TensorType::fixed(DType::F32, &[3]));
    let i = add(&mut g, Op::Cast { to: DType::I32 }, &[x]);
    let back = add(&mut g, Op::Cast { to: DType::F32 }, &[i]);
    let wide = add(&mut g, Op::Cast { to: DType::I64 }, &[i]);
    let narrow = add(&mut g, Op::Cast { to: DType::I32 }, &[wide]);
    g.add_output("back", back);
    g.add_output("narrow", narrow);
    canonicalise(&mut g);
    assert_eq!(
        names(&g),
        ["cast", "cast"],
        "i32 to i64 to i32 is nothing, f32 to i32 to f32 is not"
    );
}

#[test]
fn integers_that_saturate_by_way_of_a_float_stay() {
    let count = |from, to| {
        let mut g = Graph::new("casts");
        let x = g.add_param(Graph::ROOT, "x", TensorType::fixed(from, &[3]));
        let float = add(&mut g, Op::Cast { to: DType::F32 }, &[x]);
        let y = add(&mut g, Op::Cast { to }, &[float]);
        g.add_output("y", y);
        canonicalise(&mut g);
        names(&g).len()
    };
    // -7 is 0 by way of f32, and 65529 without.
    for (from, to) in [(DType::I16, DType::U16), (DType::U16, DType::I16), (DType::I16, DType::I8)]
    {
        assert_eq!(count(from, to), 2, "{from} to {to}");
    }
    for to in [DType::I16, DType::I32, DType::F16, DType::Bool] {
        assert_eq!(count(DType::I8, to), 1, "i8 to {to}");
    }
}

#[test]
fn equal_nodes_merge_and_random_ones_do_not() {
    use cascata_ir::op::{Distribution, RandomAttrs};
    let mut g = Graph::new("cse");
    let x = g.add_param(Graph::ROOT, "x", TensorType::fixed(DType::F32, &[3]));
    let twice = [0, 1].map(|_| add(&mut g, Op::Unary(UnaryOp::Exp), &[x]));
    let sum = add(&mut g, Op::Binary(BinaryOp::Add), &twice);
    let (low, high) = (Scalar::f32(0.0), Scalar::f32(1.0));
    let random = RandomAttrs {
        distribution: Distribution::Uniform { low, high },
        dtype: DType::F32,
        shape: shape(&[3]),
        seed: 1,
    };
    let noise = [0, 1].map(|_| add(&mut g, Op::Random(random.clone()), &[]));
    let noise = add(&mut g, Op::Binary(BinaryOp::Sub), &noise);
    g.add_output("sum", sum);
    g.add_output("noise", noise);
    canonicalise(&mut g);
    let count = |n: &str| names(&g).iter().filter(|x| **x == n).count();
    assert_eq!((count("exp"), count("random")), (1, 2));
}

#[test]
fn a_position_table_bounds_the_length() {
    let mut g = Graph::new("dims");
    let s = g.symbols.intern("S");
    g.symbols.get_mut(s).min = 1;
    let len = Dim::sym(s);
    let x =
        g.add_param(Graph::ROOT, "x", TensorType::dense(DType::F32, vec![len.clone(), 4.into()]));
    let table = weight(&mut g, &[512, 4], 3);
    let rows = len.minimum(&512.into());
    let range = SliceRange { axis: 0, start: 0.into(), len: rows, step: 1 };
    let rows = add(&mut g, Op::Slice { ranges: vec![range] }, &[table]);
    let y = add(&mut g, Op::Binary(BinaryOp::Add), &[x, rows]);
    g.add_output("y", y);
    assert_ne!(g.tensor(y).shape[0], len);
    assert_eq!(dims::simplify(&mut g), 1);
    assert_eq!(g.symbols.range(s), (1, 512));
    assert_eq!(g.tensor(y).shape[0], len);
    assert_eq!(dims::simplify(&mut g), 0);
}

#[test]
fn products_of_one_operand_become_one() {
    let mut g = Graph::new("horizontal");
    let b = Dim::sym(g.symbols.intern("B"));
    let x = g.add_param(Graph::ROOT, "x", TensorType::dense(DType::F32, vec![b, 4.into()]));
    for (i, n) in [3, 5, 2].into_iter().enumerate() {
        let (w, bias) = (weight(&mut g, &[4, n], n), weight(&mut g, &[n], n + 1));
        let y = add(&mut g, Op::MatMul, &[x, w]);
        let y = add(&mut g, Op::Binary(BinaryOp::Add), &[bias, y]);
        g.values[y].name = format!("part{i}");
        g.add_output(format!("y{i}"), y);
    }
    let source = g.clone();
    assert_eq!(horizontal::merge(&mut g), 2);
    canonicalise(&mut g);
    let count = |n: &str| names(&g).iter().filter(|x| **x == n).count();
    assert_eq!((count("matmul"), count("add"), count("slice")), (1, 1, 3));
    assert_eq!(g.values[g.outputs()[1]].name, "part1");
    let x: Vec<f64> = (0..12).map(|i| i as f64 / 8.0 - 1.0).collect();
    let x = [Tensor::from_f64(DType::F32, &[3, 4], x).expect("sizes agree")];
    assert_eq!(interp::run(&source, &x).expect("runs"), interp::run(&g, &x).expect("runs"));
}

/// A channels-last 3x3 convolution of `x: f32[1,4,5,C]`.
fn convolution(channels: i64, pads: [(i64, i64); 2], dilation: i64) -> Graph {
    let mut g = Graph::new("conv");
    let x = g.add_param(Graph::ROOT, "x", TensorType::fixed(DType::F32, &[1, 4, 5, channels]));
    let w = weight(&mut g, &[3, 3, channels, 2], 5);
    let attrs = ConvAttrs {
        strides: vec![1, 1],
        pads: pads.to_vec(),
        dilations: vec![1, dilation],
        groups: 1,
        layout: ChannelLayout::Last,
    };
    let y = add(&mut g, Op::Conv(attrs), &[x, w]);
    g.add_output("y", y);
    g
}

#[test]
fn few_channels_read_padded_columns() {
    let source = convolution(3, [(1, 1), (1, 2)], 1);
    let mut g = source.clone();
    assert_eq!(pad_columns(&mut g).expect("well-typed"), 1);
    assert!(names(&g).contains(&"pad"));
    let Some(Op::Conv(attrs)) = g.def_node(g.outputs()[0]).map(|n| &n.op) else {
        panic!("a convolution gives the result")
    };
    assert_eq!(attrs.pads, [(1, 1), (0, 0)], "rows keep their padding");
    let x: Vec<f64> = (0..60).map(|i| (i * 7 % 19) as f64 / 8.0 - 1.0).collect();
    let x = [Tensor::from_f64(DType::F32, &[1, 4, 5, 3], x).expect("sizes agree")];
    assert_eq!(interp::run(&source, &x).expect("runs"), interp::run(&g, &x).expect("runs"));
    assert_eq!(pad_columns(&mut g).expect("well-typed"), 0, "once");
}

#[test]
fn other_convolutions_keep_their_padding() {
    for (channels, pads, dilation) in
        [(16, [(1, 1), (1, 1)], 1), (3, [(1, 1), (0, 0)], 1), (3, [(1, 1), (1, 1)], 2)]
    {
        assert_eq!(pad_columns(&mut convolution(channels, pads, dilation)).expect("well-typed"), 0);
    }
}
