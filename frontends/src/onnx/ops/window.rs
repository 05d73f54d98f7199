//! Strides, dilations and padding of sliding windows (convolutions, pools).

use super::super::cx::Cx;
use super::super::error::{R, malformed, unsupported};
use super::super::facts::maximum;
use cascata_ir::graph::ValueId;
use cascata_ir::op::{Op, PadMode};
use cascata_ir::types::{Dim, Scalar};

/// Windows over the spatial axes of an operand.
pub struct Windows {
    /// The operand, padded by an op of its own where the pads are not numbers.
    pub x: ValueId,
    /// Per spatial axis.
    pub strides: Vec<i64>,
    /// `(begin, end)` per spatial axis.
    pub pads: Vec<(i64, i64)>,
    /// Per spatial axis.
    pub dilations: Vec<i64>,
    /// Whether `x` was padded by an op of its own.
    pub padded: bool,
}

/// One number per spatial axis, from an attribute of that length.
pub fn per_axis(cx: &Cx<'_>, name: &str, n: usize, default: i64) -> R<Vec<i64>> {
    let list = cx.ints(name)?.unwrap_or(vec![default; n]);
    if list.len() != n {
        return malformed!("{name} has {} numbers for {n} spatial axes", list.len());
    }
    const LIMIT: i64 = 1 << 31;
    if list.iter().any(|x| !(-LIMIT..=LIMIT).contains(x)) {
        return malformed!("{name} {list:?} is out of range");
    }
    Ok(list)
}

/// Number of spatial axes of an operand.
pub fn spatial(cx: &Cx<'_>, x: ValueId) -> R<usize> {
    match cx.rank(x).checked_sub(2) {
        Some(n) if n > 0 => Ok(n),
        _ => malformed!("the operand needs a batch, a channel and a spatial axis"),
    }
}

/// Explicit pads as `(begin, end)` pairs.
pub fn explicit_pads(cx: &Cx<'_>, n: usize) -> R<Vec<(i64, i64)>> {
    let list = cx.ints("pads")?.unwrap_or(vec![0; 2 * n]);
    if list.len() != 2 * n {
        return malformed!("pads has {} numbers for {n} spatial axes", list.len());
    }
    if list.iter().any(|p| !(0..=1 << 31).contains(p)) {
        return unsupported!("pads {list:?}: negative or very large");
    }
    Ok((0..n).map(|i| (list[i], list[n + i])).collect())
}

/// Reads the window attributes. `SAME_*` padding that depends on symbols is applied by a
/// `Pad` op with `fill`.
pub fn windows(cx: &mut Cx<'_>, x: ValueId, kernel: &[i64], fill: f64) -> R<Windows> {
    let n = spatial(cx, x)?;
    if kernel.len() != n {
        return malformed!("a kernel of {} dims for {n} spatial axes", kernel.len());
    }
    let strides = per_axis(cx, "strides", n, 1)?;
    let dilations = per_axis(cx, "dilations", n, 1)?;
    if strides.iter().chain(&dilations).chain(kernel).any(|s| *s < 1) {
        return malformed!("kernel, strides and dilations must be 1 or more");
    }
    let mut out = Windows { x, strides, pads: vec![(0, 0); n], dilations, padded: false };
    let upper = match cx.string("auto_pad", "NOTSET")?.as_str() {
        "NOTSET" | "" => {
            out.pads = explicit_pads(cx, n)?;
            return Ok(out);
        }
        "VALID" => return Ok(out),
        "SAME_UPPER" => true,
        "SAME_LOWER" => false,
        other => return malformed!("auto_pad '{other}' does not exist"),
    };
    let totals = same_totals(cx, &out, kernel);
    match totals.iter().map(Dim::as_const).collect::<Option<Vec<i64>>>() {
        Some(totals) => {
            out.pads = totals
                .into_iter()
                .map(|t| if upper { (t / 2, t - t / 2) } else { (t - t / 2, t / 2) })
                .collect();
        }
        None => {
            let half = |t: &Dim| t.floor_div(&2.into());
            let split = |t: &Dim| match upper {
                true => (half(t), t.clone() - half(t)),
                false => (t.clone() - half(t), half(t)),
            };
            let none = || (Dim::from(0), Dim::from(0));
            let pads = [none(), none()].into_iter().chain(totals.iter().map(split)).collect();
            let value = Scalar::from_f64(cx.dtype(x), fill);
            let value = cx.fill(value, vec![])?;
            out.x = cx.emit(Op::Pad { pads, mode: PadMode::Constant }, &[x, value])?;
            out.padded = true;
        }
    }
    Ok(out)
}

/// Padding per axis so that the result has `ceil(size / stride)` elements.
fn same_totals(cx: &Cx<'_>, w: &Windows, kernel: &[i64]) -> Vec<Dim> {
    let shape = cx.shape(w.x);
    let total = |i: usize| {
        let extent = (kernel[i] - 1) * w.dilations[i] + 1;
        let (size, stride) = (shape[2 + i].clone(), w.strides[i]);
        let total = match stride {
            1 => Dim::from(extent - 1),
            _ => (size.ceil_div(&stride.into()) - 1) * stride + extent - size,
        };
        maximum(&total, &0.into(), cx.symbols())
    };
    (0..kernel.len()).map(total).collect()
}

/// Static dims of a kernel operand from axis 2 on.
pub fn kernel_of(cx: &Cx<'_>, w: ValueId) -> R<Vec<i64>> {
    let dims = cx.shape(w);
    let kernel = dims.get(2..).unwrap_or_default().iter().map(Dim::as_const);
    let Some(kernel) = kernel.collect::<Option<Vec<i64>>>() else {
        return unsupported!("a kernel whose size is not known");
    };
    if let Some(given) = cx.ints("kernel_shape")?
        && given != kernel
    {
        return malformed!("kernel_shape is {given:?}, but the weights are for {kernel:?}");
    }
    if kernel.iter().any(|k| !(1..=1 << 31).contains(k)) {
        return malformed!("kernel {kernel:?} is out of range");
    }
    Ok(kernel)
}

/// A rank-0 fill for the smallest number of the operand's dtype.
pub fn lowest(cx: &mut Cx<'_>, x: ValueId) -> f64 {
    let dtype = cx.dtype(x);
    if dtype.is_float() { f64::NEG_INFINITY } else { Scalar::from_f64(dtype, f64::MIN).to_f64() }
}
