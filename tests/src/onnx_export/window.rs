//! Convolutions, pools and resampling. ONNX has channels first; what has them last is turned.

use super::elementwise::require;
use super::ops::{Operand, Written, numbers, transposed};
use super::writer::{Writer, flag, float, int, ints, string};
use cascata_frontends::onnx::proto::AttributeProto;
use cascata_ir::interp::Tensor;
use cascata_ir::op::{
    ChannelLayout, ConvAttrs, ConvTransposeAttrs, NearestMode, PoolAttrs, PoolKind, ResizeAttrs,
    ResizeCoordinates, ResizeMode,
};

/// The order of axes that puts the channels of `[N, spatial…, C]` second.
fn channels_first(rank: usize) -> Vec<usize> {
    [0, rank - 1].into_iter().chain(1..rank - 1).collect()
}

fn channels_last(rank: usize) -> Vec<usize> {
    std::iter::once(0).chain(2..rank).chain([1]).collect()
}

/// The order of axes that puts the last two first: `first, second` of them.
fn weights_first(rank: usize, first: usize, second: usize) -> Vec<usize> {
    [first, second].into_iter().chain(0..rank - 2).collect()
}

fn common(strides: &[i64], pads: &[(i64, i64)], dilations: &[i64]) -> Vec<AttributeProto> {
    let both = pads.iter().map(|p| p.0).chain(pads.iter().map(|p| p.1)).collect();
    vec![
        ints("strides", strides.to_vec()),
        ints("pads", both),
        ints("dilations", dilations.to_vec()),
    ]
}

/// An operator on operands with channels first, whatever their layout.
fn windowed(
    w: &mut Writer,
    op: &str,
    xs: &[Operand<'_>],
    layout: ChannelLayout,
    weights: [usize; 2],
    attributes: Vec<AttributeProto>,
) -> Written {
    require(op, xs[0].tensor.dtype())?;
    let mut names: Vec<String> = xs.iter().map(|x| x.name.clone()).collect();
    let rank = xs[0].tensor.rank();
    if layout == ChannelLayout::First {
        return Ok(w.node(op, &names, attributes));
    }
    names[0] = transposed(w, &names[0], &channels_first(rank));
    if names.len() > 1 {
        names[1] = transposed(w, &names[1], &weights_first(rank, weights[0], weights[1]));
    }
    let result = w.node(op, &names, attributes);
    Ok(transposed(w, &result, &channels_last(rank)))
}

pub(super) fn conv(w: &mut Writer, a: &ConvAttrs, xs: &[Operand<'_>]) -> Written {
    let mut attributes = common(&a.strides, &a.pads, &a.dilations);
    attributes.push(int("group", a.groups));
    let rank = xs[0].tensor.rank();
    windowed(w, "Conv", xs, a.layout, [rank - 1, rank - 2], attributes)
}

pub(super) fn conv_transpose(
    w: &mut Writer,
    a: &ConvTransposeAttrs,
    xs: &[Operand<'_>],
) -> Written {
    let mut attributes = common(&a.strides, &a.pads, &a.dilations);
    attributes.push(int("group", a.groups));
    attributes.push(ints("output_padding", a.output_padding.clone()));
    let rank = xs[0].tensor.rank();
    windowed(w, "ConvTranspose", xs, a.layout, [rank - 2, rank - 1], attributes)
}

pub(super) fn pool(w: &mut Writer, a: &PoolAttrs, x: &Operand<'_>) -> Written {
    let mut attributes = common(&a.strides, &a.pads, &a.dilations);
    attributes.push(ints("kernel_shape", a.kernel.clone()));
    attributes.push(flag("ceil_mode", a.ceil_mode));
    let op = match a.kind {
        PoolKind::Max { indices: false, .. } => "MaxPool",
        PoolKind::Max { .. } => return Err("two results".into()),
        PoolKind::Average { count_pad } => {
            attributes.push(flag("count_include_pad", count_pad));
            "AveragePool"
        }
        PoolKind::Lp { p } => {
            attributes.push(int("p", p));
            "LpPool"
        }
    };
    windowed(w, op, std::slice::from_ref(x), a.layout, [0, 0], attributes)
}

pub(super) fn resize(w: &mut Writer, a: &ResizeAttrs, x: &Operand<'_>) -> Written {
    let mode = match a.mode {
        ResizeMode::Nearest => "nearest",
        ResizeMode::Linear => "linear",
        ResizeMode::Cubic => "cubic",
    };
    let coordinates = match a.coordinates {
        ResizeCoordinates::HalfPixel => "half_pixel",
        ResizeCoordinates::HalfPixelSymmetric => "half_pixel_symmetric",
        ResizeCoordinates::PytorchHalfPixel => "pytorch_half_pixel",
        ResizeCoordinates::AlignCorners => "align_corners",
        ResizeCoordinates::Asymmetric => "asymmetric",
        ResizeCoordinates::TfCropAndResize => return Err("not generated".into()),
    };
    let nearest = match a.nearest {
        NearestMode::RoundPreferFloor => "round_prefer_floor",
        NearestMode::RoundPreferCeil => "round_prefer_ceil",
        NearestMode::Floor => "floor",
        NearestMode::Ceil => "ceil",
    };
    let attributes = vec![
        string("mode", mode),
        string("coordinate_transformation_mode", coordinates),
        string("nearest_mode", nearest),
        float("cubic_coeff_a", a.cubic_coeff.to_f64()),
        flag("exclude_outside", a.exclude_outside),
        flag("antialias", a.antialias),
    ];
    let shape = numbers(&a.shape);
    let Some(scales) = &a.scales else {
        let sizes = w.ints(&shape);
        return Ok(w.node("Resize", &[&x.name, "", "", &sizes], attributes));
    };
    let scales: Vec<f32> = scales.iter().map(|s| s.to_f64() as f32).collect();
    // In f32 or in f64: the standard leaves it open, so only sizes on which both agree.
    let narrow = |(n, s): (&usize, &f32)| (*n as f32 * s).floor() as i64;
    let wide = |(n, s): (&usize, &f32)| (*n as f64 * f64::from(*s)).floor() as i64;
    let dims = || x.tensor.dims().iter().zip(&scales);
    if !dims().map(narrow).eq(shape.iter().copied()) || !dims().map(wide).eq(shape.iter().copied())
    {
        return Err("the scales give another size".into());
    }
    let scales = w.constant(&Tensor::vector(scales));
    Ok(w.node("Resize", &[&x.name, "", &scales], attributes))
}
