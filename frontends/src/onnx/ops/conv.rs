//! Convolutions.

use super::super::cx::Cx;
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use super::window::{explicit_pads, kernel_of, per_axis, spatial, windows};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{ChannelLayout, ConvAttrs, ConvTransposeAttrs, Op};
use cascata_ir::types::DType;

pub const OPS: Table = &[("Conv", One(conv)), ("ConvTranspose", One(conv_transpose))];

fn conv(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let bias = cx.optional(2)?;
    conv_of(cx, x, w, bias)
}

/// A convolution with the node's attributes and these operands.
pub fn conv_of(cx: &mut Cx<'_>, x: ValueId, w: ValueId, bias: Option<ValueId>) -> R<ValueId> {
    let kernel = kernel_of(cx, w)?;
    let windows = windows(cx, x, &kernel, 0.0)?;
    let attrs = ConvAttrs {
        strides: windows.strides,
        pads: windows.pads,
        dilations: windows.dilations,
        groups: cx.int("group", 1)?,
        layout: ChannelLayout::First,
    };
    let operands: Vec<ValueId> = [windows.x, w].into_iter().chain(bias).collect();
    cx.emit(Op::Conv(attrs), &operands)
}

fn conv_transpose(cx: &mut Cx<'_>) -> R<ValueId> {
    let (x, w) = (cx.input(0)?, cx.input(1)?);
    let bias = cx.optional(2)?;
    let (n, kernel) = (spatial(cx, x)?, kernel_of(cx, w)?);
    if kernel.len() != n {
        return malformed!("a kernel of {} dims for {n} spatial axes", kernel.len());
    }
    let strides = per_axis(cx, "strides", n, 1)?;
    let dilations = per_axis(cx, "dilations", n, 1)?;
    let mut output_padding = per_axis(cx, "output_padding", n, 0)?;
    let mut pads = explicit_pads(cx, n)?;
    let mode = cx.string("auto_pad", "NOTSET")?;
    let same = mode.starts_with("SAME");
    if same || cx.has_attribute("output_shape") {
        let given = cx.ints("output_shape")?;
        for i in 0..n {
            let extent = (kernel[i] - 1) * dilations[i] + 1 + output_padding[i];
            let total = match &given {
                Some(list) => {
                    // Some exporters list batch and channels too.
                    let wanted = list.len().checked_sub(n).and_then(|lead| list.get(lead + i));
                    let size = cx.shape(x)[2 + i].as_const();
                    match (wanted, size) {
                        (Some(out), Some(size)) => strides[i]
                            .saturating_mul(size - 1)
                            .saturating_add(extent)
                            .saturating_sub(*out),
                        _ => return unsupported!("output_shape for an operand of unknown size"),
                    }
                }
                None => extent - strides[i],
            };
            let short = total / 2;
            pads[i] = match mode.as_str() {
                "SAME_UPPER" => (short, total - short),
                _ => (total - short, short),
            };
            if total < 0 {
                // Nothing is cut; the rest of the wanted size is zeros at the end.
                pads[i] = (0, 0);
                output_padding[i] = output_padding[i].saturating_sub(total);
            }
        }
    } else if mode != "NOTSET" && mode != "VALID" {
        return malformed!("auto_pad '{mode}' does not exist");
    }
    let groups = cx.int("group", 1)?;
    let layout = ChannelLayout::First;
    let attrs = ConvTransposeAttrs { strides, pads, dilations, output_padding, groups, layout };
    let operands: Vec<ValueId> = [x, w].into_iter().chain(bias).collect();
    cx.emit(Op::ConvTranspose(attrs), &operands)
}

/// An integer convolution: exact in `i32`, which wraps as ONNX's does.
pub fn conv_i32(cx: &mut Cx<'_>, x: ValueId, w: ValueId, bias: Option<ValueId>) -> R<ValueId> {
    let (x, w) = (cx.cast(x, DType::I32)?, cx.cast(w, DType::I32)?);
    conv_of(cx, x, w, bias)
}
