//! From an op to its function.

use super::bind::Dims;
use super::error::OpError;
use super::tensor::Tensor;
use super::{
    attention, cache_attention, conv, elementwise, gather, leaves, matmul, movement, nms, norm,
    pad, pool, recurrent, reduce, resize, scatter, search, text,
};
use crate::op::Op;

/// The operands of one op.
pub(super) struct Operands<'a>(&'a [&'a Tensor]);

impl<'a> Operands<'a> {
    /// Operand `i`.
    pub(super) fn at(&self, i: usize) -> Result<&'a Tensor, OpError> {
        self.get(i).ok_or(OpError::MissingOperand(i))
    }

    /// Operand `i`, if it is there.
    pub(super) fn get(&self, i: usize) -> Option<&'a Tensor> {
        self.0.get(i).copied()
    }

    /// All operands.
    pub(super) fn all(&self) -> &'a [&'a Tensor] {
        self.0
    }

    /// Operand `i` as floats.
    pub(super) fn floats(&self, i: usize) -> Result<Vec<f64>, OpError> {
        let x = self.at(i)?;
        if !x.dtype().is_float() {
            return Err(OpError::dtype(i, "a float", x.dtype()));
        }
        numbers(x, i)
    }

    /// Operand `i`, integers.
    pub(super) fn ints(&self, i: usize) -> Result<Vec<i64>, OpError> {
        let x = self.at(i)?;
        if !x.dtype().is_int() {
            return Err(OpError::dtype(i, "an integer", x.dtype()));
        }
        let values = x.to_i128().unwrap_or_default();
        Ok(values.into_iter().map(|v| v as i64).collect())
    }

    /// The only element of operand `i`.
    pub(super) fn scalar(&self, i: usize) -> Result<f64, OpError> {
        let x = self.at(i)?;
        match numbers(x, i)?.as_slice() {
            [one] => Ok(*one),
            _ => Err(OpError::Shape(format!(
                "operand {i} has dims {:?}, expected one element",
                x.dims()
            ))),
        }
    }
}

/// The elements of operand `i` as `f64`.
pub(super) fn numbers(x: &Tensor, i: usize) -> Result<Vec<f64>, OpError> {
    x.to_f64().ok_or_else(|| OpError::dtype(i, "a number", x.dtype()))
}

/// Computes an op without regions and state. One arm per op: the list is the point,
/// hence longer than other functions.
pub(super) fn compute(op: &Op, operands: &[&Tensor], dims: &Dims) -> Result<Vec<Tensor>, OpError> {
    let args = &Operands(operands);
    let one = |x: Result<Tensor, OpError>| x.map(|t| vec![t]);
    match op {
        Op::Fill { value, shape } => one(Tensor::full(&dims.shape(shape)?, *value)),
        Op::DimValues { dims: list, scalar } => one(leaves::dim_values(list, *scalar, dims)),
        Op::Iota { dtype, shape, axis } => one(leaves::iota(*dtype, &dims.shape(shape)?, *axis)),
        Op::Random(attrs) => one(leaves::random(attrs, &dims.shape(&attrs.shape)?)),
        Op::Unary(f) => one(elementwise::unary(*f, args.at(0)?)),
        Op::Binary(f) => one(elementwise::binary(*f, args.at(0)?, args.at(1)?)),
        Op::Select => one(elementwise::select(args.at(0)?, args.at(1)?, args.at(2)?)),
        Op::Cast { to } => one(elementwise::cast(args.at(0)?, *to)),
        Op::BitCast { to } => one(elementwise::bit_cast(args.at(0)?, *to)),
        Op::Reshape { shape } => one(args.at(0)?.with_dims(&dims.shape(shape)?)),
        Op::Transpose { perm } => one(movement::transpose(args.at(0)?, perm)),
        Op::Broadcast { shape } => one(movement::broadcast(args.at(0)?, &dims.shape(shape)?)),
        Op::Concat { axis } => one(movement::concat(args.all(), *axis)),
        Op::Slice { ranges } => one(movement::slice(args.at(0)?, ranges, dims)),
        Op::Pad { pads, mode } => one(pad::pad(args.at(0)?, args.get(1), pads, *mode, dims)),
        Op::Gather { axis } => one(gather::gather(args, *axis)),
        Op::GatherElements { axis } => one(gather::gather_elements(args, *axis)),
        Op::GatherNd { batch_dims } => one(gather::gather_nd(args, *batch_dims)),
        Op::ScatterElements { axis, reduce } => {
            one(scatter::scatter_elements(args, *axis, *reduce))
        }
        Op::ScatterNd { reduce } => one(scatter::scatter_nd(args, *reduce)),
        Op::Resize(attrs) => one(resize::resize(args.at(0)?, attrs, &dims.shape(&attrs.shape)?)),
        Op::Pack { encoding } => one(movement::pack(args.at(0)?, encoding)),
        Op::TextConcat => one(text::concat(args)),
        Op::TextCase { upper } => one(text::case(args, *upper)),
        Op::TextMatch { pattern } => one(text::matches(args, pattern)),
        Op::TextCount { delimiter, at_most } => one(text::count(args, delimiter, *at_most)),
        Op::TextSplit { delimiter, at_most, parts } => {
            one(text::split(args, delimiter, *at_most, dims.size(parts)?))
        }
        Op::Reduce { op, axes, keep_dims } => {
            one(reduce::reduce(args.at(0)?, *op, axes, *keep_dims))
        }
        Op::ArgReduce { max, axis, keep_dims, select_last } => {
            one(search::arg_reduce(args.at(0)?, *max, *axis, *keep_dims, *select_last))
        }
        Op::CumSum { axis, exclusive, reverse } => {
            one(reduce::cum_sum(args.at(0)?, *axis, *exclusive, *reverse))
        }
        Op::TopK { k, axis, largest, sorted: _ } => {
            search::top_k(args.at(0)?, dims.size(k)?, *axis, *largest)
        }
        Op::NonZero { count: _ } => one(search::non_zero(args.at(0)?)),
        Op::NonMaxSuppression { center_point_box, count: _ } => {
            one(nms::nms(args, *center_point_box))
        }
        Op::MatMul => one(matmul::matmul(args.at(0)?, args.at(1)?)),
        Op::Conv(attrs) => one(conv::conv(args, attrs)),
        Op::ConvTranspose(attrs) => one(conv::conv_transpose(args, attrs)),
        Op::Pool(attrs) => pool::pool(args.at(0)?, attrs),
        Op::Softmax { axis } => one(norm::softmax(args, *axis)),
        Op::LayerNorm { axis, epsilon } => one(norm::layer_norm(args, *axis, epsilon.to_f64())),
        Op::RmsNorm { axis, epsilon } => one(norm::rms_norm(args, *axis, epsilon.to_f64())),
        Op::Attention(attrs) => one(attention::attention(args, attrs)),
        Op::CacheAttention(attrs) => one(cache_attention::cache_attention(args, attrs)),
        Op::Lrn(attrs) => one(norm::lrn(args, attrs)),
        Op::Lstm(attrs) => recurrent::lstm(args, attrs),
        Op::Gru(attrs) => recurrent::gru(args, attrs),
        Op::Rnn(attrs) => recurrent::rnn(args, attrs),
        Op::Const(_)
        | Op::If { .. }
        | Op::Loop { .. }
        | Op::Scan(_)
        | Op::BindDims { .. }
        | Op::StateEmpty { .. }
        | Op::StateAppend
        | Op::StateRead { .. }
        | Op::Group { .. } => {
            Err(OpError::Unsupported("an op with regions, state or constants, on its own,".into()))
        }
    }
}
