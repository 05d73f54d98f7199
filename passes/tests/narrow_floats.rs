//! Factors of f32 contractions become bf16 where that is asked for.

use cascata_ir::graph::{Graph, ValueId};
use cascata_ir::interp::{self, Tensor};
use cascata_ir::op::{ChannelLayout, ConvAttrs, Op};
use cascata_ir::types::{DType, Encoding, QuantFormat, TensorType};
use cascata_passes::fuse::NarrowFactor;
use cascata_passes::narrow_floats::narrow_floats;
use cascata_passes::pipeline::{OptLevel, Options, Precision, pipeline};

fn add(g: &mut Graph, op: Op, operands: &[ValueId]) -> ValueId {
    g.add1(Graph::ROOT, op, operands.to_vec(), "").expect("well-typed")
}

/// Numbers that bf16 does not hold.
fn values(dims: &[usize], seed: usize) -> Tensor {
    let n: usize = dims.iter().product();
    let at = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0;
    Tensor::new(dims, (0..n).map(at).collect::<Vec<f32>>()).unwrap()
}

fn fixed(dims: &[usize]) -> TensorType {
    let dims: Vec<i64> = dims.iter().map(|d| *d as i64).collect();
    TensorType::fixed(DType::F32, &dims)
}

/// `op` of an input and known weights.
fn graph(op: Op, x: &[usize], w: &[usize]) -> Graph {
    let mut g = Graph::new("one");
    let a = g.add_param(Graph::ROOT, "x", fixed(x));
    let b = g.add_const(Graph::ROOT, "w", fixed(w), values(w, 2).to_le_bytes().into());
    let y = add(&mut g, op, &[a, b]);
    g.add_output("y", y);
    g
}

/// Narrows a copy, and holds its result to `2^-8·Σ|a·b|`, given the number of products.
fn narrowed(g: &Graph, x: &[usize], products: f64) -> (usize, Graph) {
    let mut after = g.clone();
    let changed = narrow_floats(&mut after).unwrap();
    cascata_ir::verify::verify(&after).unwrap();
    let of = |g: &Graph| interp::run(g, &[values(x, 1)]).unwrap()[0].to_f64().unwrap();
    let (before, found) = (of(g), of(&after));
    let apart = before.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(apart <= products / 256.0, "{apart}");
    assert_eq!(changed > 0, apart > 0.0, "{apart}");
    (changed, after)
}

fn conv(groups: i64) -> Op {
    Op::Conv(ConvAttrs {
        strides: vec![1],
        pads: vec![(1, 0)],
        dilations: vec![1],
        groups,
        layout: ChannelLayout::Last,
    })
}

#[test]
fn products_and_convolutions_are_narrowed() {
    for (op, x, w, products) in [
        (Op::MatMul, &[3, 5][..], &[5, 4][..], 5.0),
        (conv(1), &[1, 6, 4], &[3, 4, 5], 12.0),
        (conv(2), &[1, 6, 4], &[3, 2, 6], 6.0),
    ] {
        let (changed, after) = narrowed(&graph(op, x, w), x, products);
        assert_eq!(changed, 1);
        let pairs =
            after.root().nodes.iter().filter_map(|n| NarrowFactor::pair(&after, &after.nodes[*n]));
        let dtypes: Vec<_> = pairs.map(|pair| pair.map(|f| f.dtype(&after))).collect();
        assert_eq!(dtypes, [[DType::BF16; 2]]);
        let weights = after.consts.values().filter(|c| c.ty.dtype == DType::BF16).count();
        assert_eq!(weights, 1, "known weights are stored so");
    }
}

/// Blocks of a language model's file are known: they become bf16 when the model is compiled.
#[test]
fn block_quantised_weights_are_stored_as_bf16() {
    let scale = 0x1c01u16.to_le_bytes(); // A half float with more bits than a bf16 has.
    let block =
        |row: u8| scale.into_iter().chain((0..32u8).map(move |i| (row * 31).wrapping_add(i * 7)));
    let blocks: Vec<u8> = (0..4).flat_map(block).collect();
    let mut g = Graph::new("blocks");
    let x = g.add_param(Graph::ROOT, "x", fixed(&[3, 32]));
    let ty = TensorType { encoding: Encoding::Quant(QuantFormat::Q8_0), ..fixed(&[4, 32]) };
    let w = g.add_const(Graph::ROOT, "w", ty, blocks.into());
    let w = add(&mut g, Op::Pack { encoding: Encoding::Dense }, &[w]);
    let w = add(&mut g, Op::Transpose { perm: vec![1, 0] }, &[w]);
    let y = add(&mut g, Op::MatMul, &[x, w]);
    g.add_output("y", y);
    let (changed, after) = narrowed(&g, &[3, 32], 32.0);
    let stored = after.consts.values().filter(|c| c.ty.dtype == DType::BF16).count();
    assert_eq!((changed, stored), (1, 1));
    let packs =
        after.root().nodes.iter().filter(|n| matches!(after.nodes[**n].op, Op::Pack { .. }));
    assert_eq!(packs.count(), 0);
}

/// Two contractions share a narrowed factor.
#[test]
fn a_factor_is_narrowed_once() {
    let mut g = graph(Op::MatMul, &[3, 5], &[5, 4]);
    let x = g.root().params[0];
    let w = g.add_const(Graph::ROOT, "v", fixed(&[5, 2]), values(&[5, 2], 3).to_le_bytes().into());
    let y = add(&mut g, Op::MatMul, &[x, w]);
    g.add_output("z", y);
    let (changed, after) = narrowed(&g, &[3, 5], 5.0);
    let casts =
        after.root().nodes.iter().filter(|n| after.nodes[**n].op == Op::Cast { to: DType::BF16 });
    assert_eq!((changed, casts.count()), (2, 1));
}

#[test]
fn what_has_no_micro_kernel_stays() {
    let depthwise = graph(conv(4), &[1, 6, 4], &[3, 1, 4]);
    assert_eq!(narrowed(&depthwise, &[1, 6, 4], 3.0).0, 0);
    // Groups of weights that are not known.
    let mut g = Graph::new("groups");
    let x = g.add_param(Graph::ROOT, "x", fixed(&[1, 6, 4]));
    let w = g.add_param(Graph::ROOT, "w", fixed(&[3, 2, 6]));
    let y = add(&mut g, conv(2), &[x, w]);
    g.add_output("y", y);
    assert_eq!(narrow_floats(&mut g).unwrap(), 0);
    // Doubles.
    let mut g = Graph::new("doubles");
    let [a, b] =
        ["a", "b"].map(|n| g.add_param(Graph::ROOT, n, TensorType::fixed(DType::F64, &[2, 2])));
    let y = add(&mut g, Op::MatMul, &[a, b]);
    g.add_output("y", y);
    assert_eq!(narrow_floats(&mut g).unwrap(), 0);
}

#[test]
fn the_pipeline_runs_it_where_it_is_asked_for() {
    let has = |precision, level| {
        let options = Options { precision, level, ..Options::default() };
        pipeline(&options).iter().any(|p| p.name == "narrow-floats")
    };
    for level in [OptLevel::O0, OptLevel::O1, OptLevel::O2] {
        assert!(has(Precision::Bf16, level) && !has(Precision::F32, level));
    }
}
