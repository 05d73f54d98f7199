"""Where ONNX Runtime 1.32 is known to refuse or to leave the ONNX standard, as narrow as possible."""

import re

import numpy as np

# What its errors mean: (pattern, reason, whether it is so for all operands of these dtypes).
REFUSALS = [
    (r"Could not find an implementation for", "no kernel", True),
    (r"Pad should be smaller than kernel", "pooling windows that hold padding only are refused", False),
    (r"running Conv node.*Invalid input shape|Computed output dimension is <= 0", "convolutions with an empty result are refused", False),
    (r"inconsistent (q|total)_sequence_length \(between attn_mask", "attention masks with a broadcast row or column are refused", False),
    (r"running (Lp|Max|Average)Pool node.*Only N can be zero|Expected input size 1 but got 0", "windows over nothing are refused", False),
    (r"AttentionParameters::checkParameters|attention_helper.*was false", "attention over an empty axis is refused", False),
    (r"Size of X.shape\[axis:\] must be at least 1", "normalisation of nothing is refused", False),
    (r"running Pad node.*Unexpected mode of 3", "wrapping padding of nothing is refused", False),
    (r"Pad reflect", "reflected padding longer than the operand is refused", False),
    (r"ScalesValidation '(Linear|Cubic)' mode only supports", "interpolation of these axes is not implemented", False),
    (r"ScalesValidation Scale value should be greater than 0|Scale value should be greater than 0", "resizing to or from nothing is refused", False),
]


def refusal(error: str) -> tuple[str, bool]:
    """The reason of a refusal, and whether the operator is refused for these dtypes at all."""
    for pattern, reason, everywhere in REFUSALS:
        if re.search(pattern, error, re.DOTALL):
            return reason, everywhere
    raise RuntimeError(f"refused: {error}")


def big_sum(model, node) -> bool:
    """ReduceSum and ReduceMean add integers as floats, and saturate."""
    x = model.known[node.input[0]]
    return x.dtype.kind in "iu" and np.abs(x.astype(np.float64)).sum() >= 2 ** min(53, 8 * x.dtype.itemsize - 1)


def wide_float(model, node) -> bool:
    """The f64 kernel computes with f32 constants."""
    return node.op_type == "Gelu" and model.known[node.input[0]].dtype == np.float64


def big_product(model, node) -> bool:
    """ReduceProd multiplies integers as floats, and converts what their type cannot hold."""
    x = model.known[node.input[0]]
    return x.dtype.kind in "iu" and np.log2(np.maximum(np.abs(x.astype(np.float64)), 1)).sum() >= min(53, 8 * x.dtype.itemsize - 1)


def narrow_scatter(model, node) -> bool:
    """There is no kernel, and whether that is an error depends on the nodes around."""
    attributes = {a.name: a.s.decode() for a in node.attribute if a.s}
    return attributes["reduction"] != "none" and model.known[node.input[0]].dtype.name in ("float16", "bfloat16")


def empty_window(model, node) -> bool:
    """(size - kernel) / stride + 1 is rounded toward zero: 1 instead of 0 where the kernel does not fit."""
    x, attributes = model.known.get(node.input[0]), {a.name: list(a.ints) for a in node.attribute if a.ints}
    if x is None:
        # Between transposes: the result has the same sizes in another order.
        return any(0 in model.values[name].shape for name in model.results(node))
    rank, pads = x.ndim - 2, attributes["pads"]
    padded = [n + pads[i] + pads[i + rank] for i, n in enumerate(x.shape[2:])]
    spans = [(k - 1) * d + 1 for k, d in zip(attributes["kernel_shape"], attributes["dilations"], strict=True)]
    return any(n < span for n, span in zip(padded, spans, strict=True))


def rounded_coordinate(model, node) -> bool:
    """Nearest neighbours are found in f32: one rounding decides where a coordinate is next to a tie."""
    attributes = {a.name: a.s.decode() if a.s else a.i for a in node.attribute}
    if attributes["mode"] != "nearest":
        return False
    x, y = model.known[node.input[0]].shape, model.values[node.output[0]].shape
    scales = model.known[node.input[2]] if node.input[2] else [b / a if a else 1 for a, b in zip(x, y, strict=True)]
    return any(near_tie(*axis, attributes) for axis in zip(x, y, scales, strict=True))


def rounded_size(model, node) -> bool:
    """These coordinates use the size that scales give; the ONNX reference does not round it first."""
    attributes = {a.name: a.s.decode() for a in node.attribute if a.s}
    if not node.input[2] or attributes["coordinate_transformation_mode"] in ("half_pixel", "asymmetric"):
        return False
    x, y = model.known[node.input[0]].shape, model.values[node.output[0]].shape
    return any(a * float(s) != b for a, b, s in zip(x, y, model.known[node.input[2]], strict=True))


def near_tie(x: int, y: int, scale: float, attributes: dict) -> bool:
    """Whether a coordinate of the axis lies within a rounding of f32 of where its neighbour changes."""
    at = np.arange(y, dtype=np.float64)
    scale = float(scale) or 1.0
    exact = float(np.float32(scale)) == scale
    match attributes["coordinate_transformation_mode"]:
        case "asymmetric":
            at = at / scale
        case "align_corners":
            at = at * (x - 1) / (y - 1) if y > 1 else at * 0
        case "pytorch_half_pixel" if y == 1:
            at = at * 0
        case _:
            at = (at + 0.5) / scale - 0.5
    edge = 0.5 if attributes["nearest_mode"].startswith("round") else 0.0
    distance = np.abs(at - edge - np.round(at - edge))
    near = distance < 4e-7 * np.maximum(np.abs(at), 1)
    return bool((near & ((distance > 0) | (not exact))).any())


def empty_expand(model, node) -> bool:
    """The optimiser takes an Expand from 1 to 0 elements for one that does nothing."""
    return node.output[0] in model.values and model.values[node.output[0]].size == 0


QUIRKS = [
    ("ReduceSum ReduceMean", big_sum, "sums of integers go through floats"),
    ("ReduceProd", big_product, "products of integers go through floats"),
    ("MaxPool AveragePool LpPool", empty_window, "a window larger than the operand gives one element"),
    ("Resize", rounded_coordinate, "coordinates are rounded to f32 before the nearest is chosen"),
    ("Resize", rounded_size, "coordinates come from the rounded size"),
    ("ScatterND ScatterElements", narrow_scatter, "no kernel for reductions of 16-bit floats"),
    ("Expand", empty_expand, "expanding to nothing is optimised away"),
    ("Gelu", wide_float, "gelu of f64 has f32 constants"),
]


def leaves_standard(model, group: list) -> str | None:
    """Why the node is not handed to ONNX Runtime; None for most."""
    for node in group:
        for operators, applies, reason in QUIRKS:
            if node.op_type in operators.split() and applies(model, node):
                return reason
    return None
