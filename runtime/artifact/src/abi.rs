//! The kernel ABI, version 1: what generated code and the runtime agree on.
//!
//! A generated kernel is [`KernelFn`]: it runs tiles `begin..end` of its grid and
//! reaches everything through one [`Context`] pointer. It is position-independent,
//! holds no absolute address, calls only through [`Context::imports`], and executes
//! no trapping instruction: what can go wrong is returned as a [`Status`].
//!
//! Micro-kernels are imported by `name@version` ([`Import`]); the runtime resolves
//! each name to the best implementation for the running CPU when it loads an
//! artifact. All of them are `extern "C"`, never unwind, and accept any alignment
//! of their operands (f32 operands are 4-byte aligned; packed panels 64).
//!
//! Anything here changes only together with [`ABI_VERSION`].

use serde::{Deserialize, Serialize};

/// Version of everything in this file.
pub const ABI_VERSION: u32 = 1;

/// Returned by every kernel: 0 is success, otherwise the failing check's index
/// in the kernel's message table plus one.
pub type Status = i32;

/// `fn(ctx, first_tile, last_tile, scratch) -> Status`; `scratch` is private to the
/// calling thread, 64-byte aligned, and holds the launch's scratch bytes.
pub type KernelFn =
    unsafe extern "C" fn(ctx: *const Context, begin: i64, end: i64, scratch: *mut u8) -> Status;

/// What a kernel can reach. Every field is 8 bytes; offsets are [`context_offset`].
#[repr(C)]
pub struct Context {
    /// Base pointers of the launch's buffers, in the kernel's buffer order.
    pub buffers: *const *mut u8,
    /// The launch's dim parameters, in the kernel's parameter order.
    pub dims: *const i64,
    /// The artifact's resolved imports, in the order of its import list.
    pub imports: *const *const u8,
    /// At least the artifact's `zeros_bytes` of zeros, 64-byte aligned.
    pub zeros: *const u8,
}

/// Byte offsets of [`Context`]'s fields.
pub mod context_offset {
    use super::Context;
    use std::mem::offset_of;
    /// Of [`Context::buffers`].
    pub const BUFFERS: usize = offset_of!(Context, buffers);
    /// Of [`Context::dims`].
    pub const DIMS: usize = offset_of!(Context, dims);
    /// Of [`Context::imports`].
    pub const IMPORTS: usize = offset_of!(Context, imports);
    /// Of [`Context::zeros`].
    pub const ZEROS: usize = offset_of!(Context, zeros);
}

/// The upper half of an f32.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bf16(pub u16);

impl From<Bf16> for f32 {
    fn from(x: Bf16) -> f32 {
        f32::from_bits(u32::from(x.0) << 16)
    }
}

/// Arguments of `gemm_f32@1`, `gemm_bf16@1`, `gemm_i16@1` and `gemm_u8@1`, the batch-reduce GEMM:
/// `C[i,j] = clamp(init[i,j] + Σ_t Σ_k A_t[i,k]·B_t[k,j], min, max)` for `i < m`, `j < n`,
/// where `t` runs over `batch` K blocks of `k` rows (the last one of `k_last`).
///
/// * `A_t[i,k]` is `a[i·a_row_stride + t·a_batch_stride + k]`, or, with `a_offsets`,
///   `a[a_offsets[t·m + i] + k]` where a negative offset means a row of zeros
///   (read from `zeros`, which then holds at least `k` elements; u8 do not read it).
/// * `B_t[k,j]` of f32 is `b[t·b_batch_stride + (j/16)·b_panel_stride + k·16 + j%16]`. bf16
///   and i16 come in groups of `g = 2` along `k`, i8 of `g = 4`: the last terms are
///   `(k/g)·16·g + (j%16)·g + k%g`, and zeros fill the last group.
/// * u8 of A stand for `A_t[i,k] − a_zero`, with `a_zero` in `0..=255`. The last 64 bytes
///   before the next panel (of `b_panel_stride`) are the sums of B's columns over the block,
///   16 i32, not aligned.
/// * `init` is `C` itself when `accumulate` is non-zero, else `bias[j]`, else 0.
///
/// The sum of f32 over `t` then `k` is one sequential chain per element, whatever `m`, the
/// position in the tile, or the ISA's register tile (bitwise equal results for
/// different `m` and row positions on one ISA). Products of bf16 are summed in f32, in an order
/// that depends on the level alone; numbers below 2^-126 may count as 0. Sums of integers
/// are i32 that wrap; `min` and `max` are not read. Strides are in elements.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "defined by the formula above")]
pub struct GemmArgs<A, B, S> {
    pub a: *const A,
    pub a_offsets: *const i32,
    pub a_row_stride: i64,
    pub a_batch_stride: i64,
    pub zeros: *const A,
    pub b: *const B,
    pub b_panel_stride: i64,
    pub b_batch_stride: i64,
    pub c: *mut S,
    pub c_row_stride: i64,
    pub bias: *const S,
    pub m: i64,
    pub n: i64,
    pub k: i64,
    pub k_last: i64,
    pub batch: i64,
    pub accumulate: i64,
    pub min: f64,
    pub max: f64,
    pub a_zero: i64,
}

