//! A row of `gemm_bf16@1` has the same bits whatever rows are beside it, at each level: numbers
//! whose sums are rounded, so that another order would show.

mod support;

use cascata_kernels::{Kernels, MatMul, PANEL};
use support::{Rng, levels};

const N: usize = 37;

/// Bits of bf16 between -1 and 1.
fn random(rng: &mut Rng, count: usize) -> Vec<u16> {
    let mut one = || (rng.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0).to_bits();
    (0..count).map(|_| (one() >> 16) as u16).collect()
}

/// The product of some rows of A, `[rows,k]`.
fn multiply(kernels: &Kernels, a: &[u16], b: &[u16], k: usize) -> Vec<u32> {
    let (m, b_rows) = (a.len() / k, k.next_multiple_of(2));
    let mut c = vec![0.0f32; m * N];
    let sizes = MatMul { m, n: N, k, a_stride: k, b_rows, c_stride: N, accumulate: false };
    kernels.matmul_bf16(sizes, a, b, &mut c);
    c.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn splitting_the_rows_changes_no_bit() {
    for isa in levels() {
        let (kernels, mut rng) = (Kernels::new(isa), Rng(31));
        for k in [7, 32, 40, 96, 600, 1100] {
            let a = random(&mut rng, 45 * k);
            let b = random(&mut rng, N.next_multiple_of(PANEL) * k.next_multiple_of(2));
            let whole = multiply(kernels, &a, &b, k);
            let (mut from, mut parts) = (0, vec![]);
            while from < 45 {
                let to = (from + 1 + rng.below(16)).min(45);
                parts.extend(multiply(kernels, &a[from * k..to * k], &b, k));
                from = to;
            }
            assert!(whole == parts, "{isa}: K of {k}");
        }
    }
}
