//! The closed list of tensor-level operators with typed attributes.
//!
//! Frontends decompose their operators to this set. Unless said otherwise operands
//! are dense tensors, `f` stands for any float dtype and results have the dtype of
//! the first operand. Binary ops broadcast as NumPy does and take operands of one
//! dtype: conversions are explicit `Cast` nodes.

use crate::graph::{ConstId, RegionId};
use cascata_types::{DType, Dim, Encoding, Scalar, Shape, SymbolId, TensorType};

pub(crate) mod attr_text;
mod attrs;
mod scalar_op;
pub(crate) mod table;

pub use attrs::*;
pub use scalar_op::{BinaryOp, UnaryOp};
pub use table::{AttrInfo, OpInfo, op_table, op_table_markdown};

/// An operator with its attributes; operands are listed with each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    // ---- leaves -------------------------------------------------------------
    /// `() → T`: a constant tensor.
    Const(ConstId),
    /// `() → T`: one number everywhere.
    Fill {
        /// The number; its dtype is the result's.
        value: Scalar,
        /// Result shape.
        shape: Shape,
    },
    /// `() → i64[n]` (or `i64[]` when `scalar`): the values of dims.
    DimValues {
        /// One element each.
        dims: Vec<Dim>,
        /// Rank 0; `dims` then has one element.
        scalar: bool,
    },
    /// `() → T[shape]`: each element is its index along `axis`.
    Iota {
        /// A numeric dtype.
        dtype: DType,
        /// Result shape.
        shape: Shape,
        /// Axis counted along.
        axis: usize,
    },
    /// `() → T[shape]`: pseudo-random numbers; never merged with its equal.
    Random(RandomAttrs),

    // ---- element-wise -------------------------------------------------------
    /// `x → y`, element by element.
    Unary(UnaryOp),
    /// `a, b → y`, broadcast; comparisons give bool.
    Binary(BinaryOp),
    /// `cond: bool, a, b → y`, broadcast.
    Select,
    /// `x → y` of another dtype. Float to int truncates; out of range saturates,
    /// NaN gives 0; int to int wraps; anything to bool is `!= 0`.
    Cast {
        /// Result dtype.
        to: DType,
    },

    /// `x → y`: the same bits as elements of another dtype of as many, neither a half float.
    BitCast {
        /// Result dtype.
        to: DType,
    },

    // ---- data movement ------------------------------------------------------
    /// `x → y` with the same elements in row-major order.
    Reshape {
        /// Result shape.
        shape: Shape,
    },
    /// `x → y`: result axis `i` is operand axis `perm[i]`.
    Transpose {
        /// A permutation.
        perm: Vec<usize>,
    },
    /// `x → y`: NumPy `broadcast_to`.
    Broadcast {
        /// Result shape.
        shape: Shape,
    },
    /// `x… → y`: joined along `axis`.
    Concat {
        /// Joined axis.
        axis: usize,
    },
    /// `x → y`: element `i` of a sliced axis is operand element `start + i·step`.
    Slice {
        /// One range per sliced axis, in increasing axis order.
        ranges: Vec<SliceRange>,
    },
    /// `x, value: T[] → y`: padded with `value` (constant mode) or the operand's own elements.
    Pad {
        /// `(before, after)` per axis, not negative.
        pads: Vec<(Dim, Dim)>,
        /// What the padding holds.
        mode: PadMode,
    },
    /// `x, index: i64|i32 → y[..axis, index dims, axis+1..]`; negative indices count from the end.
    Gather {
        /// Indexed axis.
        axis: usize,
    },
    /// `x, index (rank of x) → y` of the index's shape.
    GatherElements {
        /// Indexed axis.
        axis: usize,
    },
    /// `x, index[.., k] → y`: the last index axis addresses `k` axes of x after the batch dims.
    GatherNd {
        /// Leading axes shared by both operands.
        batch_dims: usize,
    },
    /// `x, index, updates → y`: like x, with updates written along `axis`.
    ScatterElements {
        /// Indexed axis.
        axis: usize,
        /// How an update joins what is there.
        reduce: ScatterReduce,
    },
    /// `x, index[.., k], updates → y`.
    ScatterNd {
        /// How an update joins what is there.
        reduce: ScatterReduce,
    },
    /// `x → y` at another resolution.
    Resize(ResizeAttrs),
    /// `x → y` in another encoding, same logical elements.
    Pack {
        /// Result encoding.
        encoding: Encoding,
    },

    // ---- strings ------------------------------------------------------------
    /// `a: str, b: str → str`: joined; equal shapes.
    TextConcat,
    /// `x: str → str` in upper or lower case.
    TextCase {
        /// Upper rather than lower.
        upper: bool,
    },
    /// `x: str → bool`: whether the pattern matches the whole string.
    TextMatch {
        /// A regular expression in RE2's syntax.
        pattern: String,
    },
    /// `x: str → i64`: the number of parts between delimiters.
    TextCount {
        /// The delimiter; runs of white space where it is empty.
        delimiter: String,
        /// Most splits.
        at_most: u64,
    },
    /// `x: str → str[x,parts]`: the parts between delimiters; empty strings fill up.
    TextSplit {
        /// The delimiter; runs of white space where it is empty.
        delimiter: String,
        /// Most splits.
        at_most: u64,
        /// Size of the last axis; further parts are left out.
        parts: Dim,
    },

    // ---- reductions ---------------------------------------------------------
    /// `x → y`.
    Reduce {
        /// What is computed over the axes.
        op: ReduceOp,
        /// Reduced axes, increasing; not empty.
        axes: Vec<usize>,
        /// Keep reduced axes as 1.
        keep_dims: bool,
    },
    /// `x → i64`: index of the extreme element.
    ArgReduce {
        /// Largest rather than smallest.
        max: bool,
        /// Reduced axis.
        axis: usize,
        /// Keep the axis as 1.
        keep_dims: bool,
        /// The last of equal elements rather than the first.
        select_last: bool,
    },
    /// `x → y`: running sum.
    CumSum {
        /// Summed axis.
        axis: usize,
        /// Leave the element itself out.
        exclusive: bool,
        /// From the end.
        reverse: bool,
    },
    /// `x → values, indices: i64`; `k` elements along `axis`.
    TopK {
        /// How many.
        k: Dim,
        /// Axis searched.
        axis: usize,
        /// Largest rather than smallest.
        largest: bool,
        /// In order.
        sorted: bool,
    },
    /// `x → i64[rank, n]`: indices of the non-zero elements; binds `n`.
    NonZero {
        /// Bound to their number.
        count: SymbolId,
    },
    /// `boxes: f32[B,N,4], scores: f32[B,C,N], max_per_class: i64[], iou: f32[], score: f32[] → i64[n,3]`; binds `n`.
    NonMaxSuppression {
        /// Boxes are centre + size rather than two corners.
        center_point_box: bool,
        /// Bound to the number of selected boxes.
        count: SymbolId,
    },

    // ---- contractions -------------------------------------------------------
    /// `a[..,M,K], b[..,K,N] → y[..,M,N]`, leading dims broadcast; integer operands
    /// are both `i32` and wrap.
    MatMul,
    /// `x[N,C,spatial…], w[O,C/g,spatial…] (, bias[O]) → y[N,O,…]` (or channels last, see attributes).
    Conv(ConvAttrs),
    /// `x[N,C,spatial…], w[C,O/g,spatial…] (, bias[O]) → y[N,O,…]`.
    ConvTranspose(ConvTransposeAttrs),
    /// `x[N,C,spatial…] → y` (and `indices: i64` for max pooling with `indices`).
    Pool(PoolAttrs),

    // ---- composite, recognised or given -------------------------------------
    /// `x → y`: `exp(x − max) / Σ exp(x − max)` along `axis`.
    Softmax {
        /// Normalised axis.
        axis: usize,
    },
    /// `x, scale (, bias) → y`: `(x − mean)/√(var + eps)·scale + bias` over the last
    /// `rank − axis` axes; scale and bias have the shape of those axes.
    LayerNorm {
        /// First normalised axis.
        axis: usize,
        /// Added to the variance; f32.
        epsilon: Scalar,
    },
    /// `x, scale → y`: `x/√(mean(x²) + eps)·scale` over the last `rank − axis` axes.
    RmsNorm {
        /// First normalised axis.
        axis: usize,
        /// Added to the mean square; f32.
        epsilon: Scalar,
    },
    /// `q[B,H,S,D], k[B,G,T,D], v[B,G,T,E] (, mask broadcast to [B,H,S,T]) → y[B,H,S,E]`;
    /// H is a multiple of G.
    Attention(AttentionAttrs),
    /// `q[T,H,D], k[T,G,D], v[T,G,D], positions: i64[T] → y[T,H,D]`, f32: keys and values of
    /// all rows join the run's KV cache; then each row attends to those of its sequence, up to
    /// its own position. H is a multiple of G.
    CacheAttention(CacheAttentionAttrs),
    /// Local response normalisation over the channel axis 1.
    Lrn(LrnAttrs),
    /// `x[S,B,I], w[D,4H,I], r[D,4H,H], b[D,8H], lens: i32[B], h0[D,B,H], c0[D,B,H], p[D,3H]
    /// → y[S,D,B,H], h[D,B,H], c[D,B,H]`; gates in ONNX order i, o, f, c.
    Lstm(RecurrentAttrs),
    /// `x, w[D,3H,I], r[D,3H,H], b[D,6H], lens, h0 → y, h`; gates z, r, h.
    Gru(RecurrentAttrs),
    /// `x, w[D,H,I], r[D,H,H], b[D,2H], lens, h0 → y, h`.
    Rnn(RecurrentAttrs),

    // ---- control flow, state, dynamic shapes ---------------------------------
    /// `cond: bool[] → results` of the chosen region (no parameters; captures allowed).
    If {
        /// When true.
        then_region: RegionId,
        /// When false.
        else_region: RegionId,
        /// Dims that the chosen branch decides, as `((result, axis), symbol)`: the result
        /// has the symbol there, and the op binds it to the size that there is.
        dims: Vec<((usize, usize), SymbolId)>,
    },
    /// `trip: i64[], cond: bool[], carried… → carried…, scanned…`. The body takes
    /// `iteration: i64[], cond: bool[], carried…` and gives `cond, carried…, scanned…`;
    /// scanned results are stacked along a new first axis of `count` elements.
    Loop {
        /// The body.
        body: RegionId,
        /// How many operands are carried.
        carried: usize,
        /// Bound to the number of iterations that ran.
        count: SymbolId,
        /// Dims that change from iteration to iteration, as `(inside, after)`: one carried
        /// parameter of the body has the dim `inside`, bound anew when an iteration starts;
        /// the operand and the body's result may have any dim there, and the result has
        /// `after`, which the op binds.
        dims: Vec<(SymbolId, SymbolId)>,
    },
    /// `state…, scanned… → state…, stacked…` (ONNX Scan).
    Scan(ScanAttrs),
    /// `i64[n] → ()`: binds the elements to data-dependent symbols.
    BindDims {
        /// One per element.
        symbols: Vec<SymbolId>,
        /// How elements become dims.
        mode: BindMode,
    },
    /// `() → resource`: an empty growable tensor.
    StateEmpty {
        /// Element type and shape; the dim at `axis` is the current length, 0 here.
        ty: TensorType,
        /// The axis that grows.
        axis: usize,
    },
    /// `resource, x → resource`: x appended along the state's axis; the operand is used up.
    StateAppend,
    /// `resource → tensor`: what the state holds; binds the length.
    StateRead {
        /// Type of the result; its dim at the state's axis is `length`.
        ty: TensorType,
        /// Bound to the current length.
        length: SymbolId,
    },

    // ---- after fusion ---------------------------------------------------------
    /// `operands → results`: one kernel; the region's parameters are the operands.
    Group {
        /// How code generation treats it.
        kind: GroupKind,
        /// What it computes.
        body: RegionId,
    },
}

