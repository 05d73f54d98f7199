//! Attribute types of the larger ops.

use super::{DType, Dim, RegionId, Scalar, Shape};

/// One sliced axis: element `i < len` is operand element `start + i·step`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SliceRange {
    /// The axis.
    pub axis: usize,
    /// First element; not negative.
    pub start: Dim,
    /// Number of elements.
    pub len: Dim,
    /// Distance; not zero, may be negative.
    pub step: i64,
}

/// What padding holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "ONNX's names")]
pub enum PadMode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

/// How a scattered update joins what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "ONNX's names")]
pub enum ScatterReduce {
    None,
    Add,
    Mul,
    Max,
    Min,
}

/// A reduction of one axis set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    /// Σ x; 0 when empty.
    Sum,
    /// Σ x / n; of integers the sum wraps at 64 bits and the division truncates.
    Mean,
    /// Largest; −inf (or the smallest integer) when empty; NaN if any is NaN.
    Max,
    /// Smallest; +inf (or the largest integer) when empty; NaN if any is NaN.
    Min,
    /// Π x; 1 when empty.
    Prod,
}

/// Where the channel axis lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChannelLayout {
    /// `[N, C, spatial…]`, weights `[O, C/g, spatial…]`.
    #[default]
    First,
    /// `[N, spatial…, C]`, weights `[spatial…, C/g, O]`.
    Last,
}

/// Convolution.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConvAttrs {
    /// Per spatial axis.
    pub strides: Vec<i64>,
    /// `(begin, end)` per spatial axis; not negative.
    pub pads: Vec<(i64, i64)>,
    /// Per spatial axis.
    pub dilations: Vec<i64>,
    /// Channel groups.
    pub groups: i64,
    /// Operand layout.
    pub layout: ChannelLayout,
}

/// Transposed convolution: the gradient of [`ConvAttrs`] with respect to its operand.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConvTransposeAttrs {
    /// Per spatial axis.
    pub strides: Vec<i64>,
    /// `(begin, end)` cut from the result per spatial axis.
    pub pads: Vec<(i64, i64)>,
    /// Per spatial axis.
    pub dilations: Vec<i64>,
    /// Extra elements at the end of the result per spatial axis.
    pub output_padding: Vec<i64>,
    /// Channel groups.
    pub groups: i64,
    /// Operand layout; weights are `[C, O/g, spatial…]` or `[spatial…, C, O/g]`.
    pub layout: ChannelLayout,
}

/// Pooling windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolAttrs {
    /// What is computed over a window.
    pub kind: PoolKind,
    /// Window per spatial axis.
    pub kernel: Vec<i64>,
    /// Per spatial axis.
    pub strides: Vec<i64>,
    /// `(begin, end)` per spatial axis.
    pub pads: Vec<(i64, i64)>,
    /// Per spatial axis.
    pub dilations: Vec<i64>,
    /// Round the result's size up; windows that start beyond the operand and its
    /// begin padding are dropped.
    pub ceil_mode: bool,
    /// Operand layout.
    pub layout: ChannelLayout,
}

/// What a pooling window computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// Largest element; with `indices` a second result holds its flat index in the operand
    /// (row-major over `[N,C,spatial…]`; column-major within the spatial axes when `column_major`).
    Max {
        /// Give the indices too.
        indices: bool,
        /// ONNX `storage_order = 1`.
        column_major: bool,
    },
    /// Mean; padding counts when `count_pad`.
    Average {
        /// Divide by the whole window.
        count_pad: bool,
    },
    /// `(Σ |x|^p)^(1/p)`.
    Lp {
        /// The exponent.
        p: i64,
    },
}

/// Resampling (ONNX Resize).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResizeAttrs {
    /// Interpolation.
    pub mode: ResizeMode,
    /// From result to operand coordinates.
    pub coordinates: ResizeCoordinates,
    /// Rounding in nearest mode.
    pub nearest: NearestMode,
    /// Result shape.
    pub shape: Shape,
    /// Scale per axis (f32) when given; else result size / operand size.
    pub scales: Option<Vec<Scalar>>,
    /// `start…, end…` for [`ResizeCoordinates::TfCropAndResize`]; f32.
    pub roi: Vec<Scalar>,
    /// Cubic coefficient; f32.
    pub cubic_coeff: Scalar,
    /// Weight 0 outside of the operand, renormalised.
    pub exclude_outside: bool,
    /// Value outside the operand for crop-and-resize; f32.
    pub extrapolation: Scalar,
    /// Widen the filter when shrinking.
    pub antialias: bool,
}

/// Interpolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "ONNX's names")]
pub enum ResizeMode {
    Nearest,
    Linear,
    Cubic,
}

/// From result to operand coordinates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "ONNX's names")]
pub enum ResizeCoordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfCropAndResize,
}

/// Rounding of a nearest coordinate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "ONNX's names")]
pub enum NearestMode {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// Scaled dot-product attention; zeros where there are no keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AttentionAttrs {
    /// Multiplies q·kᵀ; f32.
    pub scale: Scalar,
    /// Query `s` sees keys `t ≤ s + T − S` only.
    pub causal: bool,
    /// A row whose scores are all −inf gives zeros rather than NaN.
    pub zero_masked_rows: bool,
}

/// Attention of flat rows over a KV cache, which the caller of a run brings. The interpreter's
/// is empty: there, a sequence's rows stand together and the first is at position 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CacheAttentionAttrs {
    /// Which keys and values of the cache; no two ops of a graph have the same.
    pub layer: i64,
    /// Positions are below this.
    pub max_positions: i64,
    /// Multiplies q·kᵀ; f32.
    pub scale: Scalar,
    /// A row sees this many keys at most, its own included.
    pub window: Option<i64>,
    /// Scores become `cap·tanh(score/cap)`; f32.
    pub soft_cap: Option<Scalar>,
}

/// Local response normalisation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LrnAttrs {
    /// Channels summed.
    pub size: i64,
    /// f32.
    pub alpha: Scalar,
    /// f32.
    pub beta: Scalar,
    /// f32.
    pub bias: Scalar,
}

/// LSTM, GRU and RNN.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecurrentAttrs {
    /// Which way time runs; the D axis has 2 elements when bidirectional.
    pub direction: Direction,
    /// Per direction, in ONNX order.
    pub activations: Vec<Activation>,
    /// Gate inputs are clamped to ±clip when given; f32.
    pub clip: Option<Scalar>,
    /// GRU: apply the linear transform before the reset gate.
    pub linear_before_reset: bool,
    /// LSTM: the input gate is 1 − the forget gate.
    pub input_forget: bool,
}

/// Which way time runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "ONNX's names")]
pub enum Direction {
    Forward,
    Reverse,
    Bidirectional,
}

/// A recurrent activation with its parameters (f32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Activation {
    /// Which.
    pub kind: ActivationKind,
    /// First parameter.
    pub alpha: Scalar,
    /// Second parameter.
    pub beta: Scalar,
}

/// Recurrent activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "ONNX's names")]
pub enum ActivationKind {
    Relu,
    Tanh,
    Sigmoid,
    Affine,
    LeakyRelu,
    ThresholdedRelu,
    ScaledTanh,
    HardSigmoid,
    Elu,
    Softsign,
    Softplus,
}

/// ONNX Scan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ScanAttrs {
    /// Takes `state…, slice…`, gives `state…, slice…`.
    pub body: RegionId,
    /// Number of state operands.
    pub states: usize,
    /// Scanned axis and whether it runs backwards, per scanned operand.
    pub inputs: Vec<(usize, bool)>,
    /// Stacked axis and whether it is filled backwards, per stacked result.
    pub outputs: Vec<(usize, bool)>,
}

/// Pseudo-random tensors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RandomAttrs {
    /// Distribution.
    pub distribution: Distribution,
    /// Result dtype, a float.
    pub dtype: DType,
    /// Result shape.
    pub shape: Shape,
    /// Seed; unique per node.
    pub seed: u64,
}

/// A distribution with its parameters (f32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are the documentation")]
pub enum Distribution {
    Normal { mean: Scalar, scale: Scalar },
    Uniform { low: Scalar, high: Scalar },
}

/// How the elements given to `BindDims` become dims.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BindMode {
    /// As they are.
    Raw,
    /// As the target shape of a reshape of a tensor of this shape: −1 is inferred, and
    /// 0 copies the dim unless `allow_zero`.
    Reshape {
        /// Shape of the reshaped tensor.
        operand: Shape,
        /// 0 means 0.
        allow_zero: bool,
    },
}

/// How code generation treats a fused group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupKind {
    /// Element-wise ops and data movement: every result element from operand elements.
    Map,
    /// Reductions over trailing axes of rows with element-wise ops around them.
    RowReduce,
    /// One contraction with element-wise ops after it.
    Contraction,
    /// Scaled dot-product attention; zeros where there are no keys.
    Attention,
    /// One op with a kernel template of its own.
    Single,
}
