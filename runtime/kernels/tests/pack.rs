//! `pack_b_f32@1` at each level: every element, the padding, and nothing else.

mod support;

use cascata_artifact::abi::PackBF32Args;
use cascata_kernels::{Isa, Kernels};
use support::{Buffer, PANEL, Place, Rng, levels};

const CANARY: f32 = 31337.5;

fn check(isa: Isa, k: usize, n: usize, row_stride: usize, col_stride: usize, gap: usize) {
    let reach = if k * n == 0 { 0 } else { (k - 1) * row_stride + (n - 1) * col_stride + 1 };
    let src = Buffer::new(Place::AtGuard, &Rng(3).units(reach));
    let (panels, panel_stride) = (n.div_ceil(PANEL), k * PANEL + gap);
    let len = if panels == 0 { 0 } else { panels * panel_stride - gap };
    let mut dst = Buffer::new(Place::AtGuard, &vec![CANARY; len]);
    let args = PackBF32Args {
        src: src.as_ptr(),
        row_stride: row_stride as i64,
        col_stride: col_stride as i64,
        dst: dst.as_mut_ptr(),
        panel_stride: panel_stride as i64,
        k: k as i64,
        n: n as i64,
    };
    // SAFETY: `src` and `dst` hold what the strides reach.
    unsafe { (Kernels::new(isa).pack_b_f32)(&args) };
    for (at, &got) in dst.iter().enumerate() {
        let (row, column) =
            (at % panel_stride / PANEL, at / panel_stride * PANEL + at % panel_stride % PANEL);
        let want = match (row < k, column < n) {
            (true, true) => src[row * row_stride + column * col_stride],
            (true, false) => 0.0,
            _ => CANARY,
        };
        assert_eq!(got, want, "{isa}: k {k} n {n} strides {row_stride} {col_stride} at {at}");
    }
}

#[test]
fn all_orders_and_tails() {
    for isa in levels() {
        for k in [0, 1, 2, 7, 8, 9, 15, 16, 17, 33, 50] {
            for n in [0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 40, 65] {
                check(isa, k, n, n.max(1), 1, 0);
                check(isa, k, n, n + 5, 1, 48);
                check(isa, k, n, 1, k.max(1), 0);
                check(isa, k, n, 1, k + 3, 16);
                check(isa, k, n, 2 * n + 1, 2, 0);
            }
        }
    }
}
