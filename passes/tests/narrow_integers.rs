//! Factors of integer contractions become bytes or i16, where they provably are.

use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::{self, Element, Tensor};
use cascata_ir::op::{BinaryOp, ChannelLayout, ConvAttrs, GroupKind, Op, PadMode, UnaryOp};
use cascata_ir::types::{DType, Dim, Scalar, TensorType};
use cascata_passes::fuse::{NarrowFactor, fuse};
use cascata_passes::narrow_integers::narrow_integers;

fn add(g: &mut Graph, op: Op, operands: &[ValueId]) -> ValueId {
    g.add1(Graph::ROOT, op, operands.to_vec(), "").expect("well-typed")
}

fn input(g: &mut Graph, name: &str, dtype: DType, dims: &[i64]) -> ValueId {
    g.add_param(Graph::ROOT, name, TensorType::fixed(dtype, dims))
}

fn constant<T: Element>(g: &mut Graph, dims: &[usize], values: Vec<T>) -> ValueId {
    let x = Tensor::new(dims, values).unwrap();
    let dims: Vec<i64> = dims.iter().map(|d| *d as i64).collect();
    let ty = TensorType::fixed(x.dtype(), &dims);
    g.add_const(Graph::ROOT, "w", ty, x.to_le_bytes().into())
}

fn i32_of(g: &mut Graph, v: ValueId) -> ValueId {
    add(g, Op::Cast { to: DType::I32 }, &[v])
}

fn number(g: &mut Graph, value: i64) -> ValueId {
    let value = Scalar::from_i64(DType::I32, value);
    add(g, Op::Fill { value, shape: vec![] }, &[])
}

fn binary(g: &mut Graph, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
    add(g, Op::Binary(op), &[a, b])
}

/// Numbers of any dtype in no simple order.
fn values(dtype: DType, dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    let all: Vec<i128> = (0..n as i128).map(|i| (i * 37 + i / 3 * 11) % 256 - 128).collect();
    let shift = if matches!(dtype, DType::U8 | DType::U16) { 128 } else { 0 };
    Tensor::from_i128(dtype, dims, &all.iter().map(|x| x + shift).collect::<Vec<_>>()).unwrap()
}

/// Narrows a copy; the number of contractions changed, and that nothing else did.
fn narrowed(g: &Graph, inputs: &[Tensor]) -> (usize, Graph) {
    let mut after = g.clone();
    let changed = narrow_integers(&mut after).unwrap();
    cascata_ir::verify::verify(&after).unwrap();
    assert_eq!(interp::run(&after, inputs).unwrap(), interp::run(g, inputs).unwrap());
    (changed, after)
}

/// `x·w` for a factor that `build` makes of an input, and a weight of i8; whether it is narrowed.
fn narrows(dtype: DType, build: impl FnOnce(&mut Graph, ValueId) -> ValueId) -> bool {
    let mut g = Graph::new("factor");
    let x = input(&mut g, "x", dtype, &[3, 4]);
    let left = build(&mut g, x);
    let w = constant(&mut g, &[4, 2], vec![1i8, -2, 3, -128, 127, 0, 5, 6]);
    let w = i32_of(&mut g, w);
    let y = add(&mut g, Op::MatMul, &[left, w]);
    g.add_output("y", y);
    narrowed(&g, &[values(dtype, &[3, 4])]).0 == 1
}

#[test]
fn centred_bytes_are_narrow() {
    assert!(narrows(DType::U8, i32_of));
    assert!(narrows(DType::I16, i32_of), "all of i16, its least number too");
    assert!(narrows(DType::U8, |g, x| {
        let (x, zero) = (i32_of(g, x), number(g, 255));
        binary(g, BinaryOp::Sub, x, zero)
    }));
}

