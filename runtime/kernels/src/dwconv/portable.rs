//! `dwconv_f32@1` in plain Rust: the reference.

use cascata_artifact::abi::DwConvF32Args;

/// Channels that are summed side by side.
const BLOCK: usize = 16;

/// Runs a call.
///
/// # Safety
/// The operands that `args` describes are readable, C is writable and overlaps none.
pub(crate) unsafe fn dwconv(args: &DwConvF32Args) {
    for i in 0..args.m {
        for c in (0..args.channels.max(0) as usize).step_by(BLOCK) {
            let channels = (args.channels as usize - c).min(BLOCK);
            // SAFETY: the caller's promise.
            unsafe { block(args, i, c, channels) };
        }
    }
}

/// The channels `c..c + channels` of pixel `i`.
unsafe fn block(args: &DwConvF32Args, i: i64, c: usize, channels: usize) {
    let mut acc = [0.0f32; BLOCK];
    // SAFETY: the caller's promise: the pixel and the channels exist.
    unsafe {
        if !args.bias.is_null() {
            for (j, acc) in acc.iter_mut().enumerate().take(channels) {
                *acc = *args.bias.add(c + j);
            }
        }
        for t in 0..args.taps {
            let a = match *args.a_offsets.offset((t * args.m + i) as isize) {
                offset if offset < 0 => args.zeros,
                offset => args.a.offset(offset as isize),
            };
            let w = args.w.offset((t * args.w_stride) as isize);
            for (j, acc) in acc.iter_mut().enumerate().take(channels) {
                *acc += *a.add(c + j) * *w.add(c + j);
            }
        }
        let (min, max) = (args.min as f32, args.max as f32);
        for (j, &x) in acc.iter().enumerate().take(channels) {
            let x = if x < min { min } else { x };
            let x = if x > max { max } else { x };
            *args.c.offset((i * args.c_row_stride) as isize).add(c + j) = x;
        }
    }
}
