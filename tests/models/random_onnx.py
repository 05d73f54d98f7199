"""Random graphs against ONNX Runtime: reads what the example `random_onnx` wrote.

  target/debug/examples/random_onnx FOLDER --seed 0 --count 200
  python tests/models/random_onnx.py FOLDER [--exporter target/debug/examples/random_onnx]

FOLDER/SEED_BINDING has model.onnx and values.onnx: all values of the model as the interpreter
computed them, with their tolerances. Each model runs twice, with ONNX Runtime's optimisations
off and on; outputs are compared by shape, dtype and value.

Tolerance, relative to the largest magnitude of a value: integers and bools are exact; floats
have what the interpreter's witnesses say (8 roundings of their dtype and 4 times the spread of
the shadows, see tests/src/random.rs), FACTOR times over for ONNX Runtime's own approximations.

What ONNX Runtime has no kernel for is cut: the node's result becomes an input that holds the
interpreter's value, and the node is counted as skipped. The same happens where ONNX Runtime is
known to leave the standard: quirks.py, each with its reason. A mismatch is traced to the first
node whose result is off though its operands are right, and the exporter prints that node.
"""

import argparse
import collections
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

import quirks

LEVELS = {
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "on": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}

# ONNX Runtime approximates exp, tanh, erf to a few units in the last place of f32; with its
# optimisations on it also fuses and reorders. bf16 and f16 are computed in f32 between casts.
FACTOR = {"float64": 4, "float32": 8, "float16": 2, "bfloat16": 2}


def source(node) -> str:
    """The value of the graph whose node this one helps to stand for."""
    return node.name.rsplit("_", 1)[0]


class Model:
    """One exported model with the interpreter's values."""

    def __init__(self, folder: Path):
        self.name = folder.name
        self.proto = onnx.load(folder / "model.onnx")
        values = onnx.load(folder / "values.onnx")
        self.values = {t.name: numpy_helper.to_array(t) for t in values.graph.initializer}
        self.tolerance = {p.key: float(p.value) for p in values.metadata_props}
        constants = {t.name: numpy_helper.to_array(t) for t in self.proto.graph.initializer}
        self.known = self.values | constants
        graph = self.proto.graph
        self.infos = {i.name: i for i in [*graph.input, *graph.value_info, *graph.output]}

    def groups(self) -> list[list]:
        """The nodes, those that stand for the same node of the graph together."""
        found = collections.defaultdict(list)
        for node in self.proto.graph.node:
            found[source(node)].append(node)
        return list(found.values())

    def results(self, node) -> list[str]:
        """The values of the graph that the node helps to compute."""
        group = [n for n in self.proto.graph.node if source(n) == source(node)]
        return [o for n in group for o in n.output if o in self.values]

    def cut(self, group: list) -> None:
        """Gives the results of the nodes as inputs."""
        graph = self.proto.graph
        results = {o for n in group for o in n.output}
        for node in group:
            graph.node.remove(node)
        for output in [o for o in graph.output if o.name in results]:
            graph.output.remove(output)
        graph.input.extend(self.infos[name] for name in results if name in self.values)
        used = {i for n in graph.node for i in n.input}
        for unread in [i for i in graph.input if i.name not in used]:
            graph.input.remove(unread)
        for unread in [t for t in graph.initializer if t.name not in used]:
            graph.initializer.remove(unread)
        produced = {o for n in graph.node for o in n.output if o in self.values}
        outputs = {o.name for o in graph.output}
        graph.output.extend(self.infos[name] for name in sorted(produced - used - outputs))

    def kinds(self, group: list) -> str:
        """The operators with the dtypes of their operands."""
        return " ".join(f"{n.op_type}({', '.join(self.dtype(i) for i in n.input if i)})" for n in group)

    def dtype(self, name: str) -> str:
        return str(self.known[name].dtype) if name in self.known else "?"

    def feeds(self, graph) -> dict:
        """OrtValues of the inputs: NumPy has no bf16."""
        ort = onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type
        return {i.name: ort(as_bytes(self.known[i.name]), i.type.tensor_type.elem_type) for i in graph.input}


def as_bytes(array: np.ndarray) -> np.ndarray:
    """An array of a type that NumPy itself has."""
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def session(proto, level: str):
    """A session with one thread and the given optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def difference(got: np.ndarray, want: np.ndarray) -> float:
    """How far apart, relative to the largest magnitude; infinite where types or shapes differ."""
    if got.dtype != want.dtype or got.shape != want.shape:
        return np.inf
    if want.dtype.kind in "biu":
        return 0.0 if np.array_equal(got, want) else np.inf
    got, want = got.astype(np.float64), want.astype(np.float64)
    largest = np.abs(want).max(initial=0.0, where=np.isfinite(want)) or 1.0
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    apart = np.where(same, 0.0, np.abs(got - want) / largest)
    return float(np.nan_to_num(apart, nan=np.inf).max(initial=0.0))


def run(model: Model, level: str, outputs: list[str], nodes: list | None = None) -> dict[str, np.ndarray]:
    """ONNX Runtime's results of the model, or of some of its nodes alone."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = proto.graph
    del graph.output[:]
    if nodes is not None:
        del graph.node[:]
        graph.node.extend(nodes)
        needed = {i for n in nodes for i in n.input} - {o for n in nodes for o in n.output}
        given = [i for i in model.infos.values() if i.name in needed and i.name not in {x.name for x in graph.input}]
        graph.input.extend(given)
    for name in outputs:
        info = model.infos[name]
        if info.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16:
            # NumPy cannot take it.
            graph.node.append(onnx.helper.make_node("Cast", [name], [f"{name}_f32"], to=onnx.TensorProto.FLOAT))
            info = onnx.helper.make_tensor_value_info(f"{name}_f32", onnx.TensorProto.FLOAT, None)
        graph.output.append(info)
    results = session(proto, level).run_with_ort_values([o.name for o in graph.output], model.feeds(graph))
    return {name: r.numpy() for name, r in zip(outputs, results, strict=True)}


