//! LSTM, GRU and RNN as a scan per direction, for dtypes that the graph's own ops have no
//! kernels for: doubles.
//!
//! The product with the input is one of all steps, before the scan; each step adds the
//! product with the state. Entries keep their state, and give 0, past their length.

use super::super::cx::Cx;
use super::super::error::{R, malformed};
use super::contraction::matmul;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{Activation, ActivationKind, BinaryOp, Direction, Op, RecurrentAttrs};
use cascata_ir::op::{ScanAttrs, UnaryOp};
use cascata_ir::types::{DType, Dim};

/// One direction of a layer.
struct Layer<'a> {
    /// 4 of an LSTM, 3 of a GRU, 1 of an RNN.
    gates: usize,
    hidden: Dim,
    attrs: &'a RecurrentAttrs,
    activations: &'a [Activation],
    /// `[H, G·H]`.
    r: ValueId,
    /// `[G·H]`, of the product with the state.
    bias: ValueId,
    /// `[B, 1]`.
    lens: ValueId,
    /// `[3·H]` of an LSTM.
    peepholes: Option<ValueId>,
}

/// The results of the op with these attributes and `operands` (`x, w, r, bias, lens, h0`, of
/// an LSTM `c0` and peepholes besides).
pub(super) fn scans(
    cx: &mut Cx<'_>,
    operands: &[ValueId],
    attrs: &RecurrentAttrs,
    gates: usize,
) -> R<Vec<ValueId>> {
    let directions = if attrs.direction == Direction::Bidirectional { 2 } else { 1 };
    // Of gates, of candidates, and of what an LSTM's cell shows.
    let each = match gates {
        1 => 1,
        3 => 2,
        _ => 3,
    };
    if attrs.activations.len() != directions * each {
        return malformed!("{} activations", attrs.activations.len());
    }
    // The caller has seen that R has rank 3.
    let hidden = cx.shape(operands[2])[2].clone();
    let rows = hidden.clone() * gates as i64;
    fits(cx, operands, &rows, &Dim::from(directions as i64))?;
    let lens = cx.unsqueeze(operands[4], &[1])?;
    let mut parts: Vec<Vec<ValueId>> = Vec::new();
    for d in 0..directions {
        let of = |cx: &mut Cx<'_>, i: usize| -> R<ValueId> {
            let own = cx.slice_axis(operands[i], 0, (d as i64).into(), 1.into())?;
            cx.squeeze(own, &[0])
        };
        let (w, r, biases) = (of(cx, 1)?, of(cx, 2)?, of(cx, 3)?);
        let (w, r) = (cx.transpose(w, vec![1, 0])?, cx.transpose(r, vec![1, 0])?);
        let input_bias = cx.slice_axis(biases, 0, 0.into(), rows.clone())?;
        let bias = cx.slice_axis(biases, 0, rows.clone(), rows.clone())?;
        let products = matmul(cx, operands[0], w)?;
        let products = cx.binary(BinaryOp::Add, products, input_bias)?;
        let mut states = vec![of(cx, 5)?];
        let mut peepholes = None;
        if gates == 4 {
            states.push(of(cx, 6)?);
            peepholes = Some(of(cx, 7)?);
        }
        let activations = &attrs.activations[d * each..][..each];
        let hidden = hidden.clone();
        let layer = Layer { gates, hidden, attrs, activations, r, bias, lens, peepholes };
        let backwards = d == 1 || attrs.direction == Direction::Reverse;
        parts.push(layer.scan(cx, &states, products, backwards)?);
    }
    // States, then all steps; results have the steps first, and directions on an axis.
    let mut results = Vec::new();
    for i in 0..parts[0].len() {
        let axis = usize::from(i == parts[0].len() - 1);
        let mut own = Vec::new();
        for part in &parts {
            own.push(cx.unsqueeze(part[i], &[axis])?);
        }
        results.push(cx.concat(&own, axis)?);
    }
    results.rotate_right(1);
    Ok(results)
}

/// Requires the directions and gates of the operands to be those of the layer.
fn fits(cx: &mut Cx<'_>, operands: &[ValueId], rows: &Dim, directions: &Dim) -> R<()> {
    let of_gates = [(2, 1, rows.clone()), (3, 1, rows.clone() * 2)];
    let others = (1..operands.len()).filter(|i| *i != 4).map(|i| (i, 0, directions.clone()));
    for (i, axis, wanted) in of_gates.into_iter().chain(others) {
        let Some(dim) = cx.shape(operands[i]).get(axis).cloned() else {
            return malformed!("operand {i} has rank {}", cx.rank(operands[i]));
        };
        cx.check(&dim, &wanted, &format!("directions and gates of operand {i}"))?;
    }
    Ok(())
}

