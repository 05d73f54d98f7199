//! Resize and Upsample.

use super::super::cx::{Cx, axis};
use super::super::error::{R, malformed, unsupported};
use super::super::registry::{Importer::*, Table};
use cascata_ir::graph::ValueId;
use cascata_ir::op::{NearestMode, Op, ResizeAttrs, ResizeCoordinates, ResizeMode};
use cascata_ir::types::{Dim, Scalar, Shape};

pub const OPS: Table = &[("Resize", One(resize)), ("Upsample", One(upsample))];

/// Largest denominator that a scale is taken for as a ratio where a size is symbolic.
const MAX_DENOMINATOR: i64 = 64;

fn mode(cx: &Cx<'_>) -> R<ResizeMode> {
    Ok(match cx.string("mode", "nearest")?.as_str() {
        "nearest" => ResizeMode::Nearest,
        "linear" | "bilinear" => ResizeMode::Linear,
        "cubic" => ResizeMode::Cubic,
        other => return malformed!("mode '{other}' does not exist"),
    })
}

/// Upsample and Resize 10: asymmetric coordinates, rounded down.
fn plain(cx: &Cx<'_>, shape: Shape, scales: Vec<f64>) -> R<ResizeAttrs> {
    Ok(ResizeAttrs {
        mode: mode(cx)?,
        coordinates: ResizeCoordinates::Asymmetric,
        nearest: NearestMode::Floor,
        shape,
        scales: Some(scales.iter().map(|s| Scalar::f32(*s as f32)).collect()),
        roi: vec![],
        cubic_coeff: Scalar::f32(-0.75),
        exclude_outside: false,
        extrapolation: Scalar::f32(0.0),
        antialias: false,
    })
}

fn upsample(cx: &mut Cx<'_>) -> R<ValueId> {
    let x = cx.input(0)?;
    let scales = match cx.floats("scales")? {
        Some(scales) => scales.into_iter().map(f64::from).collect(),
        None => cx.known_floats(1)?,
    };
    let shape = scaled_shape(cx, &cx.shape(x), &scales)?;
    let attrs = plain(cx, shape, scales)?;
    cx.emit(Op::Resize(attrs), &[x])
}

fn resize(cx: &mut Cx<'_>) -> R<ValueId> {
    if cx.version < 11 {
        return upsample(cx);
    }
    let x = cx.input(0)?;
    let own = cx.shape(x);
    let rank = own.len();
    let axes = match cx.ints("axes")? {
        Some(list) => list.iter().map(|&a| axis(a, rank)).collect::<R<Vec<usize>>>()?,
        None => (0..rank).collect(),
    };
    let coordinates = coordinates(cx)?;
    let roi = match coordinates {
        ResizeCoordinates::TfCropAndResize => roi(cx, &axes, rank)?,
        _ => vec![],
    };
    let (shape, scales) = match given(cx, 2)? {
        true => {
            let listed = cx.known_floats(2)?;
            let scales = spread(&listed, &axes, rank, 1.0)?;
            let shape = match coordinates {
                ResizeCoordinates::TfCropAndResize => cropped_shape(cx, &own, &scales, &roi)?,
                _ => scaled_shape(cx, &own, &scales)?,
            };
            (shape, Some(scales.iter().map(|s| Scalar::f32(*s as f32)).collect()))
        }
        false => sized(cx, &own, &axes)?,
    };
    let attrs = ResizeAttrs {
        mode: mode(cx)?,
        coordinates,
        nearest: nearest(cx)?,
        shape,
        scales,
        roi: roi.iter().map(|r| Scalar::f32(*r as f32)).collect(),
        cubic_coeff: Scalar::f32(cx.float("cubic_coeff_a", -0.75)?),
        exclude_outside: cx.flag("exclude_outside", false)?,
        extrapolation: Scalar::f32(cx.float("extrapolation_value", 0.0)?),
        antialias: cx.flag("antialias", false)?,
    };
    cx.emit(Op::Resize(attrs), &[x])
}

/// Whether an optional operand is there and not empty (opset 11 wrote `f32[0]` for absent).
fn given(cx: &Cx<'_>, i: usize) -> R<bool> {
    Ok(cx.has(i) && !cx.input_type(i)?.elements().is(0))
}

fn coordinates(cx: &Cx<'_>) -> R<ResizeCoordinates> {
    Ok(match cx.string("coordinate_transformation_mode", "half_pixel")?.as_str() {
        "half_pixel" => ResizeCoordinates::HalfPixel,
        "half_pixel_symmetric" => ResizeCoordinates::HalfPixelSymmetric,
        "pytorch_half_pixel" => ResizeCoordinates::PytorchHalfPixel,
        "align_corners" => ResizeCoordinates::AlignCorners,
        "asymmetric" => ResizeCoordinates::Asymmetric,
        "tf_crop_and_resize" => ResizeCoordinates::TfCropAndResize,
        other => return unsupported!("coordinate_transformation_mode '{other}'"),
    })
}

