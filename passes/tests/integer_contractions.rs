//! Contractions of dequantised integers become contractions of integers, where that is sound.

use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::{self, Element, Tensor};
use cascata_ir::op::{
    BinaryOp, ChannelLayout, ConvAttrs, ConvTransposeAttrs, Op, PadMode, SliceRange, UnaryOp,
};
use cascata_ir::types::{DType, Dim, Scalar, Shape, TensorType};
use cascata_passes::integer_contractions::integer_contractions;
use cascata_passes::narrow_integers::narrow_integers;
use cascata_passes::pipeline::{OptLevel, Options, optimise, pipeline};
use cascata_passes::rules::Exactness;

fn add(g: &mut Graph, op: Op, operands: &[ValueId]) -> ValueId {
    g.add1(Graph::ROOT, op, operands.to_vec(), "").expect("well-typed")
}

fn input(g: &mut Graph, name: &str, dtype: DType, dims: &[i64]) -> ValueId {
    g.add_param(Graph::ROOT, name, TensorType::fixed(dtype, dims))
}

fn stored(g: &mut Graph, x: &Tensor) -> ValueId {
    let dims: Vec<i64> = x.dims().iter().map(|d| *d as i64).collect();
    let ty = TensorType::fixed(x.dtype(), &dims);
    g.add_const(Graph::ROOT, "c", ty, x.to_le_bytes().into())
}

fn constant<T: Element>(g: &mut Graph, dims: &[usize], values: Vec<T>) -> ValueId {
    stored(g, &Tensor::new(dims, values).unwrap())
}

fn number(g: &mut Graph, x: f32) -> ValueId {
    add(g, Op::Fill { value: Scalar::f32(x), shape: vec![] }, &[])
}

fn binary(g: &mut Graph, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
    add(g, Op::Binary(op), &[a, b])
}

fn cast(g: &mut Graph, v: ValueId, to: DType) -> ValueId {
    add(g, Op::Cast { to }, &[v])
}

fn shape(dims: &[i64]) -> Shape {
    dims.iter().map(|d| Dim::from(*d)).collect()
}

/// Bytes, or wider integers, in no simple order; all of 8 bits.
fn values(dtype: DType, dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    let shift = if matches!(dtype, DType::U8) { 128 } else { 0 };
    let at = |i: i128| (i * 37 + i / 3 * 11) % 256 - 128 + shift;
    Tensor::from_i128(dtype, dims, &(0..n as i128).map(at).collect::<Vec<_>>()).unwrap()
}

/// Scales between 1/512 and 1/64.
fn scales(n: usize) -> Vec<f32> {
    (0..n).map(|i| (1 + i % 7) as f32 / 512.0).collect()
}

/// `(q − zero) · scale` as the ONNX importer writes it; `scale` has the shape it broadcasts with.
fn dequantised(g: &mut Graph, q: ValueId, zero: Option<i64>, scale: ValueId) -> ValueId {
    let mut y = cast(g, q, DType::I32);
    if let Some(zero) = zero {
        let value = Scalar::from_i64(g.tensor(q).dtype, zero);
        let zero = add(g, Op::Fill { value, shape: vec![] }, &[]);
        let zero = cast(g, zero, DType::I32);
        y = binary(g, BinaryOp::Sub, y, zero);
    }
    let y = cast(g, y, DType::F32);
    binary(g, BinaryOp::Mul, y, scale)
}

/// A u8 input with a scale of one element.
fn left(g: &mut Graph, dims: &[i64]) -> ValueId {
    let (q, scale) = (input(g, "x", DType::U8, dims), number(g, 0.03));
    dequantised(g, q, Some(131), scale)
}

/// An i8 constant with scales of this shape.
fn right(g: &mut Graph, dims: &[usize], scale: &[usize]) -> ValueId {
    let q = stored(g, &values(DType::I8, dims));
    let scale = constant(g, scale, scales(scale.iter().product()));
    dequantised(g, q, None, scale)
}

fn conv_of(groups: i64, layout: ChannelLayout) -> Op {
    Op::Conv(ConvAttrs {
        strides: vec![2, 1],
        pads: vec![(1, 1), (0, 2)],
        dilations: vec![1, 1],
        groups,
        layout,
    })
}

fn conv(groups: i64) -> Op {
    conv_of(groups, ChannelLayout::First)
}