impl Layer<'_> {
    /// Final states, then the outputs of all steps.
    fn scan(
        &self,
        cx: &mut Cx<'_>,
        states: &[ValueId],
        products: ValueId,
        backwards: bool,
    ) -> R<Vec<ValueId>> {
        let steps = cx.shape(products)[0].clone();
        let times = cx.iota(DType::I32, vec![steps], 0)?;
        let body = cx.imp.graph.add_region();
        let mut params = Vec::new();
        for &state in states {
            let ty = cx.ty(state).clone();
            params.push(cx.imp.graph.add_param(body, "", ty));
        }
        for scanned in [products, times] {
            let mut ty = cx.ty(scanned).clone();
            ty.shape.remove(0);
            params.push(cx.imp.graph.add_param(body, "", ty));
        }
        let frame = cx.frame.nested(body, cx.frame.opsets.clone())?;
        let results = self.step(&mut cx.within(&frame), &params, states.len())?;
        cx.imp.graph.regions[body].results = results;
        let attrs = ScanAttrs {
            body,
            states: states.len(),
            inputs: vec![(0, backwards); 2],
            outputs: vec![(0, backwards)],
        };
        cx.emit_all(Op::Scan(attrs), &[states, &[products, times]].concat())
    }

    /// States and output after a step.
    fn step(&self, cx: &mut Cx<'_>, params: &[ValueId], states: usize) -> R<Vec<ValueId>> {
        let (before, x, time) = (&params[..states], params[states], params[states + 1]);
        let after = match self.gates {
            4 => self.lstm(cx, x, before[0], before[1])?,
            3 => vec![self.gru(cx, x, before[0])?],
            _ => {
                let sum = self.sum(cx, x, before[0], 0)?;
                vec![self.squash(cx, 0, sum)?]
            }
        };
        let runs = cx.binary(BinaryOp::Lt, time, self.lens)?;
        let zero = cx.number_like(x, 0.0)?;
        let output = cx.select(runs, after[0], zero)?;
        let mut results = Vec::new();
        for (&new, &old) in after.iter().zip(before) {
            results.push(cx.select(runs, new, old)?);
        }
        results.push(output);
        Ok(results)
    }

    /// Gates in the order i, o, f, c; peepholes in the order i, o, f.
    fn lstm(&self, cx: &mut Cx<'_>, x: ValueId, h: ValueId, c: ValueId) -> R<Vec<ValueId>> {
        let peep = |cx: &mut Cx<'_>, sum: ValueId, which: i64, c: ValueId| match self.peepholes {
            Some(all) => {
                let own = self.part(cx, all, 0, which)?;
                let seen = cx.binary(BinaryOp::Mul, own, c)?;
                cx.binary(BinaryOp::Add, sum, seen)
            }
            None => Ok(sum),
        };
        let forget = self.sum(cx, x, h, 2)?;
        let forget = peep(cx, forget, 2, c)?;
        let forget = self.squash(cx, 0, forget)?;
        let input = match self.attrs.input_forget {
            true => one_minus(cx, forget)?,
            false => {
                let input = self.sum(cx, x, h, 0)?;
                let input = peep(cx, input, 0, c)?;
                self.squash(cx, 0, input)?
            }
        };
        let candidate = self.sum(cx, x, h, 3)?;
        let candidate = self.squash(cx, 1, candidate)?;
        let kept = cx.binary(BinaryOp::Mul, forget, c)?;
        let added = cx.binary(BinaryOp::Mul, input, candidate)?;
        let cell = cx.binary(BinaryOp::Add, kept, added)?;
        let output = self.sum(cx, x, h, 1)?;
        let output = peep(cx, output, 1, cell)?;
        let output = self.squash(cx, 0, output)?;
        let shown = activate(cx, &self.activations[2], cell)?;
        Ok(vec![cx.binary(BinaryOp::Mul, output, shown)?, cell])
    }

    /// Gates in the order z, r, h.
    fn gru(&self, cx: &mut Cx<'_>, x: ValueId, h: ValueId) -> R<ValueId> {
        let update = self.sum(cx, x, h, 0)?;
        let update = self.squash(cx, 0, update)?;
        let reset = self.sum(cx, x, h, 1)?;
        let reset = self.squash(cx, 0, reset)?;
        let state = match self.attrs.linear_before_reset {
            true => {
                let state = self.of_state(cx, h, 2)?;
                cx.binary(BinaryOp::Mul, reset, state)?
            }
            false => {
                let kept = cx.binary(BinaryOp::Mul, reset, h)?;
                self.of_state(cx, kept, 2)?
            }
        };
        let own = self.part(cx, x, 1, 2)?;
        let candidate = cx.binary(BinaryOp::Add, own, state)?;
        let candidate = self.squash(cx, 1, candidate)?;
        let fresh = one_minus(cx, update)?;
        let fresh = cx.binary(BinaryOp::Mul, fresh, candidate)?;
        let kept = cx.binary(BinaryOp::Mul, update, h)?;
        cx.binary(BinaryOp::Add, fresh, kept)
    }

    /// The numbers of one gate along an axis.
    fn part(&self, cx: &mut Cx<'_>, x: ValueId, axis: usize, gate: i64) -> R<ValueId> {
        cx.slice_axis(x, axis, self.hidden.clone() * gate, self.hidden.clone())
    }

    /// `h·R + bias` of one gate.
    fn of_state(&self, cx: &mut Cx<'_>, h: ValueId, gate: i64) -> R<ValueId> {
        let r = self.part(cx, self.r, 1, gate)?;
        let bias = self.part(cx, self.bias, 0, gate)?;
        let product = matmul(cx, h, r)?;
        cx.binary(BinaryOp::Add, product, bias)
    }

    /// What input and state give for one gate.
    fn sum(&self, cx: &mut Cx<'_>, x: ValueId, h: ValueId, gate: i64) -> R<ValueId> {
        let (own, state) = (self.part(cx, x, 1, gate)?, self.of_state(cx, h, gate)?);
        cx.binary(BinaryOp::Add, own, state)
    }

    /// The `which`-th activation of the clipped sum.
    fn squash(&self, cx: &mut Cx<'_>, which: usize, sum: ValueId) -> R<ValueId> {
        let clip = self.attrs.clip.map(|c| c.to_f64()).filter(|c| c.is_finite());
        let sum = match clip {
            Some(clip) => cx.clamp(sum, -clip.abs(), clip.abs())?,
            None => sum,
        };
        activate(cx, &self.activations[which], sum)
    }
}