/// [`GemmArgs`] of `gemm_f32@1`.
pub type GemmF32Args = GemmArgs<f32, f32, f32>;
/// [`GemmArgs`] of `gemm_bf16@1`.
pub type GemmBf16Args = GemmArgs<Bf16, Bf16, f32>;
/// [`GemmArgs`] of `gemm_i16@1`.
pub type GemmI16Args = GemmArgs<i16, i16, i32>;
/// [`GemmArgs`] of `gemm_u8@1`.
pub type GemmU8Args = GemmArgs<u8, i8, i32>;

/// Arguments of `gemm_f32_bf16@1`, `gemm_f32_q8@1` and `gemm_f32_q4@1`, products by a matrix that
/// is narrower in memory than in the sum:
/// `C[i,j] = clamp(bias[j] + Σ_k a[i·a_row_stride + k]·B[k,j], min, max)` for `i < m`, `j < n`.
///
/// B lies in panels of 16 columns, `b_panel_stride` bytes apart; below, `c` is `j % 16`:
/// * bf16: as in [`GemmBf16Args`], element `(k/2)·32 + c·2 + k%2` of the panel, any `k`.
/// * q8: `code` is the i8 at byte `k·16 + c`.
/// * q4: `code` is bits `4·(k%8)..` of the u32 `(k/8)·16 + c`, less `b_zero` (in `0..=15`).
///
/// Of codes, `B[k,j]` is `scale·code + offset`, rounded once to f32. `group` rows (a multiple of
/// 8, which divides `k`) share a scale; those of group `g` are 16 f16 (f32 if `wide`) at
/// `g·16` of the panel's scales, `scales_panel_stride` bytes apart. With `offsets`, 16 of them
/// follow each 16 scales; without, they are 0. bf16 has none of this.
///
/// The sum over `k` is one sequential chain per element, that of `gemm_f32@1` on B's numbers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "defined by the formulas above")]
pub struct GemmCodesArgs {
    pub a: *const f32,
    pub a_row_stride: i64,
    pub b: *const u8,
    pub b_panel_stride: i64,
    pub b_zero: i64,
    pub scales: *const u8,
    pub scales_panel_stride: i64,
    pub group: i64,
    pub wide: i64,
    pub offsets: i64,
    pub c: *mut f32,
    pub c_row_stride: i64,
    pub bias: *const f32,
    pub m: i64,
    pub n: i64,
    pub k: i64,
    pub min: f64,
    pub max: f64,
}

/// Arguments of `dwconv_f32@1`, the depthwise contraction:
/// `C[i,c] = clamp(bias[c] + Σ_t A_t[i,c]·W[t,c], min, max)` for `i < m`, `c < channels`.
///
/// `A_t[i,c]` is `a[a_offsets[t·m + i] + c]`, a row of zeros for a negative offset;
/// `W[t,c]` is `w[t·w_stride + c]`. `bias` may be null. `c` runs contiguously.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "defined by the formula above")]
pub struct DwConvF32Args {
    pub a: *const f32,
    pub a_offsets: *const i32,
    pub zeros: *const f32,
    pub w: *const f32,
    pub w_stride: i64,
    pub bias: *const f32,
    pub c: *mut f32,
    pub c_row_stride: i64,
    pub m: i64,
    pub channels: i64,
    pub taps: i64,
    pub min: f64,
    pub max: f64,
}

/// Arguments of `pack_b_f32@1`: packs `B[k,n] = src[k·row_stride + n·col_stride]` into
/// panels `dst[(n/16)·panel_stride + k·16 + n%16]`, zero-padded to whole panels.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "defined by the formula above")]
pub struct PackBF32Args {
    pub src: *const f32,
    pub row_stride: i64,
    pub col_stride: i64,
    pub dst: *mut f32,
    pub panel_stride: i64,
    pub k: i64,
    pub n: i64,
}

