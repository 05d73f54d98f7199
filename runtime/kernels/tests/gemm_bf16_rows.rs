//! A row of `gemm_bf16@1` has the same bits whatever rows are beside it, at each level: numbers
//! whose sums are rounded, so that another order would show.

mod support;

use cascata_artifact::abi::{Bf16, GemmBf16Args};
use cascata_kernels::{Kernels, PANEL};
use std::ptr::null;
use support::{Rng, levels};

const N: usize = 37;

/// bf16 between -1 and 1.
fn random(rng: &mut Rng, count: usize) -> Vec<Bf16> {
    let mut one = || (rng.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0).to_bits();
    (0..count).map(|_| Bf16((one() >> 16) as u16)).collect()
}

/// The product of some rows of A, `[rows,k]`.
fn multiply(kernels: &Kernels, a: &[Bf16], b: &[Bf16], k: usize) -> Vec<u32> {
    let rows = a.len() / k;
    let mut c = vec![0.0f32; rows * N];
    let args = GemmBf16Args {
        a: a.as_ptr(),
        a_offsets: null(),
        a_row_stride: k as i64,
        a_batch_stride: 0,
        zeros: null(),
        b: b.as_ptr(),
        b_panel_stride: (k.next_multiple_of(2) * PANEL) as i64,
        b_batch_stride: 0,
        c: c.as_mut_ptr(),
        c_row_stride: N as i64,
        bias: null(),
        m: rows as i64,
        n: N as i64,
        k: k as i64,
        k_last: k as i64,
        batch: 1,
        accumulate: 0,
        min: f64::NEG_INFINITY,
        max: f64::INFINITY,
        a_zero: 0,
    };
    // SAFETY: the vectors are as long as the sizes say.
    unsafe { (kernels.gemm_bf16)(&raw const args) };
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
