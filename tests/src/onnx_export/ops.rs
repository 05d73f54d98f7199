//! One op to ONNX nodes. Every dim in the op is a number.

use super::elementwise::{binary, cast, require, unary};
use super::window::{conv, conv_transpose, pool, resize};
use super::writer::{Writer, flag, float, int, ints, string, tensor};
use cascata_ir::interp::Tensor;
use cascata_ir::op::{AttentionAttrs, Op, PadMode, ReduceOp, ScatterReduce, SliceRange};
use cascata_types::{DType, Dim};

/// The name of an operand and what it holds.
pub(super) struct Operand<'a> {
    pub name: String,
    pub tensor: &'a Tensor,
}

/// The name of the result, or why ONNX cannot say it.
pub(super) type Written = Result<String, String>;

/// The number of a dim.
fn number(d: &Dim) -> i64 {
    d.as_const().unwrap_or(0)
}

pub(super) fn numbers(shape: &[Dim]) -> Vec<i64> {
    shape.iter().map(number).collect()
}

pub(super) fn write(w: &mut Writer, op: &Op, xs: &[Operand<'_>]) -> Written {
    let names: Vec<&str> = xs.iter().map(|x| x.name.as_str()).collect();
    match op {
        Op::Unary(op) => unary(w, *op, &xs[0]),
        Op::Binary(op) => binary(w, *op, &xs[0], &xs[1]),
        Op::Cast { to } => Ok(cast(w, names[0], *to)),
        Op::Select => Ok(w.node("Where", &names, vec![])),
        Op::Reshape { shape } => {
            let shape = w.ints(&numbers(shape));
            Ok(w.node("Reshape", &[names[0], &shape], vec![flag("allowzero", true)]))
        }
        Op::Transpose { perm } => Ok(transposed(w, names[0], perm)),
        Op::Broadcast { shape } => Ok(expanded(w, names[0], &numbers(shape))),
        Op::Concat { axis } => Ok(w.node("Concat", &names, vec![int("axis", *axis as i64)])),
        Op::MatMul => {
            require("MatMul", xs[0].tensor.dtype())?;
            Ok(w.node("MatMul", &names, vec![]))
        }
        Op::Conv(a) => conv(w, a, xs),
        Op::ConvTranspose(a) => conv_transpose(w, a, xs),
        Op::Pool(a) => pool(w, a, &xs[0]),
        Op::Resize(a) => resize(w, a, &xs[0]),
        Op::Fill { .. } | Op::Iota { .. } | Op::DimValues { .. } => leaf(w, op),
        Op::Slice { ranges } => Ok(slice(w, names[0], ranges)),
        Op::Pad { pads, mode } => Ok(pad(w, &names, pads, *mode)),
        Op::Reduce { .. } | Op::ArgReduce { .. } | Op::CumSum { .. } => reduction(w, op, &xs[0]),
        Op::Softmax { .. } | Op::LayerNorm { .. } | Op::RmsNorm { .. } => norm(w, op, xs),
        Op::Attention(a) => attention(w, a, xs),
        _ => indexed(w, op, xs),
    }
}

pub(super) fn transposed(w: &mut Writer, x: &str, perm: &[usize]) -> String {
    w.node("Transpose", &[x], vec![ints("perm", perm.iter().map(|p| *p as i64).collect())])
}

fn expanded(w: &mut Writer, x: &str, shape: &[i64]) -> String {
    let shape = w.ints(shape);
    w.node("Expand", &[x, &shape], vec![])
}

fn leaf(w: &mut Writer, op: &Op) -> Written {
    match op {
        Op::Fill { value: v, shape } => {
            let one = Tensor::from_f64(v.dtype, &[1], vec![v.to_f64()]).map_err(|e| e.to_string());
            let shape = w.ints(&numbers(shape));
            Ok(w.node("ConstantOfShape", &[shape], vec![tensor("value", &one?)]))
        }
        Op::DimValues { dims, scalar } => {
            let values = numbers(dims);
            let known = if *scalar { Tensor::scalar(values[0]) } else { Tensor::vector(values) };
            let known = w.constant(&known);
            Ok(w.node("Identity", &[known], vec![]))
        }
        Op::Iota { dtype, shape, axis } => {
            require("Range", *dtype)?;
            let shape = numbers(shape);
            let ends = [0.0, shape[*axis] as f64, 1.0];
            let ends = ends.map(|x| Tensor::from_f64(*dtype, &[], vec![x]).expect("a number"));
            let ends = ends.map(|t| w.constant(&t));
            let range = w.node("Range", &ends, vec![]);
            let mut column = vec![1; shape.len() - axis];
            column[0] = shape[*axis];
            let column = w.ints(&column);
            let column = w.node("Reshape", &[&range, &column], vec![flag("allowzero", true)]);
            Ok(expanded(w, &column, &shape))
        }
        _ => Err("no operator".into()),
    }
}

fn slice(w: &mut Writer, x: &str, ranges: &[SliceRange]) -> String {
    let ends = |r: &SliceRange| {
        let (start, len) = (number(&r.start), number(&r.len));
        if len == 0 {
            return (0, 0);
        }
        let last = start + (len - 1) * r.step;
        // One before the first element has no number of its own: −1 is the last one.
        let end = if r.step > 0 { last + 1 } else { last - 1 };
        (start, if end < 0 { i64::MIN } else { end })
    };
    let (starts, ends): (Vec<i64>, Vec<i64>) = ranges.iter().map(ends).unzip();
    let axes: Vec<i64> = ranges.iter().map(|r| r.axis as i64).collect();
    let steps: Vec<i64> = ranges.iter().map(|r| r.step).collect();
    let [starts, ends, axes, steps] = [starts, ends, axes, steps].map(|v| w.ints(&v));
    w.node("Slice", &[x, &starts, &ends, &axes, &steps], vec![])
}

fn pad(w: &mut Writer, names: &[&str], pads: &[(Dim, Dim)], mode: PadMode) -> String {
    let mode = match mode {
        PadMode::Constant => "constant",
        PadMode::Reflect => "reflect",
        PadMode::Edge => "edge",
        PadMode::Wrap => "wrap",
    };
    let begins = pads.iter().map(|(b, _)| number(b));
    let both: Vec<i64> = begins.chain(pads.iter().map(|(_, e)| number(e))).collect();
    let pads = w.ints(&both);
    let mut inputs = vec![names[0], &pads];
    inputs.extend(names.get(1));
    w.node("Pad", &inputs, vec![string("mode", mode)])
}

fn reduction(w: &mut Writer, op: &Op, x: &Operand<'_>) -> Written {
    let d = x.tensor.dtype();
    match op {
        Op::Reduce { op, axes, keep_dims } => {
            let name = match op {
                ReduceOp::Sum => "ReduceSum",
                ReduceOp::Mean => "ReduceMean",
                ReduceOp::Max => "ReduceMax",
                ReduceOp::Min => "ReduceMin",
                ReduceOp::Prod => "ReduceProd",
            };
            require(name, d)?;
            let axes: Vec<i64> = axes.iter().map(|a| *a as i64).collect();
            let axes = w.ints(&axes);
            Ok(w.node(name, &[&x.name, &axes], vec![flag("keepdims", *keep_dims)]))
        }
        Op::ArgReduce { max, axis, keep_dims, select_last } => {
            let name = if *max { "ArgMax" } else { "ArgMin" };
            require(name, d)?;
            let (keep, last) = (*keep_dims, *select_last);
            let attributes = vec![int("axis", *axis as i64), flag("keepdims", keep)];
            let attributes = [attributes, vec![flag("select_last_index", last)]].concat();
            Ok(w.node(name, &[&x.name], attributes))
        }
        Op::CumSum { axis, exclusive, reverse } => {
            require("CumSum", d)?;
            let axis = w.constant(&Tensor::scalar(*axis as i64));
            let attributes = vec![flag("exclusive", *exclusive), flag("reverse", *reverse)];
            Ok(w.node("CumSum", &[&x.name, &axis], attributes))
        }
        _ => Err("no operator".into()),
    }
}

fn norm(w: &mut Writer, op: &Op, xs: &[Operand<'_>]) -> Written {
    let names: Vec<&str> = xs.iter().map(|x| x.name.as_str()).collect();
    let (name, axis, epsilon) = match op {
        Op::LayerNorm { axis, epsilon } => ("LayerNormalization", axis, Some(epsilon)),
        Op::RmsNorm { axis, epsilon } => ("RMSNormalization", axis, Some(epsilon)),
        Op::Softmax { axis } => ("Softmax", axis, None),
        _ => return Err("no operator".into()),
    };
    require(name, xs[0].tensor.dtype())?;
    let mut attributes = vec![int("axis", *axis as i64)];
    attributes.extend(epsilon.map(|e| float("epsilon", e.to_f64())));
    Ok(w.node(name, &names, attributes))
}

fn attention(w: &mut Writer, a: &AttentionAttrs, xs: &[Operand<'_>]) -> Written {
    let names: Vec<&str> = xs.iter().map(|x| x.name.as_str()).collect();
    if a.causal && xs[0].tensor.dims()[2] != xs[1].tensor.dims()[2] {
        return Err("ONNX aligns the causal mask with the first key".into());
    }
    let scale = a.scale.to_f64();
    Ok(w.node("Attention", &names, vec![float("scale", scale), flag("is_causal", a.causal)]))
}

/// Indices as `i64`, which is all that the `ND` operators take.
fn wide(w: &mut Writer, index: &Operand<'_>) -> String {
    match index.tensor.dtype() {
        DType::I64 => index.name.clone(),
        _ => cast(w, &index.name, DType::I64),
    }
}

fn indexed(w: &mut Writer, op: &Op, xs: &[Operand<'_>]) -> Written {
    let names: Vec<&str> = xs.iter().map(|x| x.name.as_str()).collect();
    let reduction = |reduce: &ScatterReduce| {
        string(
            "reduction",
            match reduce {
                ScatterReduce::None => "none",
                ScatterReduce::Add => "add",
                ScatterReduce::Mul => "mul",
                ScatterReduce::Max => "max",
                ScatterReduce::Min => "min",
            },
        )
    };
    let axis_of = |axis: &usize| int("axis", *axis as i64);
    match op {
        Op::Gather { axis } => Ok(w.node("Gather", &names, vec![axis_of(axis)])),
        Op::GatherElements { axis } => Ok(w.node("GatherElements", &names, vec![axis_of(axis)])),
        Op::GatherNd { batch_dims } => {
            let index = wide(w, &xs[1]);
            let batch = int("batch_dims", *batch_dims as i64);
            Ok(w.node("GatherND", &[names[0], &index], vec![batch]))
        }
        Op::ScatterElements { axis, reduce } => {
            Ok(w.node("ScatterElements", &names, vec![axis_of(axis), reduction(reduce)]))
        }
        Op::ScatterNd { reduce } => {
            let index = wide(w, &xs[1]);
            Ok(w.node("ScatterND", &[names[0], &index, names[2]], vec![reduction(reduce)]))
        }
        _ => Err("no operator".into()),
    }
}