def wrong(model: Model, results: dict) -> list[tuple[str, float, float]]:
    """Outputs that are too far from the interpreter's."""
    found = []
    for name, got in results.items():
        want = model.values[name]
        if want.dtype.name == "bfloat16":
            got = got.astype(want.dtype)
        allowed = model.tolerance[name] * FACTOR.get(want.dtype.name, 0)
        apart = difference(got, want)
        if not apart <= allowed:
            found.append((name, apart, allowed))
    return found


def prepare(model: Model, counts: collections.Counter, refused: dict[str, str]) -> bool:
    """Cuts what ONNX Runtime cannot be asked; False when nothing is left."""
    for group in model.groups():
        reason = quirks.leaves_standard(model, group) or refused.get(model.kinds(group))
        if reason:
            counts[f"{reason}: {model.kinds(group)}"] += 1
            model.cut(group)
    if not model.proto.graph.node:
        return False
    try:
        run(model, "off", [o.name for o in model.proto.graph.output])
        return True
    except Exception:  # noqa: BLE001  ONNX Runtime's exceptions have no common class
        pass
    for group in model.groups():
        try:
            run(model, "off", [o for n in group for o in n.output if o in model.values], group)
        except Exception as error:  # noqa: BLE001
            reason, everywhere = quirks.refusal(str(error))
            if everywhere:
                refused[model.kinds(group)] = reason
            counts[f"{reason}: {model.kinds(group)}"] += 1
            model.cut(group)
    return bool(model.proto.graph.node)


def culprit(model: Model, level: str) -> tuple[list, str]:
    """The first nodes whose result is off though their operands are right."""
    every = [o for n in model.proto.graph.node for o in n.output if o in model.values]
    bad = {name: apart for name, apart, _ in wrong(model, run(model, level, every))}
    for group in model.groups():
        for name in [o for n in group for o in n.output if o in bad]:
            return group, f"{model.kinds(group)} gives {name} {bad[name]:.2e} apart"
    return [], "right when every value is an output: an optimisation of ONNX Runtime"


def run_prepared(model: Model, level: str, counts: collections.Counter) -> dict[str, np.ndarray]:
    """All outputs. The optimiser moves transposes through nodes that then have no kernel: counted."""
    outputs = [o.name for o in model.proto.graph.output]
    try:
        return run(model, level, outputs)
    except Exception as error:  # noqa: BLE001
        if level == "off":
            raise
        reason, _ = quirks.refusal(str(error))
        counts[f"only with optimisations on: {reason}"] += 1
        return {}


def examine(folder: Path, options, counts: collections.Counter, refused: dict[str, str]) -> str | None:
    """Runs one model; a text when it fails."""
    model = Model(folder)
    try:
        if not prepare(model, counts, refused):
            counts["models without a node left"] += 1
            return None
        for level in LEVELS:
            bad = wrong(model, run_prepared(model, level, counts))
            if bad:
                name, apart, allowed = bad[0]
                group, what = culprit(model, level)
                text = f"{model.name} (optimisations {level}): {name} is {apart:.2e} apart, {allowed:.2e} allowed; {what}"
                return text + shrunk(model, group, options)
    except Exception as error:  # noqa: BLE001
        return f"{model.name}: {str(error).splitlines()[0][:400]}"
    counts["models equal"] += 1
    counts["nodes compared"] += len(model.groups())
    return None


def shrunk(model: Model, group: list, options) -> str:
    """The node of the graph alone, as the exporter prints it, with its operands."""
    if not (options.exporter and group):
        return ""
    command = [options.exporter, "--seed", model.name.split("_")[0], "--value", source(group[0]).removeprefix("v")]
    text = subprocess.run(command, capture_output=True, text=True).stdout
    names = dict.fromkeys(i for n in group for i in n.input if i in model.known)
    operands = [f"\n    {i} = {np.array2string(model.known[i], threshold=40)}" for i in names]
    return f"\n{text}{''.join(operands)}"


def main() -> None:
    """Examines every model of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--exporter", help="prints the culprit of a mismatch")
    options = parser.parse_args()
    counts, refused, failures = collections.Counter(), {}, []
    for folder in sorted(options.folder.iterdir()):
        failure = examine(folder, options, counts, refused)
        if failure:
            failures.append(failure)
            print(failure, flush=True)
    for what, n in sorted(counts.items()):
        print(f"{n:7} {what}")
    print(f"{len(failures)} mismatches")
    sys.exit(bool(failures) or not counts["models equal"])


if __name__ == "__main__":
    main()
