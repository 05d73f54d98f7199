//! Fourier transforms as products with a table of cosines and sines, and mel filters.

use super::super::cx::Cx;
use super::super::cx::axis;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::contraction::matmul;
use super::source::named_dtype;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{BinaryOp, Op};
use cascata_ir::types::DType;
use std::f64::consts::PI;

pub const OPS: Table =
    &[("DFT", One(dft)), ("MelWeightMatrix", One(mel_weight_matrix)), ("STFT", One(stft))];

/// Longest transform: its table has the square of that many numbers.
const LONGEST: i64 = 4096;

/// Most numbers of a matrix of mel filters.
const MOST_FILTERS: i64 = 1 << 24;

/// A transform along one axis.
struct Transform {
    length: i64,
    inverse: bool,
    one_sided: bool,
}

impl Transform {
    /// How many frequencies (or, of a real inverse, times) come out.
    fn results(&self) -> i64 {
        if self.one_sided && !self.inverse { self.length / 2 + 1 } else { self.length }
    }

    /// How many numbers along the axis are read at most.
    fn reads(&self) -> i64 {
        if self.one_sided && self.inverse { self.length / 2 + 1 } else { self.length }
    }

    /// `factor(row)·f(2π·row·column/length)` for `rows` rows.
    fn table(&self, cx: &mut Cx<'_>, dtype: DType, rows: i64, f: fn(f64) -> f64) -> R<ValueId> {
        let factor = |row: i64| {
            let mirrored = self.inverse && self.one_sided && row > 0 && 2 * row != self.length;
            let scale = if self.inverse { 1.0 / self.length as f64 } else { 1.0 };
            if mirrored { 2.0 * scale } else { scale }
        };
        let angle = |row: i64, column: i64| {
            // Reduced first: large products would lose digits.
            let turn = (row * column % self.length) as f64 / self.length as f64;
            2.0 * PI * turn
        };
        let columns = self.results();
        let numbers = (0..rows)
            .flat_map(|r| (0..columns).map(move |c| factor(r) * f(angle(r, c))))
            .collect::<Vec<f64>>();
        cx.constant(dtype, vec![rows, columns], &numbers)
    }
}

fn dft(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let rank = cx.rank(x);
    let at = match (cx.version >= 20, cx.has(2)) {
        (true, true) => cx.known_int(2)?,
        (true, false) => -2,
        (false, _) => cx.int("axis", 1)?,
    };
    let at = axis(at, rank)?;
    let (inverse, one_sided) = (cx.flag("inverse", false)?, cx.flag("onesided", false)?);
    let length = match (cx.has(1), cx.shape(x)[at].as_const()) {
        (true, _) => cx.known_int(1)?,
        (false, Some(n)) if inverse && one_sided => 2 * (n - 1),
        (false, Some(n)) => n,
        (false, None) => return unsupported!("a transform over an axis of unknown size"),
    };
    transform(cx, x, at, &Transform { length, inverse, one_sided })
}

/// The transform of `x[…, 1 or 2]` (real, or real and imaginary parts) along `at`.
fn transform(cx: &mut Cx<'_>, x: ValueId, at: usize, t: &Transform) -> R<ValueId> {
    if !(1..=LONGEST).contains(&t.length) {
        return unsupported!("a transform of {} elements, at most {LONGEST}", t.length);
    }
    let last = cx.rank(x) - 1;
    if at == last || !(cx.shape(x)[last].is(1) || cx.shape(x)[last].is(2)) {
        return malformed!("the last axis must hold 1 or 2 parts and cannot be transformed");
    }
    let dtype = cx.dtype(x);
    let complex = cx.shape(x)[last].is(2);
    let Some(given) = cx.shape(x)[at].as_const() else {
        return unsupported!("a transform over an axis of unknown size");
    };
    // What lacks counts as 0, what is too much is not read.
    let rows = given.min(t.reads());
    let x = cx.slice_axis(x, at, 0.into(), rows.into())?;
    let mut to_last: Vec<usize> = (0..last).filter(|a| *a != at).collect();
    to_last.push(at);
    let mut part = |i: i64| -> R<ValueId> {
        let one = cx.slice_axis(x, last, i.into(), 1.into())?;
        let one = cx.squeeze(one, &[last])?;
        cx.transpose(one, to_last.clone())
    };
    let (re, im) = (part(0)?, if complex { Some(part(1)?) } else { None });
    let cos = t.table(cx, dtype, rows, f64::cos)?;
    let sin = t.table(cx, dtype, rows, f64::sin)?;
    // e^(−iθ) forwards, e^(iθ) backwards.
    let (plus, minus) = match t.inverse {
        false => (BinaryOp::Add, BinaryOp::Sub),
        true => (BinaryOp::Sub, BinaryOp::Add),
    };
    let re_cos = matmul(cx, re, cos)?;
    let re_sin = matmul(cx, re, sin)?;
    let (real, imaginary) = match im {
        Some(im) => {
            let (im_sin, im_cos) = (matmul(cx, im, sin)?, matmul(cx, im, cos)?);
            (cx.binary(plus, re_cos, im_sin)?, cx.binary(minus, im_cos, re_sin)?)
        }
        None => {
            let zero = cx.number(dtype, 0.0)?;
            (re_cos, cx.binary(minus, zero, re_sin)?)
        }
    };
    let mut back: Vec<usize> = (0..last - 1).collect();
    back.insert(at, last - 1);
    let mut parts = Vec::new();
    for part in [real, imaginary].into_iter().take(if t.inverse && t.one_sided { 1 } else { 2 }) {
        let part = cx.transpose(part, back.clone())?;
        parts.push(cx.unsqueeze(part, &[last])?);
    }
    cx.concat(&parts, last)
}

