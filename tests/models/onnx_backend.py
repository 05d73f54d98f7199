"""Writes the ONNX backend tests to the cache for tests/tests/onnx_backend.

Usage: python tests/models/onnx_backend.py OUT_FOLDER   (needs the `onnx` wheel)

OUT_FOLDER/operators.json lists every operator that the wheel knows with its versions.
Per test and data set OUT_FOLDER/<name>[.<set>]/ holds
  model.onnx
  data.bin    the elements of all inputs, then of all outputs, little-endian, one after the other
  meta.json   kind, rtol, atol, opset, ops, and per tensor its name, dtype and dims

A sequence `x` is its elements, called `x.0`, `x.1`, …; `lengths` of meta.json says of each that is an
input how many there are. An optional is what it holds; `absent` names the inputs that hold nothing.

Floats of 8 and 4 bits are stored as codes of one byte each (`u8`), integers of 4 and 2 bits as
numbers of one byte each (`i8`, `u8`), strings as their length in bytes (u32) and UTF-8.
A test with a value of another kind gets {"skip": reason} and no data, so that the runner still
counts it; one that the reference evaluator fails gets {"reference": reason}.
Models before opset 7 are converted to 13.
"""

import json
import sys
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx.defs
import onnx.version_converter
from onnx import numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.case import model as model_cases
from onnx.backend.test.case import node as node_cases
from onnx.reference import ReferenceEvaluator

NAMES = {
    "bool": "bool", "int8": "i8", "uint8": "u8", "int16": "i16", "uint16": "u16",
    "int32": "i32", "uint32": "u32", "int64": "i64", "uint64": "u64", "float16": "f16",
    "bfloat16": "bf16", "float32": "f32", "float64": "f64",
}  # fmt: skip
CODES = {
    ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e4m3fnuz, ml_dtypes.float8_e5m2,
    ml_dtypes.float8_e5m2fnuz, ml_dtypes.float8_e8m0fnu, ml_dtypes.float4_e2m1fn,
}  # fmt: skip
NUMBERS = {
    ml_dtypes.int4: np.int8, ml_dtypes.int2: np.int8,
    ml_dtypes.uint4: np.uint8, ml_dtypes.uint2: np.uint8,
}  # fmt: skip


def encode(value) -> tuple[str, list[int], bytes, str]:
    """dtype, dims, bytes and NumPy's name of the type; ValueError says what it is otherwise."""
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    if value is None or isinstance(value, (list, tuple, dict)):
        raise ValueError("a map, or a sequence of something else than tensors")
    array = np.asarray(value, order="C")
    dims, own = list(array.shape), array.dtype.name
    if array.dtype.kind in "OUS":
        texts = [t if isinstance(t, bytes) else str(t).encode() for t in array.flatten()]
        return "str", dims, b"".join(len(t).to_bytes(4, "little") + t for t in texts), "str"
    if array.dtype.type in CODES:
        array = array.view(np.uint8)
    if array.dtype.type in NUMBERS:
        array = array.astype(NUMBERS[array.dtype.type])
    if array.dtype.name not in NAMES:
        raise ValueError(f"values of type {array.dtype}")
    return NAMES[array.dtype.name], dims, array.tobytes(), own


def tensors(label: str, value) -> list[tuple]:
    """The tensors that a value is made of, each with its name."""
    if value is None:
        return []
    if isinstance(value, (list, tuple)):
        return [(f"{label}.{i}", element) for i, element in enumerate(value)]
    return [(label, value)]


def modern(model: bytes) -> bytes:
    """Models before opset 7 converted to 13; as they are where the converter fails."""
    proto = onnx.load_model_from_string(model)
    if any(o.domain in ("", "ai.onnx") and o.version >= 7 for o in proto.opset_import):
        return model
    try:
        return onnx.version_converter.convert_version(proto, 13).SerializeToString()
    except Exception:
        return model


def operators(graph: onnx.GraphProto) -> set[str]:
    """Operators of a graph and its bodies as `domain.name`."""
    out = set()
    for node in graph.node:
        out.add(f"{node.domain or 'ai.onnx'}.{node.op_type}")
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                out |= operators(attribute.g)
    return out


