//! Random graphs and hostile ops: the interpreter reports, it never panics, and what it
//! computes has the inferred type.

#[path = "../common/mod.rs"]
mod common;

use super::*;
use cascata_ir::interp::{RunError, run_with};
use cascata_ir::op::*;
use cascata_ir::types::{Dim, SymbolId, ValueType};
use common::{Rng, hostile_op, random_graph};
use std::collections::BTreeMap;

/// Small numbers of both signs, zeros, and now and then NaN or an infinity.
fn tensor(r: &mut Rng, dtype: DType, dims: &[usize]) -> Tensor {
    let n = dims.iter().product();
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e30, -0.0];
    let one = |r: &mut Rng| match r.below(40) {
        0 => r.pick(&special),
        _ => r.below(9) as f64 * 0.5 - 2.0,
    };
    match dtype {
        DType::Str => t(dims, (0..n).map(|_| r.below(3).to_string()).collect::<Vec<_>>()),
        _ => Tensor::from_f64(dtype, dims, (0..n).map(|_| one(r)).collect()).unwrap(),
    }
}

fn inputs(g: &Graph, r: &mut Rng) -> Vec<Tensor> {
    let values: Vec<i64> =
        g.symbols.iter().map(|(_, s)| 1 + r.below(s.max.min(4) as usize) as i64).collect();
    let size = |d: &Dim| d.eval(&|s: SymbolId| values.get(s.0 as usize).copied()).unwrap() as usize;
    let input = |v: &_| {
        let ty = g.tensor(*v);
        let dims: Vec<usize> = ty.shape.iter().map(size).collect();
        tensor(r, ty.dtype, &dims)
    };
    g.inputs().iter().map(input).collect()
}

#[test]
fn random_graphs_run_with_their_inferred_types() {
    let (mut ran, mut ops) = (0, BTreeMap::new());
    for seed in 0..3000 {
        let g = random_graph(seed, 30);
        let inputs = inputs(&g, &mut Rng(seed));
        let mut seen = vec![];
        let result = run_with(&g, &inputs, &mut |v, _| seen.push(v));
        for node in seen.iter().filter_map(|&v| g.def_node(v)) {
            *ops.entry(node.op.name()).or_insert(0) += 1;
        }
        match result {
            Ok(_) => ran += 1,
            Err(RunError::Op { .. } | RunError::Check { .. }) => {}
            // A dim that two inputs share only through an expression.
            Err(RunError::InputDim { .. } | RunError::Dim { .. }) => {}
            Err(e) => panic!("seed {seed}: {e}"),
        }
    }
    assert!(ran > 100, "only {ran} graphs ran to their end");
    assert!(ops.len() > 20, "{ops:?}");
}

#[test]
fn hostile_ops_never_panic() {
    let mut g = Graph::new("hostile");
    let symbols = ["A", "B"].map(|n| g.symbols.intern(n));
    let bind = |s: SymbolId| symbols.contains(&s).then_some(s.0 as i64 + 2);
    let (mut computed, mut checked) = (BTreeMap::new(), 0);
    for seed in 0..300_000 {
        let mut r = Rng(seed);
        let op = hostile_op(&mut r, &symbols);
        let inputs: Vec<Tensor> = (0..r.below(5))
            .map(|_| {
                let dtype = r.pick(&[
                    DType::F32,
                    DType::F32,
                    DType::F64,
                    DType::I64,
                    DType::I32,
                    DType::Bool,
                    DType::U8,
                    DType::Str,
                ]);
                let dims: Vec<usize> = (0..r.below(5)).map(|_| r.pick(&[0, 1, 2, 2, 3])).collect();
                tensor(&mut r, dtype, &dims)
            })
            .collect();
        let refs: Vec<&Tensor> = inputs.iter().collect();
        let Ok(results) = eval_op(&op, &refs, &bind) else { continue };
        *computed.entry(op.name()).or_insert(0) += 1;
        let types: Vec<ValueType> = inputs
            .iter()
            .map(|x| {
                let dims: Vec<i64> = x.dims().iter().map(|&d| d as i64).collect();
                TensorType::fixed(x.dtype(), &dims).into()
            })
            .collect();
        let types: Vec<&ValueType> = types.iter().collect();
        let Ok(inferred) = cascata_ir::infer::infer(&op, &types, &g.symbols, &g) else { continue };
        assert_eq!(inferred.types.len(), results.len(), "seed {seed}: {op:?}");
        for (ty, x) in inferred.types.iter().filter_map(ValueType::as_tensor).zip(&results) {
            let dims: Vec<i64> = x.dims().iter().map(|&d| d as i64).collect();
            let declared: Vec<i64> = ty.shape.iter().map(|d| d.eval(&bind).unwrap()).collect();
            assert_eq!((ty.dtype, declared), (x.dtype(), dims), "seed {seed}: {op:?} {types:?}");
            checked += 1;
        }
    }
    assert!(checked > 2000 && computed.len() > 20, "{checked} {computed:?}");
}

