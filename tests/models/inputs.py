"""Random but fixed inputs for a model and a case. The kinds are listed in models.toml."""

from zlib import crc32

import numpy as np

from catalog import Model

DTYPES = {"f32": np.float32, "i32": np.int32, "i64": np.int64}


def make(model: Model, case: dict) -> dict[str, np.ndarray]:
    """The inputs of `model` for `case`, by graph input name."""
    return {name: make_one(model, case, name, spec) for name, spec in model.inputs.items()}


def make_one(model: Model, case: dict, name: str, spec: dict) -> np.ndarray:
    """One input; its seed depends on nothing but the three names."""
    rng = np.random.default_rng(crc32(f"{model.id}/{case['name']}/{name}".encode()))
    shape = tuple(case.get(dim, dim) for dim in spec["shape"])
    array = KINDS[spec["kind"]](rng, shape, spec, case)
    return np.ascontiguousarray(array.astype(DTYPES[spec["dtype"]]))


def normal(rng, shape, spec, _case):
    """Gaussian noise."""
    return rng.normal(spec["mean"], spec["std"], shape)


def tokens(rng, shape, spec, _case):
    """Token ids in [lo, hi)."""
    return rng.integers(spec["lo"], spec["hi"], shape)


def mask(rng, shape, _spec, _case):
    """An attention mask: row 0 is full, each later row ends in padding."""
    batch, length = shape
    lengths = rng.integers(1, length + 1, (batch, 1))
    lengths[0] = length
    return np.arange(length) < lengths


def segments(rng, shape, _spec, _case):
    """Token type ids: each row is zeros, then ones."""
    batch, length = shape
    return np.arange(length) >= rng.integers(0, length + 1, (batch, 1))


def file_bytes(rng, shape, spec, _case):
    """Bytes of text and binary files, all but the first with padding between head and tail."""
    batch, length = shape
    array = rng.integers(0, 256, shape)
    array[::2] = rng.integers(32, 127, array[::2].shape)
    for row in range(1, batch):
        head = int(rng.integers(8, length // 2))
        array[row, head : length - head] = spec["pad"]
    return array


def binding(_rng, shape, spec, case):
    """A value that the case binds."""
    return np.full(shape, case[spec["symbol"]])


def lengths(rng, shape, spec, case):
    """Lengths of rows: the first is full."""
    most = case.get(spec["hi"], spec["hi"])
    array = rng.integers(min(spec["lo"], most), most + 1, shape)
    array[0] = most
    return array


def values(_rng, shape, spec, _case):
    """The numbers that the list gives."""
    return np.array(spec["values"]).reshape(shape)


def page(rng, shape, spec, _case):
    """Grey pages with rows of letter-like marks, normalised; the three channels are equal."""
    batch, channels, height, width = shape
    pages = np.stack([draw_page(rng, height, width) for _ in range(batch)])
    return np.repeat(((pages - spec["mean"]) / spec["std"])[:, None], channels, axis=1)


def draw_page(rng, height, width):
    """One page, f64[height, width] in [0, 1]: light noise with rows of 7x5 random glyphs."""
    paper = 0.9 + 0.05 * rng.standard_normal((height, width))
    scale = int(rng.integers(2, 4))
    for top in range(4, height - 7 * scale + 1, 12 * scale):
        for left in range(4, width - 5 * scale - 1, 6 * scale):
            if rng.random() > 0.15:
                glyph = np.kron(rng.random((7, 5)) < 0.5, np.ones((scale, scale)))
                paper[top : top + 7 * scale, left : left + 5 * scale] -= 0.75 * glyph
    return np.clip(paper, 0, 1)


def photo(rng, shape, spec, _case):
    """Smooth colour images, scaled and shifted, with channels first or last."""
    first = spec["channels"] == "first"
    batch, channels, height, width = shape if first else (shape[0], shape[3], shape[1], shape[2])
    planes = [draw_plane(rng, height, width) for _ in range(batch * channels)]
    images = np.stack(planes).reshape(batch, channels, height, width) * spec["scale"] + spec["offset"]
    return images if first else images.transpose(0, 2, 3, 1)


def draw_plane(rng, height, width):
    """One colour plane, f64[height, width] in [0, 1]: a few waves and a little noise."""
    rows, cols = np.mgrid[0:height, 0:width]
    plane = np.zeros((height, width))
    for _ in range(6):
        down, across, phase = rng.uniform(-6, 6) / height, rng.uniform(-6, 6) / width, rng.uniform()
        plane += np.sin(2 * np.pi * (down * rows + across * cols + phase))
    plane = (plane - plane.min()) / np.ptp(plane)
    return np.clip(plane + 0.03 * rng.standard_normal(plane.shape), 0, 1)


KINDS = {
    "normal": normal,
    "tokens": tokens,
    "mask": mask,
    "segments": segments,
    "bytes": file_bytes,
    "binding": binding,
    "lengths": lengths,
    "values": values,
    "page": page,
    "photo": photo,
}
