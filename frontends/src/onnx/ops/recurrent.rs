//! LSTM, GRU and RNN: absent optional operands become zeros or full lengths.

use super::super::cx::Cx;
use super::super::emit::many;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::super::scope::Slot;
use super::recurrent_scan;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{Activation, ActivationKind, Direction, Op, RecurrentAttrs};
use cascata_ir::types::{DType, Dim, Scalar};

pub const OPS: Table = &[("GRU", Many(gru)), ("LSTM", Many(lstm)), ("RNN", Many(rnn))];

/// What tells the layers apart.
struct Kind {
    gates: i64,
    activations: &'static [&'static str],
    cell: bool,
}

const LSTM: Kind = Kind { gates: 4, activations: &["Sigmoid", "Tanh", "Tanh"], cell: true };

/// Weights in ONNX's order, `[directions, gates·hidden, ·]`.
pub struct Weights {
    pub w: ValueId,
    pub r: ValueId,
}

impl Weights {
    fn of(cx: &mut Cx<'_>) -> R<Weights> {
        Ok(Weights { w: cx.input(1)?, r: cx.input(2)? })
    }
}

fn lstm(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let weights = Weights::of(cx)?;
    many(lstm_of(cx, weights)?)
}

/// The node's LSTM with weights of another form than its inputs 1 and 2.
pub fn lstm_of(cx: &mut Cx<'_>, weights: Weights) -> R<Vec<ValueId>> {
    recurrent(cx, &LSTM, weights, Op::Lstm)
}

fn gru(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let kind = Kind { gates: 3, activations: &["Sigmoid", "Tanh"], cell: false };
    let weights = Weights::of(cx)?;
    many(recurrent(cx, &kind, weights, Op::Gru)?)
}

fn rnn(cx: &mut Cx<'_>) -> R<Vec<Slot>> {
    let kind = Kind { gates: 1, activations: &["Tanh"], cell: false };
    let weights = Weights::of(cx)?;
    many(recurrent(cx, &kind, weights, Op::Rnn)?)
}

fn recurrent(
    cx: &mut Cx<'_>,
    kind: &Kind,
    Weights { w, r }: Weights,
    op: impl Fn(RecurrentAttrs) -> Op,
) -> R<Vec<ValueId>> {
    let batch_first = cx.flag("layout", false)?;
    let mut x = cx.input(0)?;
    if cx.rank(x) != 3 {
        return malformed!("X has rank {}, must be 3", cx.rank(x));
    }
    if batch_first {
        x = cx.transpose(x, vec![1, 0, 2])?;
    }
    let attrs = attributes(cx, kind)?;
    let directions = if attrs.direction == Direction::Bidirectional { 2 } else { 1 };
    let (steps, batch) = (cx.shape(x)[0].clone(), cx.shape(x)[1].clone());
    let Some(hidden) = cx.shape(r).get(2).cloned() else {
        return malformed!("R has rank {}, must be 3", cx.rank(r));
    };
    if let Some(size) = cx.opt_int("hidden_size")? {
        cx.check(&hidden, &size.into(), "hidden_size and the weights")?;
    }
    let zero = Scalar::from_f64(cx.dtype(x), 0.0);
    let zeros = |cx: &mut Cx<'_>, shape: Vec<Dim>| cx.fill(zero, shape);
    let d = Dim::from(directions);
    let bias = match cx.optional(3)? {
        Some(b) => b,
        None => zeros(cx, vec![d.clone(), hidden.clone() * (2 * kind.gates)])?,
    };
    let lens = match cx.optional(4)? {
        Some(lens) => lens,
        None => {
            let full = cx.dim_scalar(steps, DType::I32)?;
            cx.broadcast(full, vec![batch.clone()])?
        }
    };
    let mut operands = vec![x, w, r, bias, lens];
    for i in 5..if kind.cell { 7 } else { 6 } {
        operands.push(match cx.optional(i)? {
            Some(state) if batch_first => cx.transpose(state, vec![1, 0, 2])?,
            Some(state) => state,
            None => zeros(cx, vec![d.clone(), batch.clone(), hidden.clone()])?,
        });
    }
    if kind.cell {
        operands.push(match cx.optional(7)? {
            Some(peepholes) => peepholes,
            None => zeros(cx, vec![d, hidden * 3])?,
        });
    }
    // The graph's own ops have kernels of f32, to which half floats are widened.
    let results = match cx.dtype(x) {
        DType::F64 => recurrent_scan::scans(cx, &operands, &attrs, kind.gates as usize)?,
        _ => cx.emit_all(op(attrs), &operands)?,
    };
    if batch_first { by_batch(cx, results) } else { Ok(results) }
}