fn one_minus(cx: &mut Cx<'_>, x: ValueId) -> R<ValueId> {
    let one = cx.number_like(x, 1.0)?;
    cx.binary(BinaryOp::Sub, one, x)
}

fn activate(cx: &mut Cx<'_>, f: &Activation, x: ValueId) -> R<ValueId> {
    use ActivationKind::*;
    let (alpha, beta) = (f.alpha.to_f64(), f.beta.to_f64());
    let affine = |cx: &mut Cx<'_>| {
        let y = cx.with_number(BinaryOp::Mul, x, alpha)?;
        cx.with_number(BinaryOp::Add, y, beta)
    };
    let from = |cx: &mut Cx<'_>, limit: f64, other: ValueId| {
        let above = cx.with_number(BinaryOp::Ge, x, limit)?;
        cx.select(above, x, other)
    };
    match f.kind {
        Relu => cx.unary(UnaryOp::Relu, x),
        Tanh => cx.unary(UnaryOp::Tanh, x),
        Sigmoid => cx.unary(UnaryOp::Sigmoid, x),
        Softplus => cx.unary(UnaryOp::Softplus, x),
        Affine => affine(cx),
        HardSigmoid => {
            let y = affine(cx)?;
            cx.clamp(y, 0.0, 1.0)
        }
        LeakyRelu => {
            let scaled = cx.with_number(BinaryOp::Mul, x, alpha)?;
            from(cx, 0.0, scaled)
        }
        ThresholdedRelu => {
            let zero = cx.number_like(x, 0.0)?;
            from(cx, alpha, zero)
        }
        ScaledTanh => {
            let y = cx.with_number(BinaryOp::Mul, x, beta)?;
            let y = cx.unary(UnaryOp::Tanh, y)?;
            cx.with_number(BinaryOp::Mul, y, alpha)
        }
        Elu => {
            let e = cx.unary(UnaryOp::Exp, x)?;
            let e = cx.with_number(BinaryOp::Sub, e, 1.0)?;
            let e = cx.with_number(BinaryOp::Mul, e, alpha)?;
            from(cx, 0.0, e)
        }
        Softsign => {
            let size = cx.unary(UnaryOp::Abs, x)?;
            let size = cx.with_number(BinaryOp::Add, size, 1.0)?;
            cx.binary(BinaryOp::Div, x, size)
        }
    }
}
