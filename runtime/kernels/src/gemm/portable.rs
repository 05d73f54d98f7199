//! `gemm_f32@1`, `gemm_i16@1` and `gemm_u8@1` in plain Rust: the reference.

use super::{Element, PANEL};
use cascata_artifact::abi::GemmArgs;

/// Runs a call.
///
/// # Safety
/// The operands that `args` describes are readable, C is writable and overlaps none.
pub(crate) unsafe fn gemm<E: Element>(args: &GemmArgs<E, E::Right, E::Sum>) {
    for i in 0..args.m {
        for column in (0..args.n).step_by(PANEL) {
            // SAFETY: the caller's promise.
            unsafe {
                let mut acc = initial(args, i, column);
                for t in 0..args.batch {
                    add_products(args, i, column, t, &mut acc);
                }
                finish(args, i, column, &acc);
            }
        }
    }
}

/// The columns of the panel at `column`.
fn columns<E: Element>(args: &GemmArgs<E, E::Right, E::Sum>, column: i64) -> usize {
    ((args.n - column) as usize).min(PANEL)
}

/// Where the sums of `C[i, column..]` start.
unsafe fn initial<E: Element>(
    args: &GemmArgs<E, E::Right, E::Sum>,
    i: i64,
    column: i64,
) -> [E::Sum; PANEL] {
    let mut acc = [E::Sum::default(); PANEL];
    let source = if args.accumulate != 0 {
        args.c.wrapping_offset((i * args.c_row_stride) as isize).cast_const()
    } else {
        args.bias
    };
    if !source.is_null() {
        for (j, acc) in acc.iter_mut().enumerate().take(columns(args, column)) {
            // SAFETY: column `column + j` exists.
            *acc = unsafe { *source.add(column as usize + j) };
        }
    }
    acc
}

/// Adds block `t`.
unsafe fn add_products<E: Element>(
    args: &GemmArgs<E, E::Right, E::Sum>,
    i: i64,
    column: i64,
    t: i64,
    acc: &mut [E::Sum; PANEL],
) {
    let depth = if t + 1 == args.batch { args.k_last } else { args.k };
    let panel = t * args.b_batch_stride + column / PANEL as i64 * args.b_panel_stride;
    // SAFETY: the caller's promise: the row, the offset and the panel exist.
    unsafe {
        let a = if args.a_offsets.is_null() {
            args.a.offset((i * args.a_row_stride + t * args.a_batch_stride) as isize)
        } else {
            match *args.a_offsets.offset((t * args.m + i) as isize) {
                // What stands for 0 adds nothing.
                offset if offset < 0 && E::HAS_ZERO => return,
                offset if offset < 0 => args.zeros,
                offset => args.a.offset(offset as isize),
            }
        };
        for k in 0..depth.max(0) as usize {
            let unit = panel as usize + k / E::UNIT * E::UNIT * PANEL;
            let (a, b) = (*a.add(k), args.b.add(unit + k % E::UNIT));
            for (j, acc) in acc.iter_mut().enumerate() {
                *acc = E::sum(args.a_zero, *acc, a, *b.add(j * E::UNIT));
            }
        }
    }
}

/// Clamps and stores.
unsafe fn finish<E: Element>(
    args: &GemmArgs<E, E::Right, E::Sum>,
    i: i64,
    column: i64,
    acc: &[E::Sum; PANEL],
) {
    for (j, &x) in acc.iter().enumerate().take(columns(args, column)) {
        let x = E::clamped(args, x);
        // SAFETY: `C[i, column + j]` exists.
        unsafe { *args.c.offset((i * args.c_row_stride + column) as isize).add(j) = x };
    }
}
