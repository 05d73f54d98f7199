//! LSTM, GRU and RNN (ONNX). States stay in `f64` between the time steps.
//!
//! An entry of length n runs over its first n steps (backwards: from step n − 1 down
//! to 0); its outputs past n are 0 and its final state is the one after n steps.

use super::compute::Operands;
use super::error::OpError;
use super::tensor::Tensor;
use crate::op::{Activation, ActivationKind, Direction, RecurrentAttrs};

/// The operands of one recurrent op.
struct Problem {
    steps: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    directions: usize,
    gates: usize,
    x: Vec<f64>,
    w: Vec<f64>,
    r: Vec<f64>,
    bias: Vec<f64>,
    lens: Vec<usize>,
    h0: Vec<f64>,
}

/// The weights of one direction.
struct Cell<'a> {
    input: usize,
    hidden: usize,
    w: &'a [f64],
    r: &'a [f64],
    input_bias: &'a [f64],
    recurrent_bias: &'a [f64],
    activations: &'a [Activation],
    clip: f64,
}

impl Cell<'_> {
    /// `W·x + bias` of one gate and unit.
    fn of_input(&self, gate: usize, unit: usize, x: &[f64]) -> f64 {
        let row = gate * self.hidden + unit;
        dot(&self.w[row * self.input..][..self.input], x) + self.input_bias[row]
    }

    /// `R·h + bias` of one gate and unit.
    fn of_state(&self, gate: usize, unit: usize, h: &[f64]) -> f64 {
        let row = gate * self.hidden + unit;
        dot(&self.r[row * self.hidden..][..self.hidden], h) + self.recurrent_bias[row]
    }

    /// The `which`-th activation of the clipped sum.
    fn squash(&self, which: usize, sum: f64) -> f64 {
        activate(&self.activations[which], sum.clamp(-self.clip, self.clip))
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// What one direction computed.
struct Outputs {
    y: Vec<f64>,
    h: Vec<f64>,
    c: Vec<f64>,
}

pub(super) fn lstm(args: &Operands, attrs: &RecurrentAttrs) -> Result<Vec<Tensor>, OpError> {
    let p = Problem::new(args, attrs, 4)?;
    let c0 = p.operand(args, 6, &[p.directions, p.batch, p.hidden])?;
    let peepholes = p.operand(args, 7, &[p.directions, 3 * p.hidden])?;
    let out = p.run(attrs, 3, &c0, |direction, cell, x, h, c| {
        let peephole = &peepholes[direction * 3 * p.hidden..][..3 * p.hidden];
        lstm_step(cell, attrs.input_forget, peephole, x, h, c);
    })?;
    p.tensors(args, out, true)
}

/// Gates in the order i, o, f, c; peepholes in the order i, o, f.
fn lstm_step(
    cell: &Cell,
    coupled: bool,
    peephole: &[f64],
    x: &[f64],
    h: &mut [f64],
    c: &mut [f64],
) {
    let n = cell.hidden;
    let before = h.to_vec();
    for unit in 0..n {
        let linear =
            |gate: usize| cell.of_input(gate, unit, x) + cell.of_state(gate, unit, &before);
        let forget = cell.squash(0, linear(2) + peephole[2 * n + unit] * c[unit]);
        let input = if coupled {
            1.0 - forget
        } else {
            cell.squash(0, linear(0) + peephole[unit] * c[unit])
        };
        c[unit] = forget * c[unit] + input * cell.squash(1, linear(3));
        let output = cell.squash(0, linear(1) + peephole[n + unit] * c[unit]);
        h[unit] = output * activate(&cell.activations[2], c[unit]);
    }
}

pub(super) fn gru(args: &Operands, attrs: &RecurrentAttrs) -> Result<Vec<Tensor>, OpError> {
    let p = Problem::new(args, attrs, 3)?;
    let out = p.run(attrs, 2, &p.h0, |_, cell, x, h, _| {
        gru_step(cell, attrs.linear_before_reset, x, h);
    })?;
    p.tensors(args, out, false)
}

/// Gates in the order z, r, h.
fn gru_step(cell: &Cell, linear_before_reset: bool, x: &[f64], h: &mut [f64]) {
    let n = cell.hidden;
    let before = h.to_vec();
    let gate = |gate: usize, unit: usize| {
        cell.squash(0, cell.of_input(gate, unit, x) + cell.of_state(gate, unit, &before))
    };
    let reset: Vec<f64> = (0..n).map(|unit| gate(1, unit)).collect();
    let kept: Vec<f64> = before.iter().zip(&reset).map(|(h, r)| h * r).collect();
    for unit in 0..n {
        let update = gate(0, unit);
        let state = if linear_before_reset {
            reset[unit] * cell.of_state(2, unit, &before)
        } else {
            cell.of_state(2, unit, &kept)
        };
        let candidate = cell.squash(1, cell.of_input(2, unit, x) + state);
        h[unit] = (1.0 - update) * candidate + update * before[unit];
    }
}

pub(super) fn rnn(args: &Operands, attrs: &RecurrentAttrs) -> Result<Vec<Tensor>, OpError> {
    let p = Problem::new(args, attrs, 1)?;
    let out = p.run(attrs, 1, &p.h0, |_, cell, x, h, _| {
        let before = h.to_vec();
        for (unit, h) in h.iter_mut().enumerate() {
            let sum = cell.of_input(0, unit, x) + cell.of_state(0, unit, &before);
            *h = cell.squash(0, sum);
        }
    })?;
    p.tensors(args, out, false)
}

impl Problem {
    fn new(args: &Operands, attrs: &RecurrentAttrs, gates: usize) -> Result<Self, OpError> {
        let directions = if attrs.direction == Direction::Bidirectional { 2 } else { 1 };
        let (&[steps, batch, input], &[_, _, hidden]) = (args.at(0)?.dims(), args.at(2)?.dims())
        else {
            return Err(OpError::Shape("x must be [S,B,I] and r [D,G·H,H]".into()));
        };
        let mut p = Self {
            steps,
            batch,
            input,
            hidden,
            directions,
            gates,
            x: args.floats(0)?,
            w: vec![],
            r: vec![],
            bias: vec![],
            lens: vec![],
            h0: vec![],
        };
        p.w = p.operand(args, 1, &[directions, gates * hidden, input])?;
        p.r = p.operand(args, 2, &[directions, gates * hidden, hidden])?;
        p.bias = p.operand(args, 3, &[directions, 2 * gates * hidden])?;
        p.h0 = p.operand(args, 5, &[directions, batch, hidden])?;
        p.lens = p.lengths(args)?;
        Ok(p)
    }

    /// Floats of operand `i`, which must have the given dims and the dtype of x.
    fn operand(&self, args: &Operands, i: usize, dims: &[usize]) -> Result<Vec<f64>, OpError> {
        let (x, dtype) = (args.at(i)?, args.at(0)?.dtype());
        if x.dims() != dims {
            let found = x.dims();
            return Err(OpError::Shape(format!(
                "operand {i} has dims {found:?}, expected {dims:?}"
            )));
        }
        if x.dtype() != dtype {
            return Err(OpError::dtype(i, &dtype.to_string(), x.dtype()));
        }
        args.floats(i)
    }

    fn lengths(&self, args: &Operands) -> Result<Vec<usize>, OpError> {
        let lens = args.ints(4)?;
        if lens.len() != self.batch {
            let found = args.at(4)?.dims();
            return Err(OpError::Shape(format!(
                "lens has dims {found:?}, expected [{}]",
                self.batch
            )));
        }
        let fits = |len: &i64| usize::try_from(*len).ok().filter(|&l| l <= self.steps);
        let outside = |index: i64| OpError::Index { index, axis: 0, len: self.steps + 1 };
        lens.iter().map(|len| fits(len).ok_or_else(|| outside(*len))).collect()
    }

    /// Runs `step(direction, cell, x, h, c)` over time for each direction and entry.
    fn run(
        &self,
        attrs: &RecurrentAttrs,
        functions: usize,
        c0: &[f64],
        step: impl Fn(usize, &Cell, &[f64], &mut [f64], &mut [f64]),
    ) -> Result<Outputs, OpError> {
        if attrs.activations.len() != functions * self.directions {
            let (has, wants) = (attrs.activations.len(), functions * self.directions);
            return Err(OpError::Shape(format!("{has} activations given, expected {wants}")));
        }
        let (n, states) = (self.hidden, self.directions * self.batch * self.hidden);
        let mut out =
            Outputs { y: vec![0.0; self.steps * states], h: self.h0.clone(), c: c0.to_vec() };
        for direction in 0..self.directions {
            let cell = self.cell(attrs, functions, direction);
            let backwards = direction == 1 || attrs.direction == Direction::Reverse;
            for entry in 0..self.batch {
                let at = (direction * self.batch + entry) * n;
                let len = self.lens[entry];
                for i in 0..len {
                    let t = if backwards { len - 1 - i } else { i };
                    let x = &self.x[(t * self.batch + entry) * self.input..][..self.input];
                    step(direction, &cell, x, &mut out.h[at..at + n], &mut out.c[at..at + n]);
                    out.y[t * states + at..][..n].copy_from_slice(&out.h[at..at + n]);
                }
            }
        }
        Ok(out)
    }

    fn cell<'a>(
        &'a self,
        attrs: &'a RecurrentAttrs,
        functions: usize,
        direction: usize,
    ) -> Cell<'a> {
        let rows = self.gates * self.hidden;
        let bias = &self.bias[direction * 2 * rows..][..2 * rows];
        Cell {
            input: self.input,
            hidden: self.hidden,
            w: &self.w[direction * rows * self.input..][..rows * self.input],
            r: &self.r[direction * rows * self.hidden..][..rows * self.hidden],
            input_bias: &bias[..rows],
            recurrent_bias: &bias[rows..],
            activations: &attrs.activations[direction * functions..][..functions],
            // A NaN limit is none: `clamp` must not see it.
            clip: attrs.clip.map_or(f64::INFINITY, |c| c.to_f64().abs().min(f64::INFINITY)),
        }
    }

    fn tensors(&self, args: &Operands, out: Outputs, with_c: bool) -> Result<Vec<Tensor>, OpError> {
        let dtype = args.at(0)?.dtype();
        let state = [self.directions, self.batch, self.hidden];
        let all = [self.steps, self.directions, self.batch, self.hidden];
        let mut tensors =
            vec![Tensor::from_f64(dtype, &all, out.y)?, Tensor::from_f64(dtype, &state, out.h)?];
        if with_c {
            tensors.push(Tensor::from_f64(dtype, &state, out.c)?);
        }
        Ok(tensors)
    }
}