#[test]
fn what_may_not_fit_stays() {
    assert!(!narrows(DType::I32, |_, x| x));
    assert!(!narrows(DType::U16, i32_of));
    // 32640 + 127 is the largest i16.
    let shifted = |by: i64| {
        narrows(DType::I8, |g, x| {
            let (x, by) = (i32_of(g, x), number(g, by));
            binary(g, BinaryOp::Add, x, by)
        })
    };
    assert!(shifted(32640) && !shifted(32641));
    assert!(shifted(-32640) && !shifted(-32641));
    let clamped = |low: i64, high: i64| {
        narrows(DType::I32, |g, x| {
            let (low, high) = (number(g, low), number(g, high));
            let x = binary(g, BinaryOp::Max, x, low);
            binary(g, BinaryOp::Min, x, high)
        })
    };
    assert!(clamped(-32768, 32767) && !clamped(-32769, 32767) && !clamped(-32768, 32768));
    // −(−32768) does not fit.
    assert!(!narrows(DType::I16, |g, x| {
        let x = i32_of(g, x);
        add(g, Op::Unary(UnaryOp::Neg), &[x])
    }));
    // Products are not followed.
    assert!(!narrows(DType::I8, |g, x| {
        let (x, one) = (i32_of(g, x), number(g, 1));
        binary(g, BinaryOp::Mul, x, one)
    }));
    // A sum of i32 may wrap, so that its least operand does not bound it.
    assert!(!narrows(DType::I32, |g, x| {
        let big = number(g, i64::from(i32::MAX));
        binary(g, BinaryOp::Add, x, big)
    }));
}

#[test]
fn movement_is_followed() {
    let pad = |value: i64| {
        narrows(DType::U8, |g, x| {
            let (x, value) = (i32_of(g, x), number(g, value));
            let x = add(g, Op::Slice { ranges: vec![] }, &[x]);
            let pads = vec![(Dim::from(0), Dim::from(0)); 2];
            add(g, Op::Pad { pads, mode: PadMode::Constant }, &[x, value])
        })
    };
    assert!(pad(-32768) && !pad(32768));
    let joined = |other: i64| {
        narrows(DType::U8, |g, x| {
            let (x, other) = (i32_of(g, x), number(g, other));
            let other = add(g, Op::Broadcast { shape: vec![1.into(), 4.into()] }, &[other]);
            let x = add(g, Op::Concat { axis: 0 }, &[x, other]);
            add(g, Op::Transpose { perm: vec![0, 1] }, &[x])
        })
    };
    assert!(joined(32767) && !joined(32768));
}

/// The second factor counts as well.
#[test]
fn both_factors_must_fit() {
    for (weight, fits) in [(-32768, true), (-32769, false), (32768, false)] {
        let mut g = Graph::new("weights");
        let x = input(&mut g, "x", DType::I8, &[1, 2]);
        let (x, w) = (i32_of(&mut g, x), constant(&mut g, &[2, 1], vec![7i32, weight]));
        let y = add(&mut g, Op::MatMul, &[x, w]);
        g.add_output("y", y);
        let (changed, _) = narrowed(&g, &[values(DType::I8, &[1, 2])]);
        assert_eq!(changed == 1, fits, "{weight}");
    }
}

/// `(x − zero)·w` twice over one `x`, as quantised layers are imported.
fn quantised() -> Graph {
    let mut g = Graph::new("quantised");
    let x = input(&mut g, "x", DType::U8, &[3, 4]);
    let zero = input(&mut g, "zero", DType::U8, &[]);
    let (x, zero) = (i32_of(&mut g, x), i32_of(&mut g, zero));
    let x = binary(&mut g, BinaryOp::Sub, x, zero);
    for (i, name) in ["a", "b"].into_iter().enumerate() {
        let w = constant(&mut g, &[4, 2], (0..8).map(|k| (k * 31 + i) as u8).collect());
        let (w, zero) = (i32_of(&mut g, w), number(&mut g, 128));
        let w = binary(&mut g, BinaryOp::Sub, w, zero);
        let y = add(&mut g, Op::MatMul, &[x, w]);
        let y = add(&mut g, Op::Cast { to: DType::F32 }, &[y]);
        g.add_output(name, y);
    }
    g
}

fn quantised_inputs() -> [Tensor; 2] {
    [values(DType::U8, &[3, 4]), Tensor::new(&[], vec![255u8]).unwrap()]
}

#[test]
fn known_factors_become_constants_and_others_are_narrowed_once() {
    let (changed, g) = narrowed(&quantised(), &quantised_inputs());
    assert_eq!(changed, 2);
    let to = |dtype| {
        let nodes = g.root().nodes.iter().map(|n| &g.nodes[*n]);
        nodes.filter(|n| matches!(n.op, Op::Cast { to } if to == dtype)).count()
    };
    assert_eq!((to(DType::U8), to(DType::I16)), (0, 0), "x is bytes; the weights are constants");
    let of_i8 = g.consts.values().filter(|c| c.ty.dtype == DType::I8).count();
    assert_eq!(of_i8, 2);
    let subtractions =
        g.root().nodes.iter().filter(|n| matches!(g.nodes[**n].op, Op::Binary(BinaryOp::Sub)));
    assert_eq!(subtractions.count(), 2, "of x, for each; what computed the weights is gone");
}