/// Rewrites a copy; it computes the same, and this many contractions of it are of integers.
fn rewritten(g: &Graph, inputs: &[Tensor]) -> (usize, Graph) {
    let mut after = g.clone();
    let changed = integer_contractions(&mut after).unwrap();
    cascata_ir::verify::verify(&after).unwrap();
    close(&interp::run(&after, inputs).unwrap(), &interp::run(g, inputs).unwrap());
    let integers = |g: &Graph| {
        let nodes = g.root().nodes.iter().map(|n| &g.nodes[*n]);
        let of = |v: ValueId| g.tensor(v).dtype == DType::I32;
        nodes.filter(|n| matches!(n.op, Op::MatMul | Op::Conv(_)) && of(n.outputs[0])).count()
    };
    assert_eq!(integers(&after), changed);
    let mut narrow = after.clone();
    assert_eq!(narrow_integers(&mut narrow).unwrap(), changed, "all of them get micro-kernels");
    (changed, after)
}

/// Equal up to rounding, against the largest element.
fn close(a: &[Tensor], b: &[Tensor]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert_eq!((a.dims(), a.dtype()), (b.dims(), b.dtype()));
        let (a, b) = (a.to_f64().unwrap(), b.to_f64().unwrap());
        let most = b.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        let apart = a.iter().zip(&b).fold(0.0, |m: f64, (x, y)| m.max((x - y).abs()));
        assert!(apart <= 1e-5 * most, "{apart} of {most}");
    }
}

/// Whether `op` of an input `x: u8[..]`, as `first` makes a factor of it, and what `second`
/// makes becomes one of integers.
fn fires(
    op: Op,
    dims: &[usize],
    first: impl FnOnce(&mut Graph, ValueId) -> ValueId,
    second: impl FnOnce(&mut Graph) -> ValueId,
) -> bool {
    let mut g = Graph::new("contraction");
    let dims64: Vec<i64> = dims.iter().map(|d| *d as i64).collect();
    let x = left(&mut g, &dims64);
    let (a, b) = (first(&mut g, x), second(&mut g));
    let y = add(&mut g, op, &[a, b]);
    g.add_output("y", y);
    rewritten(&g, &[values(DType::U8, dims)]).0 == 1
}

fn matmul_fires(scale: &[usize]) -> bool {
    fires(Op::MatMul, &[2, 5, 6], |_, x| x, |g| right(g, &[6, 4], scale))
}

#[test]
fn products_with_a_scale_per_tensor_or_per_column() {
    for scale in [&[][..], &[1], &[1, 1], &[4], &[1, 4]] {
        assert!(matmul_fires(scale), "{scale:?}");
    }
}

#[test]
fn a_scale_along_what_is_summed_stays() {
    assert!(!matmul_fires(&[6, 1]));
    assert!(!matmul_fires(&[6, 4]), "nor along two axes");
    let scaled_left = |scale: &[usize]| {
        let mut g = Graph::new("left");
        let q = input(&mut g, "x", DType::U8, &[5, 6]);
        let scale = constant(&mut g, scale, scales(scale.iter().product()));
        let (a, b) = (dequantised(&mut g, q, Some(3), scale), right(&mut g, &[6, 4], &[4]));
        let y = add(&mut g, Op::MatMul, &[a, b]);
        g.add_output("y", y);
        rewritten(&g, &[values(DType::U8, &[5, 6])]).0 == 1
    };
    assert!(scaled_left(&[1]) && scaled_left(&[5, 1]), "one scale, or one per row");
    assert!(!scaled_left(&[6]) && !scaled_left(&[5, 6]));
}

/// Columns of a batch of weights, each with scales of its own, are not the result's columns.
#[test]
fn a_scale_along_the_batch_stays() {
    let batched =
        |scale: &[usize]| fires(Op::MatMul, &[3, 5, 6], |_, x| x, |g| right(g, &[3, 6, 4], scale));
    assert!(batched(&[1, 1, 4]));
    assert!(!batched(&[3, 1, 1]) && !batched(&[3, 1, 4]));
}

#[test]
fn convolutions_with_a_bias() {
    for (layout, x, w, scale) in [
        (ChannelLayout::First, [2, 3, 7, 6], [5, 3, 3, 2], vec![5, 1, 1, 1]),
        (ChannelLayout::Last, [2, 7, 6, 3], [3, 2, 3, 5], vec![5]),
    ] {
        let mut g = Graph::new("conv");
        let a = left(&mut g, &x.map(|d| d as i64));
        let b = right(&mut g, &w, &scale);
        let bias = constant(&mut g, &[5], vec![1.5f32, -2.0, 0.0, 30.0, 0.25]);
        let y = add(&mut g, conv_of(1, layout), &[a, b, bias]);
        g.values[y].name = "features".into();
        g.add_output("y", y);
        let (changed, after) = rewritten(&g, &[values(DType::U8, &x)]);
        assert_eq!(changed, 1);
        assert_eq!(after.values[after.outputs()[0]].name, "features");
    }
}

