//! Graphs for several profile points: different where sizes decide, the same function everywhere.

mod encoder;

use cascata_ir::graph::Graph;
use cascata_ir::interp::{self, Tensor};
use cascata_ir::op::Op;
use cascata_ir::types::{DType, Dim, SymbolId, TensorType};
use cascata_passes::egraph::cost::ProfilePoint;
use cascata_passes::pipeline::Options;
use cascata_passes::variants::{Variant, variants};
use encoder::Encoder;

const SIZES: [i64; 3] = [64, 256, 64];

/// `(a·b)·c` with `a: f32[M,K], b: f32[K,N], c: f32[N,P]`, M from 1 to 512.
fn chain() -> Graph {
    let mut graph = Graph::new("chain");
    let m = Dim::sym(graph.symbols.fresh("M", 1, 512));
    let [k, n, p] = SIZES;
    let a = graph.add_param(Graph::ROOT, "a", TensorType::dense(DType::F32, vec![m, k.into()]));
    let b = graph.add_param(Graph::ROOT, "b", TensorType::fixed(DType::F32, &[k, n]));
    let c = graph.add_param(Graph::ROOT, "c", TensorType::fixed(DType::F32, &[n, p]));
    let ab = graph.add1(Graph::ROOT, Op::MatMul, vec![a, b], "ab").unwrap();
    let y = graph.add1(Graph::ROOT, Op::MatMul, vec![ab, c], "abc").unwrap();
    graph.add_output("y", y);
    graph
}

fn inputs(m: usize) -> Vec<Tensor> {
    let [k, n, p] = SIZES.map(|s| s as usize);
    let mut state = 1u64;
    let mut tensor = |dims: &[usize]| {
        let number = |_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / (1u64 << 24) as f64 - 0.5
        };
        let values = (0..dims.iter().product()).map(number).collect();
        Tensor::from_f64(DType::F32, dims, values).expect("sizes agree")
    };
    vec![tensor(&[m, k]), tensor(&[k, n]), tensor(&[n, p])]
}

/// Index of the variant that runs for this M.
fn chosen(variants: &[Variant], m: i64) -> usize {
    let holds = |d: &Dim| d.eval(&|_: SymbolId| Some(m)).expect("bound") >= 0;
    variants.iter().position(|(guard, _)| guard.iter().all(holds)).expect("the last has no guard")
}

fn assert_same_function(source: &Graph, variant: &Graph, inputs: &[Tensor]) {
    let (a, b) = (interp::run(source, inputs).unwrap(), interp::run(variant, inputs).unwrap());
    for (x, y) in a.iter().zip(&b) {
        assert_eq!((x.dims(), x.dtype()), (y.dims(), y.dtype()));
        let (x, y) = (x.to_f64().unwrap(), y.to_f64().unwrap());
        let largest = x.iter().fold(1e-3f64, |m, v| m.max(v.abs()));
        for (p, q) in x.iter().zip(&y) {
            assert!((p - q).abs() <= 1e-4 * largest, "{p} and {q}");
        }
    }
}

#[test]
fn one_row_and_many_rows_get_their_own_order() {
    let found = variants(&chain(), &Options::default()).expect("it optimises");
    assert_eq!(found.len(), 2, "guards {:?}", found.iter().map(|v| &v.0).collect::<Vec<_>>());
    assert!(found[1].0.is_empty());
    assert_ne!(chosen(&found, 1), chosen(&found, 512));
    // The order is the other one from some M on, and stays so.
    let order: Vec<usize> = (1..=512).map(|m| chosen(&found, m)).collect();
    assert!(order.is_sorted_by(|a, b| a >= b), "{order:?}");
}

#[test]
fn variants_are_right_in_and_out_of_their_guards() {
    let source = chain();
    for (_, variant) in variants(&source, &Options::default()).expect("it optimises") {
        for m in [1, 5, 24, 512] {
            assert_same_function(&source, &variant, &inputs(m));
        }
    }
}

#[test]
fn points_can_be_given() {
    let mut options = Options::default();
    let point = |m| ProfilePoint::from_iter([("M".to_string(), m)]);
    options.egraph.profile = vec![point(1), point(4)];
    assert_eq!(variants(&chain(), &options).expect("it optimises").len(), 1);
    options.egraph.profile.push(point(400));
    assert_eq!(variants(&chain(), &options).expect("it optimises").len(), 2);
}

#[test]
fn equal_graphs_are_one() {
    let source = Encoder::default().graph();
    let found = variants(&source, &Options::default()).expect("it optimises");
    assert_eq!(found.len(), 1);
    assert!(found[0].0.is_empty());
    for (b, s) in [(1, 3), (2, 5)] {
        assert_same_function(&source, &found[0].1, &Encoder::default().inputs(b, s));
    }
}