/// Groups around contractions read bytes, which others write.
#[test]
fn the_widening_joins_the_contraction_and_nothing_before_it_does() {
    let (_, mut g) = narrowed(&quantised(), &quantised_inputs());
    fuse(&mut g);
    cascata_ir::verify::verify(&g).unwrap();
    let mut contractions = 0;
    for id in &g.root().nodes {
        let node = &g.nodes[*id];
        let Op::Group { kind: GroupKind::Contraction, body } = node.op else { continue };
        contractions += 1;
        let members = &g.regions[body].nodes;
        let names: Vec<&str> = members.iter().map(|n| g.nodes[*n].op.name()).collect();
        // Of x, its zero point, the weights, and the sums.
        assert_eq!(names.iter().filter(|n| **n == "cast").count(), 4, "{names:?}");
        for v in &node.inputs {
            assert!(matches!(g.tensor(*v).dtype, DType::U8 | DType::I8));
        }
    }
    assert_eq!(contractions, 2);
}

/// A cast to i32 of anything else stays out: the operand is then i32 in memory.
#[test]
fn other_casts_do_not_join() {
    let mut g = Graph::new("i8");
    let x = input(&mut g, "x", DType::I8, &[3, 4]);
    let w = input(&mut g, "w", DType::I8, &[4, 2]);
    let (x, w) = (i32_of(&mut g, x), i32_of(&mut g, w));
    let y = add(&mut g, Op::MatMul, &[x, w]);
    g.add_output("y", y);
    fuse(&mut g);
    assert_eq!(g.root().nodes.len(), 3);
}

/// The types in memory of the factors of `x·w` for a left factor that `build` makes of inputs
/// (of these types and dims) and a known right one.
fn factors_of(
    inputs: &[(DType, &[i64])],
    w: (&[usize], Vec<i32>),
    build: impl FnOnce(&mut Graph, &[ValueId]) -> ValueId,
) -> Option<[DType; 2]> {
    let mut g = Graph::new("factors");
    let xs: Vec<ValueId> =
        inputs.iter().map(|(dtype, dims)| input(&mut g, "x", *dtype, dims)).collect();
    let left = build(&mut g, &xs);
    let w = constant(&mut g, w.0, w.1);
    let y = add(&mut g, Op::MatMul, &[left, w]);
    g.add_output("y", y);
    let dims = |dims: &[i64]| dims.iter().map(|d| *d as usize).collect::<Vec<_>>();
    let data: Vec<Tensor> = inputs.iter().map(|(t, d)| values(*t, &dims(d))).collect();
    let (_, after) = narrowed(&g, &data);
    let contraction = after.root().nodes.iter().find(|n| after.nodes[**n].op == Op::MatMul)?;
    let pair = NarrowFactor::pair(&after, &after.nodes[*contraction])?;
    Some(pair.map(|f| f.dtype(&after)))
}

const BYTES: Option<[DType; 2]> = Some([DType::U8, DType::I8]);
const WORDS: Option<[DType; 2]> = Some([DType::I16, DType::I16]);

fn weights() -> (&'static [usize], Vec<i32>) {
    (&[4, 2], vec![127, -128, 0, 1, -1, 5, 77, -77])
}

fn less(g: &mut Graph, v: &[ValueId]) -> ValueId {
    let (x, zero) = (i32_of(g, v[0]), i32_of(g, v[1]));
    binary(g, BinaryOp::Sub, x, zero)
}