fn nearest(cx: &Cx<'_>) -> R<NearestMode> {
    Ok(match cx.string("nearest_mode", "round_prefer_floor")?.as_str() {
        "round_prefer_floor" => NearestMode::RoundPreferFloor,
        "round_prefer_ceil" => NearestMode::RoundPreferCeil,
        "floor" => NearestMode::Floor,
        "ceil" => NearestMode::Ceil,
        other => return malformed!("nearest_mode '{other}' does not exist"),
    })
}

/// Numbers listed for `axes`, with a default for the others.
fn spread(listed: &[f64], axes: &[usize], rank: usize, default: f64) -> R<Vec<f64>> {
    if listed.len() != axes.len() {
        return malformed!("{} numbers for {} axes", listed.len(), axes.len());
    }
    let mut out = vec![default; rank];
    for (&a, &x) in axes.iter().zip(listed) {
        out[a] = x;
    }
    Ok(out)
}

/// `start…, end…` for all axes.
fn roi(cx: &Cx<'_>, axes: &[usize], rank: usize) -> R<Vec<f64>> {
    let listed = cx.known_floats(1)?;
    if listed.len() != 2 * axes.len() {
        return malformed!("roi has {} numbers for {} axes", listed.len(), axes.len());
    }
    let mut out = spread(&listed[..axes.len()], axes, rank, 0.0)?;
    out.extend(spread(&listed[axes.len()..], axes, rank, 1.0)?);
    Ok(out)
}

/// `floor(dim · scale)` per axis, in `f32` for numbers as ONNX Runtime has it.
fn scaled_shape(cx: &Cx<'_>, shape: &[Dim], scales: &[f64]) -> R<Shape> {
    if scales.len() != shape.len() {
        return malformed!("{} scales for rank {}", scales.len(), shape.len());
    }
    shape.iter().zip(scales).map(|(dim, &scale)| scaled(cx, dim, scale)).collect()
}

fn scaled(cx: &Cx<'_>, dim: &Dim, scale: f64) -> R<Dim> {
    if !(scale > 0.0 && scale < 1e9) {
        return malformed!("a scale of {scale}");
    }
    if let Some(size) = dim.as_const() {
        return Ok(Dim::from((size as f32 * scale as f32).floor() as i64));
    }
    let ratio = (1..=MAX_DENOMINATOR).find_map(|den| {
        let num = (scale * den as f64).round();
        ((num / den as f64) as f32 == scale as f32).then_some((num as i64, den))
    });
    match ratio {
        Some((num, den)) => Ok((dim.clone() * num).floor_div(&den.into())),
        None => unsupported!("{} scaled by {scale}, which is not a simple ratio", cx.show(dim)),
    }
}

/// `floor(dim · (end − start) · scale)` per axis.
fn cropped_shape(cx: &Cx<'_>, shape: &[Dim], scales: &[f64], roi: &[f64]) -> R<Shape> {
    let rank = shape.len();
    let extent = |i: usize| (roi[rank + i] - roi[i]) * scales[i];
    (0..rank).map(|i| scaled(cx, &shape[i], extent(i))).collect()
}

type Sized = (Shape, Option<Vec<Scalar>>);

/// The shape from the sizes operand, adjusted to keep the aspect ratio if asked for.
fn sized(cx: &mut Cx<'_>, own: &[Dim], axes: &[usize]) -> R<Sized> {
    if !given(cx, 3)? {
        return unsupported!("neither scales nor sizes are known");
    }
    let sizes = cx.raw_dims(3)?;
    if sizes.len() != axes.len() {
        return malformed!("{} sizes for {} axes", sizes.len(), axes.len());
    }
    let mut shape = own.to_vec();
    let policy = cx.string("keep_aspect_ratio_policy", "stretch")?;
    if policy == "stretch" {
        for (&a, size) in axes.iter().zip(sizes) {
            shape[a] = size;
        }
        return Ok((shape, None));
    }
    let mut ratios = Vec::new();
    for (&a, size) in axes.iter().zip(&sizes) {
        match (size.as_const(), own[a].as_const()) {
            (Some(size), Some(own)) if own > 0 => ratios.push(size as f32 / own as f32),
            _ => return unsupported!("sizes must be known for keep_aspect_ratio_policy"),
        }
    }
    let scale = match policy.as_str() {
        "not_larger" => ratios.iter().copied().fold(f32::INFINITY, f32::min),
        "not_smaller" => ratios.iter().copied().fold(0.0, f32::max),
        other => return malformed!("keep_aspect_ratio_policy '{other}' does not exist"),
    };
    let mut scales = vec![Scalar::f32(1.0); own.len()];
    for &a in axes {
        let size = own[a].as_const().unwrap_or(0) as f32;
        shape[a] = Dim::from((scale * size).round() as i64);
        scales[a] = Scalar::f32(scale);
    }
    Ok((shape, Some(scales)))
}
