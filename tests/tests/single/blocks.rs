//! Products by block-quantised constants, and rows of them: both read the blocks as they are.

use super::*;
use cascata_ir::types::{Encoding, QuantFormat};

/// Blocks of any codes, with scales that are small and finite, of both signs.
fn blocks(format: QuantFormat, elements: u64, seed: u64) -> Vec<u8> {
    let size = format.block_bytes() as usize;
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 48) as u16
    };
    let halves: &[usize] = match format {
        QuantFormat::Q8_0 | QuantFormat::Q4_0 => &[0],
        QuantFormat::Q4_1 | QuantFormat::Q4K | QuantFormat::Q5K => &[0, 2],
        QuantFormat::Q6K => &[208],
    };
    let mut bytes = Vec::new();
    for _ in 0..elements / format.block_elements() {
        let mut block: Vec<u8> = (0..size).map(|_| next() as u8).collect();
        for at in halves {
            // Of 2^-9, and of 2^-13 where scales have scales.
            let exponent = if format.block_elements() == 32 { 0x1800 } else { 0x0800 };
            let half = next() & 0x83ff | exponent;
            block[*at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
        bytes.extend(block);
    }
    bytes
}

/// A block-quantised constant as the elements that it stands for.
fn weights(g: &mut Graph, format: QuantFormat, dims: &[i64], seed: u64) -> ValueId {
    let ty =
        TensorType { encoding: Encoding::Quant(format), ..TensorType::fixed(DType::F32, dims) };
    let elements = dims.iter().product::<i64>() as u64;
    let data = blocks(format, elements, seed);
    let v = g.add_const(Graph::ROOT, "w", ty, data.into());
    then(g, Op::Pack { encoding: Encoding::Dense }, &[v])
}

fn product(g: &mut Graph, x: ValueId, w: ValueId) -> ValueId {
    let rank = g.tensor(w).rank();
    let mut perm: Vec<usize> = (0..rank).collect();
    perm.swap(rank - 2, rank - 1);
    let w = then(g, Op::Transpose { perm }, &[w]);
    then(g, Op::MatMul, &[x, w])
}

#[test]
fn products_of_any_number_of_rows() {
    for format in QuantFormat::ALL {
        let block = format.block_elements();
        for (m, n, k) in [(1, 37, 3), (2, 1, 1), (3, 17, 5), (7, 95, 1), (33, 65, 3)] {
            let k = (k * block) as usize;
            check_graph(vec![Arg::Input(pattern(&[m, k], 1))], 1e-5, |g, v| {
                let w = weights(g, format, &[n, k as i64], 5);
                vec![product(g, v[0], w)]
            });
        }
    }
}

/// What follows a product joins it, the number of rows is known when it runs, and a row's result
/// does not depend on it.
#[test]
fn rows_do_not_depend_on_each_other() {
    let (graph, inputs) = graph_of(vec![Arg::Named(pattern(&[70, 96], 1), &["T", ""])], |g, v| {
        let w = weights(g, QuantFormat::Q4_1, &[45, 96], 7);
        let y = product(g, v[0], w);
        vec![then(g, Op::Unary(cascata_ir::op::UnaryOp::Silu), &[y])]
    });
    let bytes = artifact(graph, OptLevel::O2);
    let session =
        pipeline::session(&bytes, &Runtime::builder().threads(2).build().unwrap()).unwrap();
    let all = pipeline::run(&session, &inputs).unwrap().remove(0);
    let rows = inputs[0].1.as_slice::<f32>().unwrap().chunks(96).enumerate();
    for (i, row) in rows {
        let one = pipeline::run(&session, &[("x0".into(), t(&[1, 96], row.to_vec()))]).unwrap();
        let all = &all.as_slice::<f32>().unwrap()[i * 45..][..45];
        assert_eq!(one[0].as_slice::<f32>().unwrap(), all, "row {i}");
    }
}

#[test]
fn stacked_matrices() {
    for format in [QuantFormat::Q8_0, QuantFormat::Q4_1] {
        check_graph(vec![Arg::Input(pattern(&[3, 5, 64], 1))], 1e-5, |g, v| {
            let w = weights(g, format, &[3, 19, 64], 3);
            vec![product(g, v[0], w)]
        });
    }
}

/// Blocks that run along the result's columns are unpacked when the artifact is written.
#[test]
fn a_product_along_the_other_axis() {
    check_graph(vec![Arg::Input(pattern(&[3, 5], 1))], 1e-5, |g, v| {
        let w = weights(g, QuantFormat::Q8_0, &[5, 64], 3);
        vec![then(g, Op::MatMul, &[v[0], w])]
    });
}

#[test]
fn rows_are_exact() {
    for format in QuantFormat::ALL {
        let k = 2 * format.block_elements() as i64;
        let ids = t(&[2, 3], vec![0i64, 18, 7, 16, -1, 15]);
        check_graph(vec![Arg::Input(ids.clone())], 0.0, |g, v| {
            let w = weights(g, format, &[19, k], 9);
            vec![then(g, Op::Gather { axis: 0 }, &[w, v[0]])]
        });
        check_graph(vec![], 0.0, |g, _| {
            let w = weights(g, format, &[19, k], 9);
            vec![then(g, Op::Unary(cascata_ir::op::UnaryOp::Neg), &[w])]
        });
    }
}

/// An embedding tied to the last product lies in the artifact once, no wider than its blocks.
#[test]
fn a_tied_embedding_is_stored_once() {
    for format in QuantFormat::ALL {
        let (n, k) = (48, 2 * format.block_elements());
        let ids = Arg::Input(t(&[5], vec![0i64, 47, 7, 16, 3]));
        let (graph, _) = graph_of(vec![ids], |g, v| {
            let w = weights(g, format, &[n, k as i64], 9);
            let x = then(g, Op::Gather { axis: 0 }, &[w, v[0]]);
            vec![product(g, x, w)]
        });
        let bytes = artifact(graph, OptLevel::O2);
        let manifest = ArtifactReader::parse(&bytes).and_then(|r| r.full_manifest()).unwrap();
        let stored: u64 = manifest.weights.iter().map(|w| w.bytes).sum();
        let elements = n as u64 * k;
        let codes = format.codes();
        let expected = codes.code_elements(elements) * codes.codes.stored_bytes() as u64
            + codes.scale_elements(elements) * codes.scales.stored_bytes() as u64;
        assert_eq!(stored, expected, "{format}");
        assert_eq!(multiplied(&bytes), Some(codes.codes), "{format}");
    }
}