#[test]
fn left_factors_become_bytes() {
    let u8s: (DType, &[i64]) = (DType::U8, &[3, 4]);
    let i8s: (DType, &[i64]) = (DType::I8, &[3, 4]);
    assert_eq!(factors_of(&[u8s], weights(), |g, v| i32_of(g, v[0])), BYTES);
    // A zero point of any shape of one element, known at run time.
    assert_eq!(factors_of(&[u8s, (DType::U8, &[])], weights(), less), BYTES);
    assert_eq!(factors_of(&[u8s, (DType::U8, &[1, 1])], weights(), less), BYTES);
    // i8, by a zero point of 128; with one of its own, by their sum.
    assert_eq!(factors_of(&[i8s], weights(), |g, v| i32_of(g, v[0])), BYTES);
    let shifted = |zero: i64| {
        factors_of(&[i8s], weights(), |g, v| {
            let (x, zero) = (i32_of(g, v[0]), number(g, zero));
            binary(g, BinaryOp::Sub, x, zero)
        })
    };
    assert_eq!((shifted(-128), shifted(127)), (BYTES, BYTES));
    assert_eq!((shifted(-129), shifted(128)), (WORDS, WORDS), "zero points of 9 bits");
    // Behind views, with a zero point of more axes than what is left.
    let viewed = |g: &mut Graph, v: &[ValueId]| {
        let x = less(g, v);
        let x = add(g, Op::Transpose { perm: vec![0, 2, 1] }, &[x]);
        add(g, Op::Reshape { shape: vec![3.into(), 4.into()] }, &[x])
    };
    let inputs: [(DType, &[i64]); 2] = [(DType::U8, &[1, 4, 3]), (DType::U8, &[1, 1, 1])];
    assert_eq!(factors_of(&inputs, weights(), viewed), BYTES);
}

#[test]
fn other_factors_stay_words() {
    let u8s: (DType, &[i64]) = (DType::U8, &[3, 4]);
    // A zero point a row, and those that no byte holds.
    assert_eq!(factors_of(&[u8s, (DType::U8, &[3, 1])], weights(), less), WORDS);
    assert_eq!(factors_of(&[u8s, (DType::I8, &[])], weights(), less), WORDS);
    assert_eq!(factors_of(&[u8s, (DType::I32, &[])], weights(), less), None);
    assert_eq!(factors_of(&[(DType::I8, &[3, 4]), (DType::I8, &[])], weights(), less), WORDS);
    // Weights beyond i8.
    for w in [128, -129] {
        let w = (&[4, 1][..], vec![1, w, 0, 5]);
        assert_eq!(factors_of(&[u8s], w, |g, v| i32_of(g, v[0])), WORDS);
    }
}

/// Panels need a known depth, and known weights.
#[test]
fn what_cannot_be_packed_stays_words() {
    let dtype_of_left = |depth: Dim, known: bool| {
        let mut g = Graph::new("packed");
        let k = g.symbols.fresh("K", 1, 9);
        let depth = if depth.is(0) { Dim::sym(k) } else { depth };
        let ty = TensorType { shape: vec![2.into(), depth], ..TensorType::fixed(DType::U8, &[]) };
        let x = g.add_param(Graph::ROOT, "x", ty);
        let w = match known {
            true => constant(&mut g, &[4, 1], vec![1i8, 2, 3, 4]),
            false => input(&mut g, "w", DType::I8, &[4, 1]),
        };
        let (x, w) = (i32_of(&mut g, x), i32_of(&mut g, w));
        let ty = TensorType::fixed(DType::I32, &[2, 1]);
        let y = g.add_node_typed(Graph::ROOT, Op::MatMul, vec![x, w], vec![ty.into()], "")[0];
        g.add_output("y", y);
        assert_eq!(narrow_integers(&mut g).unwrap(), 1);
        let id = g.root().nodes.iter().find(|n| g.nodes[**n].op == Op::MatMul).unwrap();
        NarrowFactor::pair(&g, &g.nodes[*id]).map(|[left, _]| left.dtype(&g))
    };
    assert_eq!(dtype_of_left(4.into(), true), Some(DType::U8));
    assert_eq!(dtype_of_left(0.into(), true), Some(DType::I16));
    assert_eq!(dtype_of_left(4.into(), false), Some(DType::I16));
}

#[test]
fn convolutions_are_narrowed() {
    let mut g = Graph::new("conv");
    let x = input(&mut g, "x", DType::U8, &[1, 5, 6, 3]);
    let x = i32_of(&mut g, x);
    let w = constant(&mut g, &[2, 3, 3, 4], (0..72).map(|i| (i * 29) as i8).collect());
    let w = i32_of(&mut g, w);
    let attrs = ConvAttrs {
        strides: vec![1, 2],
        pads: vec![(1, 0), (0, 1)],
        dilations: vec![1, 1],
        groups: 1,
        layout: ChannelLayout::Last,
    };
    let y = add(&mut g, Op::Conv(attrs), &[x, w]);
    g.add_output("y", y);
    assert_eq!(narrowed(&g, &[values(DType::U8, &[1, 5, 6, 3])]).0, 1);
}
