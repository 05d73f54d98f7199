//! Random graphs, with hostile attributes and constants, through the pipeline: what runs
//! before runs after, and bitwise passes change no bit.

#[path = "../../ir/tests/common/mod.rs"]
mod common;

use cascata_ir::graph::{Const, Graph};
use cascata_ir::interp::{self, Tensor};
use cascata_ir::print::{ConstText, PrintOptions, print};
use cascata_ir::types::DType;
use cascata_passes::pipeline::{OptLevel, Options, optimise};
use cascata_passes::rules::Exactness;
use common::{Rng, random_graph};

const GRAPHS: u64 = 800;

fn options(level: OptLevel, exactness: Exactness) -> Options {
    let mut options = Options { level, verify: true, ..Options::default() };
    options.egraph.exactness = exactness;
    options
}

fn text(graph: &Graph) -> String {
    print(graph, PrintOptions { consts: ConstText::Full })
}

/// Random bytes of float constants are mostly huge; small integers meet in more ways.
fn tame(graph: &mut Graph, rng: &mut Rng) {
    for Const { ty, data, .. } in graph.consts.values_mut() {
        if ty.dtype == DType::Bool || data.is_empty() {
            continue;
        }
        let dims: Vec<usize> =
            ty.static_shape().expect("numbers").iter().map(|&d| d as usize).collect();
        let n = dims.iter().product();
        let values: Vec<f64> = (0..n).map(|_| rng.below(5) as f64 - 1.0).collect();
        *data = tensor(ty.dtype, &dims, values).to_le_bytes().into();
    }
}

fn tensor(dtype: DType, dims: &[usize], values: Vec<f64>) -> Tensor {
    if dtype.is_float() {
        return Tensor::from_f64(dtype, dims, values).expect("sizes agree");
    }
    let ints: Vec<i128> = values.iter().map(|x| *x as i128).collect();
    Tensor::from_i128(dtype, dims, &ints).expect("sizes agree")
}

fn inputs(graph: &Graph, rng: &mut Rng) -> Option<Vec<Tensor>> {
    let bind = |s: cascata_ir::types::SymbolId| Some(2 + i64::from(s.0));
    let mut out = vec![];
    for &v in graph.inputs() {
        let ty = graph.tensor(v);
        let dims: Vec<usize> = ty
            .shape
            .iter()
            .map(|d| d.eval(&bind).ok().map(|n| n as usize))
            .collect::<Option<_>>()?;
        let values = (0..dims.iter().product()).map(|_| rng.below(9) as f64 / 2.0 - 2.0).collect();
        out.push(tensor(ty.dtype, &dims, values));
    }
    Some(out)
}

fn same(a: &Tensor, b: &Tensor) -> bool {
    let values = |t: &Tensor| t.to_f64().unwrap_or_default();
    let pairs = values(a).into_iter().zip(values(b));
    (a.dims(), a.dtype()) == (b.dims(), b.dtype())
        && pairs.into_iter().all(|(x, y)| x == y || x.is_nan() && y.is_nan())
}

#[test]
fn bitwise_passes_change_no_bit() {
    let mut ran = 0;
    for seed in 0..GRAPHS {
        let mut rng = Rng(seed);
        let mut source = random_graph(seed, 40);
        tame(&mut source, &mut rng);
        let Some(inputs) = inputs(&source, &mut rng) else { continue };
        let Ok(expected) = interp::run(&source, &inputs) else { continue };
        ran += 1;
        for level in [OptLevel::O0, OptLevel::O2] {
            let mut graph = source.clone();
            let options = options(level, Exactness::Bitwise);
            if let Err(e) = optimise(&mut graph, &options, &mut |_, _| {}) {
                panic!("seed {seed} {level:?}: {e}\n{}", text(&source));
            }
            let got = interp::run(&graph, &inputs).unwrap_or_else(|e| {
                panic!("seed {seed} {level:?}: {e}\n{}\n{}", text(&source), text(&graph))
            });
            for (i, (a, b)) in expected.iter().zip(&got).enumerate() {
                assert!(
                    same(a, b),
                    "seed {seed} {level:?} output {i}: {a:?} and {b:?}\n{}\n{}",
                    text(&source),
                    text(&graph)
                );
            }
        }
    }
    assert!(ran > GRAPHS / 8, "only {ran} graphs ran");
}

#[test]
fn all_rules_keep_types() {
    for seed in 0..GRAPHS {
        let source = random_graph(seed, 40);
        let mut graph = source.clone();
        let options = options(OptLevel::O2, Exactness::Approx(1.0));
        if let Err(e) = optimise(&mut graph, &options, &mut |_, _| {}) {
            panic!("seed {seed}: {e}\n{}", text(&source));
        }
        for (a, b) in source.outputs().iter().zip(graph.outputs()) {
            assert_eq!(
                source.ty(*a).as_tensor().map(|t| t.dtype),
                graph.ty(*b).as_tensor().map(|t| t.dtype)
            );
        }
    }
}