/// Overlapping frames, each times the window, each transformed.
fn stft(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let x = if cx.rank(x) == 2 { cx.unsqueeze(x, &[2])? } else { x };
    if cx.rank(x) != 3 {
        return malformed!("a signal of rank {}, must be 3", cx.rank(x));
    }
    let step = cx.known_int(1)?;
    let window = cx.optional(2)?;
    let length = match (cx.has(3), window) {
        (true, _) => cx.known_int(3)?,
        (false, Some(window)) => match cx.ty(window).elements().as_const() {
            Some(n) => n,
            None => return unsupported!("a window of unknown length"),
        },
        (false, None) => return malformed!("neither a window nor frame_length is given"),
    };
    if step < 1 || length < 1 {
        return malformed!("frame_step {step}, frame_length {length}");
    }
    let samples = cx.shape(x)[1].clone();
    let frames = (samples - length).floor_div(&step.into()) + 1;
    let start = cx.iota(DType::I64, vec![frames, 1.into()], 0)?;
    let start = cx.with_number(BinaryOp::Mul, start, step as f64)?;
    let offset = cx.iota(DType::I64, vec![1.into(), length.into()], 1)?;
    let index = cx.binary(BinaryOp::Add, start, offset)?;
    let mut framed = cx.emit(Op::Gather { axis: 1 }, &[x, index])?;
    if let Some(window) = window {
        let column = cx.reshape(window, vec![length.into(), 1.into()])?;
        framed = cx.binary(BinaryOp::Mul, framed, column)?;
    }
    let one_sided = cx.flag("onesided", true)?;
    transform(cx, framed, 2, &Transform { length, inverse: false, one_sided })
}

/// Triangles over the frequencies of a transform, evenly spaced on the mel scale.
fn mel_weight_matrix(cx: &mut Cx<'_>) -> R<ValueId> {
    let (bins, length, rate) = (cx.known_int(0)?, cx.known_int(1)?, cx.known_int(2)?);
    let mut edges = Vec::new();
    for i in [3, 4] {
        match cx.known_floats(i)?.as_slice() {
            [x] => edges.push(*x),
            other => return malformed!("input {i} has {} elements", other.len()),
        }
    }
    let dtype = named_dtype(cx.int("output_datatype", 1)?)?;
    let spectrum = length.max(0) / 2 + 1;
    let total = spectrum.checked_mul(bins).filter(|n| (1..=MOST_FILTERS).contains(n));
    if total.is_none() || rate < 1 {
        return malformed!("{bins} filters over {spectrum} frequencies at rate {rate}");
    }
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let (low, high) = (mel(edges[0]), mel(edges[1]));
    let step = (high - low) / (bins + 2) as f64;
    let place = |i: i64| {
        let hertz = 700.0 * (10f64.powf((low + i as f64 * step) / 2595.0) - 1.0);
        ((length + 1) as f64 * hertz / rate as f64).floor() as i64
    };
    let (rows, columns) = (spectrum as usize, bins as usize);
    let mut numbers = vec![0.0; rows * columns];
    let mut set = |j: i64, i: usize, x: f64| {
        if let Some(row) = usize::try_from(j).ok().filter(|j| *j < rows) {
            numbers[row * columns + i] = x;
        }
    };
    for i in 0..columns {
        let [left, centre, right] = [0, 1, 2].map(|k| place(i as i64 + k));
        if left == centre {
            set(centre, i, 1.0);
        }
        // Frequencies outside of the spectrum have no row.
        for j in left.max(0)..centre.saturating_add(1).min(spectrum) {
            if left < centre {
                set(j, i, (j as f64 - left as f64) / (centre as f64 - left as f64));
            }
        }
        for j in centre.max(0)..right.min(spectrum) {
            set(j, i, (right as f64 - j as f64) / (right as f64 - centre as f64));
        }
    }
    cx.constant(dtype, vec![spectrum, bins], &numbers)
}