fn activate(f: &Activation, x: f64) -> f64 {
    let (alpha, beta) = (f.alpha.to_f64(), f.beta.to_f64());
    match f.kind {
        ActivationKind::Relu => {
            if x > 0.0 || x.is_nan() {
                x
            } else {
                0.0
            }
        }
        ActivationKind::Tanh => libm::tanh(x),
        ActivationKind::Sigmoid => 1.0 / (1.0 + libm::exp(-x)),
        ActivationKind::Affine => alpha * x + beta,
        ActivationKind::LeakyRelu => {
            if x >= 0.0 {
                x
            } else {
                alpha * x
            }
        }
        ActivationKind::ThresholdedRelu => {
            if x >= alpha {
                x
            } else {
                0.0
            }
        }
        ActivationKind::ScaledTanh => alpha * libm::tanh(beta * x),
        ActivationKind::HardSigmoid => (alpha * x + beta).clamp(0.0, 1.0),
        ActivationKind::Elu => {
            if x >= 0.0 {
                x
            } else {
                alpha * libm::expm1(x)
            }
        }
        ActivationKind::Softsign => x / (1.0 + x.abs()),
        ActivationKind::Softplus => {
            if x > 0.0 {
                x + libm::log1p(libm::exp(-x))
            } else {
                libm::log1p(libm::exp(x))
            }
        }
    }
}
