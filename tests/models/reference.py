"""Runs every model and case in ONNX Runtime and keeps inputs and outputs as the reference.

Usage: python tests/models/reference.py [ID ...]

Writes to <cache>/refs/<id>/<case>/:
  inputs.npz, outputs.npz   arrays by graph input / output name
  meta.json                 what they were made from, and per float output how far ONNX Runtime is
                            from itself with graph optimisations off (largest absolute difference):
                            a yardstick for tolerances, since both are valid evaluations
  integers.npz, part/       of quantised models: see integers.py
A case is skipped when meta.json says that it was made from the same model, case, inputs and
versions.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime

import catalog
import inputs
import integers
import quantise

LEVELS = onnxruntime.GraphOptimizationLevel


def session(model: catalog.Model, level=LEVELS.ORT_ENABLE_ALL) -> onnxruntime.InferenceSession:
    """A CPU session that logs errors only."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.path, options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, feeds: dict) -> dict[str, np.ndarray]:
    """The outputs by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def key(model: catalog.Model, case: dict) -> dict:
    """What a reference depends on; JSON-comparable."""
    return {
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "model_sha256": model.sha256,
        "generators_sha256": catalog.sha256(Path(inputs.__file__)),
        "inputs": model.inputs,
        "case": case,
    }


def is_done(model: catalog.Model, case: dict) -> bool:
    """Whether the case's reference is there and current."""
    meta = model.refs(case) / "meta.json"
    return meta.is_file() and json.loads(meta.read_text())["key"] == key(model, case)


def difference(left: np.ndarray, right: np.ndarray) -> float:
    """The largest absolute difference."""
    return float(np.max(np.abs(left - right), initial=0.0))


def write(model: catalog.Model, case: dict, default, plain) -> None:
    """Writes one reference; meta.json last, since it marks the reference as complete."""
    feeds = inputs.make(model, case)
    outputs, unoptimised = run(default, feeds), run(plain, feeds)
    floats = [name for name, array in outputs.items() if array.dtype.kind == "f"]
    noise = {name: difference(outputs[name], unoptimised[name]) for name in floats}
    folder = model.refs(case)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "inputs.npz", **feeds)
    np.savez(folder / "outputs.npz", **outputs)
    if model.package.startswith(quantise.PREFIX):
        integers.write(model.path, feeds, folder)
    partial = folder / "meta.json.partial"
    partial.write_text(json.dumps({"key": key(model, case), "noise": noise}, indent=1) + "\n")
    os.replace(partial, folder / "meta.json")
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
    print(f"{model.id}/{case['name']}: {shapes}", flush=True)


def make(model: catalog.Model) -> None:
    """Makes the model's missing references."""
    todo = [case for case in model.cases if not is_done(model, case)]
    if not todo:
        return
    if not model.is_fetched():
        raise SystemExit(f"{model.id} is not in the cache: run python tests/models/fetch.py {model.id}")
    default, plain = session(model), session(model, LEVELS.ORT_DISABLE_ALL)
    for case in todo:
        write(model, case, default, plain)


def main() -> None:
    """Makes whatever is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help="models to run (default: all)")
    for model in catalog.load(parser.parse_args().ids):
        make(model)


if __name__ == "__main__":
    main()
