//! Padding in ONNX's four modes.

use super::bind::Dims;
use super::error::OpError;
use super::index::{combine_some, strides};
use super::tensor::{Tensor, checked_elements};
use crate::op::PadMode;
use crate::types::Dim;

pub(super) fn pad(
    x: &Tensor,
    value: Option<&Tensor>,
    pads: &[(Dim, Dim)],
    mode: PadMode,
    dims: &Dims,
) -> Result<Tensor, OpError> {
    if pads.len() != x.rank() {
        return Err(OpError::Shape(format!("{} pads for {} axes", pads.len(), x.rank())));
    }
    let mut sizes = Vec::with_capacity(pads.len());
    let mut tables = Vec::with_capacity(pads.len());
    for ((before, after), (&len, stride)) in pads.iter().zip(x.dims().iter().zip(strides(x.dims())))
    {
        let (before, after) = (dims.size(before)?, dims.size(after)?);
        let size = before.saturating_add(len).saturating_add(after);
        checked_elements(&[size])?;
        if len == 0 && size > 0 && mode != PadMode::Constant {
            return Err(OpError::Shape(format!(
                "an empty axis has nothing to pad with ({mode:?})"
            )));
        }
        let at = |i: usize| source(i as i64 - before as i64, len as i64, mode);
        tables.push((0..size).map(|i| at(i).map(|p| p * stride)).collect::<Vec<_>>());
        sizes.push(size);
    }
    checked_elements(&sizes)?;
    let fill = match value {
        Some(value) => value.clone(),
        None if mode == PadMode::Constant => return Err(OpError::MissingOperand(1)),
        // Not read: every position has a source.
        None => Tensor::zeros(x.dtype(), &[])?,
    };
    let data = x.data().take_or(&combine_some(&tables), fill.data());
    let data =
        data.ok_or_else(|| OpError::dtype(1, &format!("one {}", x.dtype()), fill.dtype()))?;
    Tensor::from_data(&sizes, data)
}

/// The operand position that padded position `i` (0 is the operand's first) shows.
fn source(i: i64, len: i64, mode: PadMode) -> Option<usize> {
    let position = match mode {
        _ if (0..len).contains(&i) => i,
        PadMode::Constant => return None,
        PadMode::Edge => i.clamp(0, len - 1),
        PadMode::Wrap => i.rem_euclid(len),
        // Mirrored at both ends without repeating them, as often as needed.
        PadMode::Reflect => {
            let period = (2 * (len - 1)).max(1);
            let folded = i.rem_euclid(period);
            folded.min(period - folded).min(len - 1)
        }
    };
    Some(position as usize)
}