/// What an op does besides computing its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing: equal operands give equal results.
    Pure,
    /// Never merged or duplicated (random numbers, state), or binds symbols.
    Unique,
    /// Nothing, but the host computes it from whole values: no part of a kernel or a rule.
    Host,
    /// Owns regions.
    Control,
}

impl Op {
    /// What the op does besides computing its results.
    pub fn effect(&self) -> Effect {
        match self {
            Op::Random(_)
            | Op::BindDims { .. }
            | Op::NonZero { .. }
            | Op::NonMaxSuppression { .. }
            | Op::StateEmpty { .. }
            | Op::StateAppend
            | Op::StateRead { .. } => Effect::Unique,
            Op::CacheAttention(_)
            | Op::TextConcat
            | Op::TextCase { .. }
            | Op::TextMatch { .. }
            | Op::TextCount { .. }
            | Op::TextSplit { .. } => Effect::Host,
            Op::If { .. } | Op::Loop { .. } | Op::Scan(_) | Op::Group { .. } => Effect::Control,
            _ => Effect::Pure,
        }
    }

    /// The regions that the op owns.
    pub fn regions(&self) -> Vec<RegionId> {
        match self {
            Op::If { then_region, else_region, .. } => vec![*then_region, *else_region],
            Op::Loop { body, .. } | Op::Group { body, .. } => vec![*body],
            Op::Scan(attrs) => vec![attrs.body],
            _ => vec![],
        }
    }

