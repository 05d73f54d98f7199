//! The register tile of `gemm_f32@1`, `gemm_i16@1` and `gemm_u8@1`.
//!
//! K is walked in units of 32 bits, one f32, a pair of i16 or a quad of bytes, so that a unit
//! of A is one broadcast and a unit of 16 columns of B lies where 16 f32 would.

use super::{Element, IntLanes, Multiply, PANEL, Pass};
use crate::simd::Simd;

/// Runs a pass on the tile whose first element is `C[row, column]`.
pub(crate) type TileFn<E> = unsafe fn(pass: &Pass<E>, row: usize, column: usize);

/// Bytes of the sums of a panel's columns, behind it.
const SUMS: isize = (PANEL * size_of::<i32>()) as isize;

/// The tile of `MR` rows and `NV` vectors; columns past `n` are neither read nor written.
///
/// # Safety
/// The operands that `pass.args` describes are valid; `MR` rows are left from `row`,
/// and at least one column in the last panel of the tile.
#[inline(always)]
pub(crate) unsafe fn tile<S: Multiply<E>, E: Element, const MR: usize, const NV: usize>(
    s: S,
    pass: &Pass<E>,
    row: usize,
    column: usize,
) {
    let args = pass.args;
    // SAFETY: the caller's promise, for all calls below.
    unsafe {
        let mut acc = initial::<S, E, MR, NV>(s, pass, row, column);
        if E::HAS_ZERO && args.a_zero != 0 && pass.depth.start == 0 {
            subtract_zeros::<S, E, MR, NV>(s, pass, column, &mut acc);
        }
        for t in pass.blocks.clone() {
            let a = row_pointers::<E, MR>(pass, t, row);
            let panel = (column / PANEL) as isize * args.b_panel_stride as isize;
            let depth = (pass.depth.start * PANEL) as isize;
            let b = args.b.offset(t as isize * args.b_batch_stride as isize + panel + depth);
            let stride = args.b_panel_stride as isize;
            add_products::<S, E, MR, NV>(s, a, b, stride, pass.depth_of(t), &mut acc);
        }
        finish::<S, E, MR, NV>(s, pass, row, column, acc);
    }
}

/// The first wanted element of each row of A in block `t`.
#[inline(always)]
unsafe fn row_pointers<E: Element, const MR: usize>(
    pass: &Pass<E>,
    t: usize,
    row: usize,
) -> [*const E; MR] {
    let args = pass.args;
    let start = pass.depth.start;
    if args.a_offsets.is_null() {
        let first = row as isize * args.a_row_stride as isize
            + t as isize * args.a_batch_stride as isize
            + start as isize;
        // SAFETY: the caller's promise: `MR` rows are left.
        std::array::from_fn(|r| unsafe {
            args.a.offset(first + r as isize * args.a_row_stride as isize)
        })
    } else {
        // SAFETY: the table holds `m` offsets per block.
        let offsets = unsafe { args.a_offsets.add(t * args.m as usize + row) };
        std::array::from_fn(|r| {
            // SAFETY: as above; a negative offset stands for padding.
            unsafe {
                let offset = *offsets.add(r);
                match offset < 0 {
                    true => pass.padding,
                    false => args.a.offset(offset as isize).add(start),
                }
            }
        })
    }
}

/// `acc[r][v] -= a_zero·Σ B[.., v]` over the pass's blocks.
#[inline(always)]
unsafe fn subtract_zeros<S: IntLanes, E: Element, const MR: usize, const NV: usize>(
    s: S,
    pass: &Pass<E>,
    column: usize,
    acc: &mut [[S::F; NV]; MR],
) {
    let args = pass.args;
    let zero = s.splat(f32::from_bits(args.a_zero as u32));
    let mut less = [s.splat(0.0); NV];
    for t in pass.blocks.clone() {
        for (v, less) in less.iter_mut().enumerate() {
            let at = column + v * S::LANES;
            let stride = args.b_panel_stride as isize;
            let end =
                t as isize * args.b_batch_stride as isize + ((at / PANEL) as isize + 1) * stride;
            // SAFETY: the caller's promise: sums lie before the next panel.
            let sums = unsafe {
                let sums = args.b.offset(end).cast::<u8>().offset(-SUMS).cast::<f32>();
                s.load(sums.add(at % PANEL))
            };
            *less = s.fnma_i32(zero, sums, *less);
        }
    }
    for acc in acc {
        for (x, less) in acc.iter_mut().zip(less) {
            *x = s.add_i32(*x, less);
        }
    }
}