/// `dst[i] = f(src[i])` for `i < n`; `dst` may be `src`.
pub type MapF32Fn = unsafe extern "C" fn(dst: *mut f32, src: *const f32, n: i64);
/// A reduction of `src[..n]` to one number; see [`Import`] for the neutral elements.
pub type ReduceF32Fn = unsafe extern "C" fn(src: *const f32, n: i64) -> f32;
/// `dst[i] = exp(src[i] − bias)`, 0 where that is below 2^-126; returns the sum of the results.
pub type ExpSumF32Fn =
    unsafe extern "C" fn(dst: *mut f32, src: *const f32, n: i64, bias: f32) -> f32;
/// A micro-kernel that takes one argument block.
pub type BlockFn<A> = unsafe extern "C" fn(args: *const A);

/// The closed list of micro-kernels that generated code may import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Import {
    /// [`BlockFn`]`<`[`GemmF32Args`]`>`.
    #[serde(rename = "gemm_f32@1")]
    GemmF32,
    /// [`BlockFn`]`<`[`GemmBf16Args`]`>`.
    #[serde(rename = "gemm_bf16@1")]
    GemmBf16,
    /// [`BlockFn`]`<`[`GemmI16Args`]`>`.
    #[serde(rename = "gemm_i16@1")]
    GemmI16,
    /// [`BlockFn`]`<`[`GemmU8Args`]`>`.
    #[serde(rename = "gemm_u8@1")]
    GemmU8,
    /// [`BlockFn`]`<`[`GemmCodesArgs`]`>`.
    #[serde(rename = "gemm_f32_bf16@1")]
    GemmF32Bf16,
    /// [`BlockFn`]`<`[`GemmCodesArgs`]`>`.
    #[serde(rename = "gemm_f32_q8@1")]
    GemmF32Q8,
    /// [`BlockFn`]`<`[`GemmCodesArgs`]`>`.
    #[serde(rename = "gemm_f32_q4@1")]
    GemmF32Q4,
    /// [`BlockFn`]`<`[`DwConvF32Args`]`>`.
    #[serde(rename = "dwconv_f32@1")]
    DwConvF32,
    /// [`BlockFn`]`<`[`PackBF32Args`]`>`.
    #[serde(rename = "pack_b_f32@1")]
    PackBF32,
    /// [`MapF32Fn`]: e^x, error ≤ 2 ulp, exact 0 below the underflow limit, inf above, NaN kept.
    #[serde(rename = "exp_f32@1")]
    ExpF32,
    /// [`MapF32Fn`]: erf(x), error ≤ 4 ulp.
    #[serde(rename = "erf_f32@1")]
    ErfF32,
    /// [`MapF32Fn`]: tanh(x), error ≤ 4 ulp.
    #[serde(rename = "tanh_f32@1")]
    TanhF32,
    /// [`MapF32Fn`]: 1/(1+e^−x), error ≤ 4 ulp.
    #[serde(rename = "sigmoid_f32@1")]
    SigmoidF32,
    /// [`MapF32Fn`]: x·sigmoid(x).
    #[serde(rename = "silu_f32@1")]
    SiluF32,
    /// [`MapF32Fn`]: x·(1+erf(x/√2))/2.
    #[serde(rename = "gelu_erf_f32@1")]
    GeluErfF32,
    /// [`MapF32Fn`]: the tanh approximation of GELU.
    #[serde(rename = "gelu_tanh_f32@1")]
    GeluTanhF32,
    /// [`MapF32Fn`]: natural logarithm; −inf at 0, NaN below.
    #[serde(rename = "log_f32@1")]
    LogF32,
    /// [`ReduceF32Fn`]: sum, 0 when empty.
    #[serde(rename = "sum_f32@1")]
    SumF32,
    /// [`ReduceF32Fn`]: sum of squares, 0 when empty.
    #[serde(rename = "sum_sq_f32@1")]
    SumSqF32,
    /// [`ReduceF32Fn`]: maximum, −inf when empty; NaN if any element is NaN.
    #[serde(rename = "max_f32@1")]
    MaxF32,
    /// [`ExpSumF32Fn`].
    #[serde(rename = "exp_sum_f32@1")]
    ExpSumF32,
}

impl Import {
    /// Every import, in declaration order.
    pub const ALL: [Import; 21] = {
        use Import::*;
        [
            GemmF32,
            GemmBf16,
            GemmI16,
            GemmU8,
            GemmF32Bf16,
            GemmF32Q8,
            GemmF32Q4,
            DwConvF32,
            PackBF32,
            ExpF32,
            ErfF32,
            TanhF32,
            SigmoidF32,
            SiluF32,
            GeluErfF32,
            GeluTanhF32,
            LogF32,
            SumF32,
            SumSqF32,
            MaxF32,
            ExpSumF32,
        ]
    };
}