    /// The regions that the op owns, to be redirected when a body is copied.
    pub fn regions_mut(&mut self) -> Vec<&mut RegionId> {
        match self {
            Op::If { then_region, else_region, .. } => vec![then_region, else_region],
            Op::Loop { body, .. } | Op::Group { body, .. } => vec![body],
            Op::Scan(attrs) => vec![&mut attrs.body],
            _ => vec![],
        }
    }

    /// The data-dependent symbols that the op binds where it stands.
    pub fn binds(&self) -> Vec<SymbolId> {
        match self {
            Op::NonZero { count } | Op::NonMaxSuppression { count, .. } => vec![*count],
            Op::If { dims, .. } => dims.iter().map(|(_, s)| *s).collect(),
            Op::Loop { count, dims, .. } => {
                std::iter::once(*count).chain(dims.iter().map(|(_, after)| *after)).collect()
            }
            Op::StateRead { length, .. } => vec![*length],
            Op::BindDims { symbols, .. } => symbols.clone(),
            _ => vec![],
        }
    }

    /// The data-dependent symbols that the op binds in the regions that it owns, whenever
    /// one of them starts.
    pub fn binds_inside(&self) -> Vec<SymbolId> {
        match self {
            Op::Loop { dims, .. } => dims.iter().map(|(inside, _)| *inside).collect(),
            _ => vec![],
        }
    }
}