#[test]
fn a_convolution_with_a_scale_along_what_is_summed_stays() {
    let with = |scale: &[usize]| {
        fires(conv(1), &[2, 3, 7, 6], |_, x| x, |g| right(g, &[5, 3, 3, 2], scale))
    };
    assert!(with(&[]) && with(&[5, 1, 1, 1]));
    assert!(!with(&[3, 1, 1]) && !with(&[2]) && !with(&[3, 1]));
    // A convolution's other factor has a scale per tensor only.
    let mut g = Graph::new("per channel");
    let q = input(&mut g, "x", DType::U8, &[1, 3, 7, 6]);
    let scale = constant(&mut g, &[3, 1, 1], scales(3));
    let (a, b) = (dequantised(&mut g, q, None, scale), right(&mut g, &[5, 3, 3, 2], &[]));
    let y = add(&mut g, conv(1), &[a, b]);
    g.add_output("y", y);
    assert_eq!(rewritten(&g, &[values(DType::U8, &[1, 3, 7, 6])]).0, 0);
}

#[test]
fn grouped_convolutions_of_known_weights() {
    let x = [2, 6, 7, 6];
    assert!(fires(conv(2), &x, |_, x| x, |g| right(g, &[4, 3, 3, 2], &[4, 1, 1, 1])));
    assert!(!fires(conv(6), &x, |_, x| x, |g| right(g, &[6, 1, 3, 2], &[6, 1, 1, 1])), "depthwise");
    assert!(!fires(conv(6), &x, |_, x| x, |g| right(g, &[12, 1, 3, 2], &[])), "with a multiplier");
    for (groups, channels, changed) in [(1, 6, 1), (2, 3, 0)] {
        let mut g = Graph::new("weights at run time");
        let a = left(&mut g, &[2, 6, 7, 6]);
        let (q, scale) = (input(&mut g, "w", DType::I8, &[4, channels, 3, 2]), number(&mut g, 0.5));
        let b = dequantised(&mut g, q, None, scale);
        let y = add(&mut g, conv(groups), &[a, b]);
        g.add_output("y", y);
        let w = values(DType::I8, &[4, channels as usize, 3, 2]);
        assert_eq!(rewritten(&g, &[values(DType::U8, &x), w]).0, changed, "{groups} groups");
    }
}

#[test]
fn transposed_convolutions_stay() {
    let op = Op::ConvTranspose(ConvTransposeAttrs {
        strides: vec![2, 1],
        pads: vec![(0, 0), (0, 0)],
        dilations: vec![1, 1],
        output_padding: vec![0, 0],
        groups: 1,
        layout: ChannelLayout::First,
    });
    assert!(!fires(op, &[2, 3, 7, 6], |_, x| x, |g| right(g, &[3, 4, 3, 2], &[])));
}

/// `x·w` of these dtypes without zero points, K being a number or a symbol's range.
fn long_product(k: impl Into<Dim>, g: &mut Graph, dtypes: [DType; 2]) -> usize {
    let (k, scale) = (k.into(), number(g, 0.5));
    let mut factor = |name: &str, dtype, dims: [Dim; 2]| {
        let q = g.add_param(Graph::ROOT, name, TensorType::dense(dtype, dims.to_vec()));
        dequantised(g, q, None, scale)
    };
    let a = factor("x", dtypes[0], [2.into(), k.clone()]);
    let b = factor("w", dtypes[1], [k, 3.into()]);
    let y = add(g, Op::MatMul, &[a, b]);
    g.add_output("y", y);
    integer_contractions(g).unwrap()
}

/// 65793 · 255 · 128 is below 2³¹, one more is not.
#[test]
fn sums_that_may_leave_i32_stay() {
    let bytes = [DType::U8, DType::I8];
    let number = |k: i64| long_product(k, &mut Graph::new("number"), bytes);
    assert_eq!((number(65793), number(65794)), (1, 0));
    let symbol = |most: i64| {
        let mut g = Graph::new("symbol");
        let k = g.symbols.fresh("k", 1, most);
        long_product(Dim::sym(k), &mut g, bytes)
    };
    assert_eq!((symbol(65793), symbol(65794)), (1, 0));
    // 131071 · 128 · 128 with both signed.
    let signed = |k: i64| long_product(k, &mut Graph::new("signed"), [DType::I8; 2]);
    assert_eq!((signed(131_071), signed(131_072)), (1, 0));
}

