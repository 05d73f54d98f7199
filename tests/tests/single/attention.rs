//! Attention at the edges of its shapes.

use super::*;
use cascata_ir::op::AttentionAttrs;
use cascata_types::{DType, Scalar};

/// A softmax over nothing, times nothing: a matrix product over no elements is 0.
#[test]
fn over_no_keys() {
    for (causal, zero_masked_rows) in [(false, false), (false, true), (true, false)] {
        for dtype in [DType::F32, DType::F16, DType::F64] {
            let attrs = AttentionAttrs { scale: Scalar::f32(0.5), causal, zero_masked_rows };
            let args = [[2, 2, 5, 6], [2, 2, 0, 6], [2, 2, 0, 3]]
                .iter()
                .zip(1..)
                .map(|(dims, seed)| Arg::Input(pattern(dims, seed).cast(dtype).expect("floats")))
                .collect();
            check(Op::Attention(attrs), args, 0.0);
        }
    }
}
