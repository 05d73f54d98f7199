//! The op table: one row per op, for the text form and the documentation.

use super::Op;

impl Op {
    /// The printed name.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Const(_) => "const",
            Op::Fill { .. } => "fill",
            Op::DimValues { .. } => "dim_values",
            Op::Iota { .. } => "iota",
            Op::Random(_) => "random",
            Op::Unary(op) => op.name(),
            Op::Binary(op) => op.name(),
            Op::Select => "select",
            Op::Cast { .. } => "cast",
            Op::Reshape { .. } => "reshape",
            Op::Transpose { .. } => "transpose",
            Op::Broadcast { .. } => "broadcast",
            Op::Concat { .. } => "concat",
            Op::Slice { .. } => "slice",
            Op::Pad { .. } => "pad",
            Op::Gather { .. } => "gather",
            Op::GatherElements { .. } => "gather_elements",
            Op::GatherNd { .. } => "gather_nd",
            Op::ScatterElements { .. } => "scatter_elements",
            Op::ScatterNd { .. } => "scatter_nd",
            Op::Resize(_) => "resize",
            Op::Pack { .. } => "pack",
            Op::Reduce { .. } => "reduce",
            Op::ArgReduce { .. } => "arg_reduce",
            Op::CumSum { .. } => "cum_sum",
            Op::TopK { .. } => "top_k",
            Op::NonZero { .. } => "non_zero",
            Op::NonMaxSuppression { .. } => "non_max_suppression",
            Op::MatMul => "matmul",
            Op::Conv(_) => "conv",
            Op::ConvTranspose(_) => "conv_transpose",
            Op::Pool(_) => "pool",
            Op::Softmax { .. } => "softmax",
            Op::LayerNorm { .. } => "layer_norm",
            Op::RmsNorm { .. } => "rms_norm",
            Op::Attention(_) => "attention",
            Op::Lrn(_) => "lrn",
            Op::Lstm(_) => "lstm",
            Op::Gru(_) => "gru",
            Op::Rnn(_) => "rnn",
            Op::If { .. } => "if",
            Op::Loop { .. } => "loop",
            Op::Scan(_) => "scan",
            Op::BindDims { .. } => "bind_dims",
            Op::StateEmpty { .. } => "state_empty",
            Op::StateAppend => "state_append",
            Op::StateRead { .. } => "state_read",
            Op::Group { .. } => "group",
        }
    }
}