/// All steps, then states, with the batch as their first axis.
fn by_batch(cx: &mut Cx<'_>, mut results: Vec<ValueId>) -> R<Vec<ValueId>> {
    results[0] = cx.transpose(results[0], vec![2, 0, 1, 3])?;
    for state in &mut results[1..] {
        *state = cx.transpose(*state, vec![1, 0, 2])?;
    }
    Ok(results)
}

fn attributes(cx: &Cx<'_>, kind: &Kind) -> R<RecurrentAttrs> {
    let direction = match cx.string("direction", "forward")?.as_str() {
        "forward" => Direction::Forward,
        "reverse" => Direction::Reverse,
        "bidirectional" => Direction::Bidirectional,
        other => return malformed!("direction '{other}' does not exist"),
    };
    Ok(RecurrentAttrs {
        direction,
        activations: activations(cx, kind, direction)?,
        clip: cx.opt_float("clip")?.filter(|c| *c > 0.0).map(Scalar::f32),
        linear_before_reset: cx.flag("linear_before_reset", false)?,
        input_forget: cx.flag("input_forget", false)?,
    })
}

/// Names, then parameters handed out in order to the activations that take some.
fn activations(cx: &Cx<'_>, kind: &Kind, direction: Direction) -> R<Vec<Activation>> {
    let defaults = || {
        let times = if direction == Direction::Bidirectional { 2 } else { 1 };
        kind.activations.repeat(times).iter().map(|s| s.to_string()).collect()
    };
    let names: Vec<String> = cx.strings("activations")?.unwrap_or_else(defaults);
    let mut alphas = cx.floats("activation_alpha")?.unwrap_or_default().into_iter();
    let mut betas = cx.floats("activation_beta")?.unwrap_or_default().into_iter();
    let mut out = Vec::new();
    for name in names {
        use ActivationKind::*;
        // Defaults of alpha and beta where the function takes them.
        let (which, alpha, beta) = match name.to_ascii_lowercase().as_str() {
            "relu" => (Relu, None, None),
            "tanh" => (Tanh, None, None),
            "sigmoid" => (Sigmoid, None, None),
            "softsign" => (Softsign, None, None),
            "softplus" => (Softplus, None, None),
            "affine" => (Affine, Some(1.0), Some(0.0)),
            "leakyrelu" => (LeakyRelu, Some(0.01), None),
            "thresholdedrelu" => (ThresholdedRelu, Some(1.0), None),
            "scaledtanh" => (ScaledTanh, Some(1.0), Some(1.0)),
            "hardsigmoid" => (HardSigmoid, Some(0.2), Some(0.5)),
            "elu" => (Elu, Some(1.0), None),
            _ => return unsupported!("activation '{name}'"),
        };
        let take = |default: Option<f32>, list: &mut std::vec::IntoIter<f32>| match default {
            Some(default) => list.next().unwrap_or(default),
            None => 0.0,
        };
        let (alpha, beta) = (take(alpha, &mut alphas), take(beta, &mut betas));
        out.push(Activation { kind: which, alpha: Scalar::f32(alpha), beta: Scalar::f32(beta) });
    }
    Ok(out)
}