/// What a constant holds counts, not what its dtype could.
#[test]
fn small_weights_allow_longer_sums() {
    let with = |weight: i8| {
        let mut g = Graph::new("weights");
        let q = g.add_param(Graph::ROOT, "x", TensorType::fixed(DType::U8, &[1, 65794]));
        let scale = number(&mut g, 0.5);
        let a = dequantised(&mut g, q, None, scale);
        let w = constant(&mut g, &[65794, 1], [1, weight].repeat(65794 / 2));
        let b = dequantised(&mut g, w, None, scale);
        let y = add(&mut g, Op::MatMul, &[a, b]);
        g.add_output("y", y);
        integer_contractions(&mut g).unwrap()
    };
    assert_eq!((with(-127), with(-128)), (1, 0));
}

#[test]
fn taps_count_as_products() {
    let with = |channels: i64| {
        let mut g = Graph::new("taps");
        let scale = number(&mut g, 0.5);
        let x = input(&mut g, "x", DType::U8, &[1, channels, 7, 6]);
        let w = input(&mut g, "w", DType::I8, &[1, channels, 3, 2]);
        let [a, b] = [x, w].map(|q| dequantised(&mut g, q, None, scale));
        let y = add(&mut g, conv(1), &[a, b]);
        g.add_output("y", y);
        integer_contractions(&mut g).unwrap()
    };
    assert_eq!((with(65793 / 6), with(65793 / 6 + 1)), (1, 0));
}

#[test]
fn wider_integers_stay() {
    let bytes = |dtypes| long_product(4, &mut Graph::new("dtypes"), dtypes);
    assert_eq!(bytes([DType::I8, DType::U8]), 1);
    assert_eq!(bytes([DType::I16, DType::I8]), 0);
    assert_eq!(bytes([DType::U8, DType::I16]), 0);
    assert_eq!(bytes([DType::I32, DType::I8]), 0);
}

/// Only sums of f32 have micro-kernels that a rounding of f32 later replaces.
#[test]
fn other_floats_stay() {
    for (dtype, changed) in [(DType::F32, 1), (DType::F64, 0), (DType::F16, 0)] {
        let mut g = Graph::new("floats");
        let x = input(&mut g, "x", DType::U8, &[2, 3]);
        let w = input(&mut g, "w", DType::I8, &[3, 4]);
        let [a, b] = [x, w].map(|q| {
            let q = cast(&mut g, q, dtype);
            let scale = Op::Fill { value: Scalar::from_f64(dtype, 0.5), shape: vec![] };
            let scale = add(&mut g, scale, &[]);
            binary(&mut g, BinaryOp::Mul, q, scale)
        });
        let y = add(&mut g, Op::MatMul, &[a, b]);
        g.add_output("y", y);
        assert_eq!(integer_contractions(&mut g).unwrap(), changed, "{dtype}");
    }
}

/// A scale of 1 is no product, and it may be the left operand.
#[test]
fn spellings_of_a_dequantisation() {
    let mut g = Graph::new("spellings");
    let x = input(&mut g, "x", DType::U8, &[5, 6]);
    let a = cast(&mut g, x, DType::F32);
    let w = stored(&mut g, &values(DType::I8, &[6, 4]));
    let (w, scale) = (cast(&mut g, w, DType::F32), constant(&mut g, &[4], scales(4)));
    let b = binary(&mut g, BinaryOp::Mul, scale, w);
    let y = add(&mut g, Op::MatMul, &[a, b]);
    g.add_output("y", y);
    assert_eq!(rewritten(&g, &[values(DType::U8, &[5, 6])]).0, 1);
}

#[test]
fn one_factor_of_floats_stays() {
    let floats = |g: &mut Graph| constant(g, &[6, 4], scales(24));
    assert!(!fires(Op::MatMul, &[5, 6], |_, x| x, floats));
    let relu = |g: &mut Graph, x| add(g, Op::Unary(UnaryOp::Relu), &[x]);
    assert!(!fires(Op::MatMul, &[5, 6], relu, |g| right(g, &[6, 4], &[])));
}