/// `acc[r][v] += A[r, k]·B[k, v]` for `k < depth` in ascending order.
#[inline(always)]
unsafe fn add_products<S: Multiply<E>, E: Element, const MR: usize, const NV: usize>(
    s: S,
    a: [*const E; MR],
    b: *const E::Right,
    panel_stride: isize,
    depth: usize,
    acc: &mut [[S::F; NV]; MR],
) {
    let units = depth / E::UNIT;
    for k in 0..units {
        let at = k * E::UNIT;
        // SAFETY: the caller's promise: `depth` elements of each row and `depth` rows of
        // each panel are readable.
        unsafe {
            let a = a.map(|row| row.add(at).cast::<f32>().read_unaligned());
            add_unit::<S, E, MR, NV>(s, a, b.add(at * PANEL), panel_stride, acc);
        }
    }
    let left = depth % E::UNIT;
    if left > 0 {
        let at = units * E::UNIT;
        // SAFETY: as above; panels are padded to whole units.
        unsafe {
            let a = a.map(|row| part(row.add(at), left));
            add_unit::<S, E, MR, NV>(s, a, b.add(at * PANEL), panel_stride, acc);
        }
    }
}

/// The bits of a unit of which the row has only the first `n` elements, zeros behind.
///
/// # Safety
/// `a[..n]` is readable; `n < UNIT`.
#[inline(always)]
unsafe fn part<E: Element>(a: *const E, n: usize) -> f32 {
    let a = a.cast::<u8>();
    // SAFETY: the caller's promise.
    let byte = |i: usize| u32::from(unsafe { *a.add(i) }) << (8 * i);
    f32::from_bits((0..n * size_of::<E>()).fold(0, |bits, i| bits | byte(i)))
}

/// One unit of K: a 32-bit word of each row of A.
#[inline(always)]
unsafe fn add_unit<S: Multiply<E>, E: Element, const MR: usize, const NV: usize>(
    s: S,
    a: [f32; MR],
    b: *const E::Right,
    panel_stride: isize,
    acc: &mut [[S::F; NV]; MR],
) {
    // SAFETY: the caller's promise: a unit of each panel is readable.
    let b: [<S as Multiply<E>>::Right; NV] = std::array::from_fn(|v| unsafe {
        let column = v * S::LANES;
        let panel = b.offset((column / PANEL) as isize * panel_stride);
        s.right(s.load(panel.cast::<f32>().add(column % PANEL)))
    });
    for r in 0..MR {
        let a = s.left(a[r]);
        for v in 0..NV {
            acc[r][v] = s.add_product(a, b[v], acc[r][v]);
        }
    }
}

/// How many of vector `v`'s lanes are columns of C.
#[inline(always)]
fn columns_of<S: Simd, E: Element>(pass: &Pass<E>, column: usize, v: usize) -> usize {
    (pass.args.n as usize).saturating_sub(column + v * S::LANES).min(S::LANES)
}

/// `p[..n]` as a vector.
#[inline(always)]
unsafe fn load_up_to<S: Simd>(s: S, p: *const f32, n: usize) -> S::F {
    // SAFETY: the caller's promise.
    unsafe { if n == S::LANES && !S::FREE_MASKS { s.load(p) } else { s.load_first(p, n) } }
}

/// Where the sums start: C, or the bias, or zero.
#[inline(always)]
unsafe fn initial<S: Simd, E: Element, const MR: usize, const NV: usize>(
    s: S,
    pass: &Pass<E>,
    row: usize,
    column: usize,
) -> [[S::F; NV]; MR] {
    let args = pass.args;
    let mut acc = [[s.splat(0.0); NV]; MR];
    if !pass.from_c && args.bias.is_null() {
        return acc;
    }
    for v in 0..NV {
        let n = columns_of::<S, E>(pass, column, v);
        let at = column + v * S::LANES;
        for (r, acc) in acc.iter_mut().enumerate() {
            // SAFETY: `n` columns of the row are left from `at`.
            acc[v] = unsafe {
                if pass.from_c {
                    let c = args.c.offset((row + r) as isize * args.c_row_stride as isize);
                    load_up_to(s, c.wrapping_add(at).cast(), n)
                } else {
                    load_up_to(s, args.bias.wrapping_add(at).cast(), n)
                }
            };
        }
    }
    acc
}

/// Clamps after the last pass, and stores. NaN passes the clamp.
#[inline(always)]
unsafe fn finish<S: Simd, E: Element, const MR: usize, const NV: usize>(
    s: S,
    pass: &Pass<E>,
    row: usize,
    column: usize,
    mut acc: [[S::F; NV]; MR],
) {
    let args = pass.args;
    if pass.last {
        E::clamp(s, args, acc.as_flattened_mut());
    }
    for v in 0..NV {
        let n = columns_of::<S, E>(pass, column, v);
        let at = column + v * S::LANES;
        for (r, acc) in acc.iter().enumerate() {
            // SAFETY: `n` columns of the row are left from `at`.
            unsafe {
                let c = args.c.offset((row + r) as isize * args.c_row_stride as isize);
                let c = c.wrapping_add(at).cast::<f32>();
                match n == S::LANES && !S::FREE_MASKS {
                    true => s.store(c, acc[v]),
                    false => s.store_first(c, acc[v], n),
                }
            }
        }
    }
}
