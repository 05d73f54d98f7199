"""Writes the ONNX backend tests to disk for tests/onnx_backend.rs.

Usage: python frontends/tests/onnx_backend/collect.py OUT_FOLDER   (needs the `onnx` wheel)

Per test and data set OUT_FOLDER/<name>[.<set>]/ holds
  model.onnx
  inputs.npz, outputs.npz   arrays in graph order under the keys "0", "1", ...
  meta.json                 rtol, atol, kind, inputs: names of the graph inputs
A test with a value that is not a plain tensor (sequence, optional, string, 4- and 8-bit float)
gets {"skip": reason} in meta.json and no arrays, so that the runner still counts it.
Models before opset 7 are converted to 13. bfloat16 arrays are stored as float32 and listed in meta.json under "bfloat16".
"""

import json
import sys
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx.version_converter
from onnx import numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.case import model as model_cases
from onnx.backend.test.case import node as node_cases


def plain(value):
    """The value as an array that NumPy can save; raises ValueError with the reason otherwise."""
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    if value is None or isinstance(value, (list, tuple, dict)):
        raise ValueError("sequence, optional or map value")
    array = np.asarray(value, order="C")
    if array.dtype == ml_dtypes.bfloat16:
        return array.astype(np.float32), True
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and array.dtype.itemsize < 2):
        raise ValueError(f"values of type {array.dtype}")
    return array, False


def modern(model: bytes) -> bytes:
    """Models before opset 7 converted to 13; as they are where the converter fails."""
    proto = onnx.load_model_from_string(model)
    if any(o.domain in ("", "ai.onnx") and o.version >= 7 for o in proto.opset_import):
        return model
    try:
        return onnx.version_converter.convert_version(proto, 13).SerializeToString()
    except Exception:
        return model


def input_names(model: bytes) -> list[str]:
    """Names of the graph inputs that are not initializers, in order."""
    graph = onnx.load_model_from_string(model).graph
    constants = {tensor.name for tensor in graph.initializer}
    return [i.name for i in graph.input if i.name not in constants]


def write(out: Path, name: str, model, inputs, outputs, rtol, atol, kind) -> None:
    """One data set of one test."""
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(model)
    meta = {"rtol": rtol, "atol": atol, "kind": kind, "inputs": input_names(model)}
    try:
        for stem, values in (("inputs", inputs), ("outputs", outputs)):
            arrays = [plain(value) for value in values]
            meta.setdefault("bfloat16", {})[stem] = [i for i, (_, b) in enumerate(arrays) if b]
            np.savez(folder / f"{stem}.npz", **{str(i): a for i, (a, _) in enumerate(arrays)})
    except ValueError as reason:
        meta["skip"] = str(reason)
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def read_tensor(path: Path):
    """A TensorProto file; None stands for something else."""
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        numpy_helper.to_array(tensor)
    except Exception:
        return None
    return tensor


def numbered(folder: Path, stem: str) -> list[Path]:
    """input_0.pb, input_1.pb, ... in order."""
    return sorted(folder.glob(f"{stem}_*.pb"), key=lambda p: int(p.stem.split("_")[1]))


def main() -> None:
    out = Path(sys.argv[1])
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


if __name__ == "__main__":
    main()