def reference_fails(model: onnx.ModelProto, inputs, outputs, rtol, atol) -> str | None:
    """Why the reference evaluator does not give the expected outputs."""
    try:
        names = [i.name for i in model.graph.input]
        arrays = [numpy_helper.to_array(i) if isinstance(i, onnx.TensorProto) else i for i in inputs]
        got = ReferenceEvaluator(model).run(None, dict(zip(names, arrays)))
        for actual, wanted in zip(got, outputs):
            wanted = numpy_helper.to_array(wanted) if isinstance(wanted, onnx.TensorProto) else wanted
            if np.asarray(wanted).dtype.kind in "OUS":
                np.testing.assert_array_equal(actual, wanted)
            else:
                np.testing.assert_allclose(actual, wanted, rtol, atol)
    except Exception as e:
        return (str(e).strip().splitlines() or [type(e).__name__])[0]
    return None


def write(out: Path, name: str, model: bytes, inputs, outputs, rtol, atol, kind) -> None:
    """One data set of one test."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    proto = onnx.load_model_from_string(model)
    constants = {tensor.name for tensor in proto.graph.initializer}
    names = [i.name for i in proto.graph.input if i.name not in constants]
    opset = max([o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")], default=0)
    ops = sorted(operators(proto.graph))
    meta = {"kind": kind, "rtol": rtol, "atol": atol, "opset": opset, "ops": ops}
    if kind != "node":
        reason = reference_fails(proto, inputs, outputs, rtol, atol)
        meta.update({"reference": reason} if reason else {})
    try:
        data = b""
        for stem, values in (("inputs", inputs), ("outputs", outputs)):
            labels = names if stem == "inputs" else [o.name for o in proto.graph.output]
            named = [part for pair in zip(labels, values) for part in tensors(*pair)]
            encoded = [(label, *encode(value)) for label, value in named]
            meta[stem] = [
                {"name": label, "dtype": dtype, "dims": dims, "type": own}
                for label, dtype, dims, _, own in encoded
            ]
            data += b"".join(t[3] for t in encoded)
            if stem == "inputs":
                given = list(zip(labels, values))
                lengths = {n: len(v) for n, v in given if isinstance(v, (list, tuple))}
                absent = [n for n, v in given if v is None]
                meta.update({"lengths": lengths} if lengths else {})
                meta.update({"absent": absent} if absent else {})
        (folder / "data.bin").write_bytes(data)
    except ValueError as reason:
        meta["skip"] = str(reason)
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def read_tensor(path: Path):
    """A TensorProto file; what `encode` refuses stands for something else."""
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        numpy_helper.to_array(tensor)
    except Exception:
        return {}
    return tensor


def numbered(folder: Path, stem: str) -> list[Path]:
    """input_0.pb, input_1.pb, ... in order."""
    return sorted(folder.glob(f"{stem}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))


def write_operators(out: Path) -> None:
    """Every operator of the wheel: domain, name, versions, whether its newest is deprecated."""
    versions, deprecated = {}, {}
    for schema in onnx.defs.get_all_schemas_with_history():
        key = (schema.domain or "ai.onnx", schema.name)
        versions.setdefault(key, set()).add(schema.since_version)
        if schema.since_version == max(versions[key]):
            deprecated[key] = schema.deprecated
    rows = [
        {"domain": d, "name": n, "versions": sorted(v), "deprecated": deprecated[d, n]}
        for (d, n), v in sorted(versions.items())
    ]
    (out / "operators.json").write_text(json.dumps(rows, indent=0), encoding="utf-8")


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    generated = node_cases.collect_testcases(None) + model_cases.collect_testcases()
    for case in generated:
        if case.model is None:
            continue
        model = case.model.SerializeToString()
        for i, (inputs, outputs) in enumerate(case.data_sets or []):
            name = case.name if i == 0 else f"{case.name}.{i}"
            write(out, name, model, inputs, outputs, case.rtol, case.atol, case.kind)
    for kind in ("simple", "pytorch-converted", "pytorch-operator"):
        for case in loader.load_model_tests(kind=kind):
            model_dir = Path(case.model_dir) if case.model_dir else None
            if model_dir is None:
                continue
            model = modern((model_dir / "model.onnx").read_bytes())
            for i, data in enumerate(sorted(model_dir.glob("test_data_set_*"))):
                values = [[read_tensor(p) for p in numbered(data, s)] for s in ("input", "output")]
                name = case.name if i == 0 else f"{case.name}.{i}"
                write(out, name, model, *values, case.rtol, case.atol, kind)
    # Last: its presence says that the folder is complete.
    write_operators(out)


if __name__ == "__main__":
    main()