/// Convolutions and pools with attributes that often fit: window counts of inference and
/// interpreter agree, in both layouts, and so do the elements of the layouts.
#[test]
fn windows_agree_in_both_layouts() {
    let mut computed = 0;
    for seed in 0..4000 {
        let mut r = Rng(seed);
        let spatial = 1 + r.below(2);
        let (n, groups) = (1 + r.below(2), 1 + r.below(2));
        let (c, o) = (groups * (1 + r.below(2)), groups * (1 + r.below(3)));
        let sizes: Vec<usize> = (0..spatial).map(|_| r.below(8)).collect();
        let kernel: Vec<usize> = (0..spatial).map(|_| 1 + r.below(3)).collect();
        let axis = |r: &mut Rng, low: usize, n: usize| -> Vec<i64> {
            (0..spatial).map(|_| (low + r.below(n)) as i64).collect()
        };
        let (strides, dilations, output_padding) =
            (axis(&mut r, 1, 3), axis(&mut r, 1, 2), axis(&mut r, 0, 2));
        let pads: Vec<(i64, i64)> =
            axis(&mut r, 0, 3).into_iter().zip(axis(&mut r, 0, 3)).collect();
        let x = tensor(&mut r, DType::F64, &[&[n, c], sizes.as_slice()].concat());
        let op = |layout| match seed % 4 {
            0 => Op::Conv(ConvAttrs {
                strides: strides.clone(),
                pads: pads.clone(),
                dilations: dilations.clone(),
                groups: groups as i64,
                layout,
            }),
            1 => Op::ConvTranspose(ConvTransposeAttrs {
                strides: strides.clone(),
                pads: pads.clone(),
                dilations: dilations.clone(),
                output_padding: output_padding.clone(),
                groups: groups as i64,
                layout,
            }),
            k => Op::Pool(PoolAttrs {
                kind: if k == 2 {
                    PoolKind::Max { indices: true, column_major: seed % 8 < 4 }
                } else {
                    PoolKind::Average { count_pad: seed % 8 < 4 }
                },
                kernel: kernel.iter().map(|&k| k as i64).collect(),
                strides: strides.clone(),
                pads: pads.clone(),
                dilations: dilations.clone(),
                ceil_mode: seed % 16 < 8,
                layout,
            }),
        };
        let (lead, perm): ([usize; 2], Vec<usize>) = match seed % 4 {
            0 => ([o, c / groups], (2..spatial + 2).chain([1, 0]).collect()),
            _ => ([c, o / groups], (2..spatial + 2).chain([0, 1]).collect()),
        };
        let w = tensor(&mut r, DType::F64, &[lead.as_slice(), &kernel].concat());
        let turned = |x: &Tensor, perm: &[usize]| {
            eval_op(&Op::Transpose { perm: perm.to_vec() }, &[x], &|_| None).unwrap().remove(0)
        };
        let to_last: Vec<usize> = [0].into_iter().chain(2..spatial + 2).chain([1]).collect();
        let (first, last) = match seed % 4 {
            0 | 1 => (vec![x.clone(), w.clone()], vec![turned(&x, &to_last), turned(&w, &perm)]),
            _ => (vec![x.clone()], vec![turned(&x, &to_last)]),
        };
        let refs: Vec<&Tensor> = first.iter().collect();
        if eval_op(&op(ChannelLayout::First), &refs, &|_| None).is_err() {
            continue;
        }
        computed += 1;
        let (a, b) =
            (apply(op(ChannelLayout::First), &first), apply(op(ChannelLayout::Last), &last));
        for (a, b) in a.iter().zip(&b) {
            close(&turned(a, &to_last), b, 0.0);
        }
    }
    assert!(computed > 2500, "{computed}");
}