/// Weights `[N, K]` with a scale per row, as Gemm's `transB` has them.
#[test]
fn a_scale_follows_its_axis() {
    let transposed = |scale: &[usize]| {
        fires(
            Op::MatMul,
            &[5, 6],
            |_, x| x,
            |g| {
                let w = right(g, &[4, 6], scale);
                add(g, Op::Transpose { perm: vec![1, 0] }, &[w])
            },
        )
    };
    assert!(transposed(&[4, 1]) && !transposed(&[6]));
    let reshaped = |dims: &[usize], scale: &[usize], to: &[i64]| {
        fires(
            Op::MatMul,
            &[5, 6],
            |_, x| x,
            |g| {
                let w = right(g, dims, scale);
                add(g, Op::Reshape { shape: shape(to) }, &[w])
            },
        )
    };
    assert!(reshaped(&[2, 3, 4], &[4], &[6, 4]) && reshaped(&[6, 4, 1], &[4, 1], &[6, 4]));
    assert!(!reshaped(&[6, 2, 2], &[2], &[6, 4]), "half of the columns");
    assert!(!reshaped(&[4, 6], &[4, 1], &[6, 4]), "each column has several scales");
    let sliced = |axis: usize, scale: &[usize]| {
        fires(
            Op::MatMul,
            &[5, 6],
            |_, x| x,
            |g| {
                let w = right(g, &[7 - axis, 4 + axis], scale);
                let range = SliceRange {
                    axis,
                    start: 1.into(),
                    len: (6 - 2 * axis as i64).into(),
                    step: 1,
                };
                add(g, Op::Slice { ranges: vec![range] }, &[w])
            },
        )
    };
    assert!(sliced(0, &[4]) && sliced(1, &[1]) && !sliced(1, &[5]));
}

#[test]
fn movement_before_a_factor_is_repeated_on_integers() {
    let moved = |g: &mut Graph, x| {
        let x = add(g, Op::Transpose { perm: vec![1, 0, 2] }, &[x]);
        add(g, Op::Reshape { shape: shape(&[5, 12]) }, &[x])
    };
    assert!(fires(Op::MatMul, &[2, 5, 6], moved, |g| right(g, &[12, 4], &[4])));
    let padded = |mode: PadMode, value: f32| {
        let pads = [(0, 0), (0, 0), (1, 2), (0, 1)].map(|(a, b)| (Dim::from(a), Dim::from(b)));
        let pad = |g: &mut Graph, x| {
            let value = number(g, value);
            add(g, Op::Pad { pads: pads.to_vec(), mode }, &[x, value])
        };
        fires(conv(1), &[1, 3, 7, 6], pad, |g| right(g, &[5, 3, 3, 2], &[5, 1, 1, 1]))
    };
    assert!(padded(PadMode::Constant, 0.0) && padded(PadMode::Reflect, 0.0));
    assert!(!padded(PadMode::Constant, 0.5));
}

#[test]
fn other_users_of_a_dequantised_value_keep_it() {
    let mut g = Graph::new("users");
    let x = left(&mut g, &[5, 6]);
    let residual = add(&mut g, Op::Unary(UnaryOp::Relu), &[x]);
    g.add_output("residual", residual);
    for (name, columns) in [("a", 4), ("b", 3)] {
        let w = right(&mut g, &[6, columns], &[columns]);
        let y = add(&mut g, Op::MatMul, &[x, w]);
        g.add_output(name, y);
    }
    assert_eq!(rewritten(&g, &[values(DType::U8, &[5, 6])]).0, 2);
}

fn layer() -> Graph {
    let mut g = Graph::new("layer");
    let (x, w) = (left(&mut g, &[5, 6]), right(&mut g, &[6, 4], &[4]));
    let y = add(&mut g, Op::MatMul, &[x, w]);
    g.add_output("y", y);
    g
}

/// It runs at the highest level, before `fold`, and not where every bit must stay.
#[test]
fn the_pipeline_runs_it_where_rounding_may_change() {
    let inputs = [values(DType::U8, &[5, 6])];
    let expected = interp::run(&layer(), &inputs).unwrap();
    for (level, exactness, ints) in [
        (OptLevel::O2, Exactness::Reassociates, true),
        (OptLevel::O2, Exactness::Bitwise, false),
        (OptLevel::O1, Exactness::Reassociates, false),
    ] {
        let mut options = Options { level, verify: true, ..Options::default() };
        options.egraph.exactness = exactness;
        let names: Vec<_> = pipeline(&options).iter().map(|p| p.name).collect();
        let at = |name: &str| names.iter().position(|n| *n == name);
        assert!(at("integer-contractions") < at("fold"));
        let mut g = layer();
        optimise(&mut g, &options, &mut |_, _| {}).unwrap();
        let products = g.nodes.values().filter(|n| n.op == Op::MatMul);
        let found: Vec<_> = products.map(|n| g.tensor(n.outputs[0]).dtype).collect();
        assert_eq!(found, [if ints { DType::I32 } else { DType::F32 }]);
        close(&interp::run(&g, &inputs).unwrap(), &expected);
    }
}
