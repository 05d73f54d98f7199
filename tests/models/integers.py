"""What a quantised model computes in integers, for tests that compare them one by one.

Beside a case's reference:
  integers.npz       every integer that the model's activations become on the way, by value name, with
                     ONNX Runtime's optimisations off (they would hide most of them)
  part/model.onnx    the model's integer parts alone, each with its quantised operands as inputs:
                     MatMulInteger and ConvInteger; of a QDQ model every convolution between its
                     DequantizeLinear and QuantizeLinear nodes
  part/inputs.npz    their operands in the run above
  part/outputs.npz   ONNX Runtime's results for those operands, optimised, hence in integers
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime

PRODUCTS = ("MatMulInteger", "ConvInteger")
ROUNDING = ("DynamicQuantizeLinear", "QuantizeLinear")
LEVELS = onnxruntime.GraphOptimizationLevel


def run(proto: onnx.ModelProto, feeds: dict, names: list[str], level) -> dict[str, np.ndarray]:
    """The named values."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, feeds), strict=True))


def with_outputs(proto: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """A copy that also gives these values."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    there = {o.name for o in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    return copy


def rounded(graph: onnx.GraphProto) -> list[str]:
    """The integers that activations become, and the integer products."""
    weights = {t.name for t in graph.initializer}
    nodes = [n for n in graph.node if n.op_type in ROUNDING + PRODUCTS and n.input[0] not in weights]
    return [n.output[0] for n in nodes]


def units(graph: onnx.GraphProto) -> list[list[onnx.NodeProto]]:
    """The nodes of each integer part."""
    by_result = {o: n for n in graph.node for o in n.output}
    found = [[n] for n in graph.node if n.op_type in PRODUCTS]
    for last in graph.node:
        inner = by_result.get(last.input[0]) if last.op_type == "QuantizeLinear" else None
        if inner is not None and inner.op_type == "Conv":
            operands = [by_result.get(i) for i in inner.input]
            if all(o is not None and o.op_type == "DequantizeLinear" for o in operands):
                found.append([*operands, inner, last])
    return found


def part(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The integer parts alone: their operands are inputs, their results are called NAME/part."""
    constants = {t.name: t for t in proto.graph.initializer}
    nodes, results = {}, []
    for *operands, last in units(proto.graph):
        nodes |= {n.output[0]: n for n in operands}
        copy = onnx.NodeProto()
        copy.CopyFrom(last)
        copy.output[0] += "/part"
        nodes[copy.output[0]] = copy
        results.append(copy.output[0])
    needed = dict.fromkeys(i for n in nodes.values() for i in n.input if i and i not in nodes)
    inputs = [onnx.ValueInfoProto(name=name) for name in needed if name not in constants]
    outputs = [onnx.ValueInfoProto(name=name) for name in results]
    weights = [constants[name] for name in needed if name in constants]
    graph = onnx.helper.make_graph(list(nodes.values()), "integer parts", inputs, outputs, weights)
    opset = [o for o in proto.opset_import if not o.domain]
    return onnx.helper.make_model(graph, opset_imports=opset, ir_version=proto.ir_version)


def declare(infos, arrays: dict[str, np.ndarray]) -> None:
    """Gives inputs or outputs the arrays' types."""
    for info in infos:
        array = arrays[info.name]
        dtype = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        info.CopyFrom(onnx.helper.make_tensor_value_info(info.name, dtype, array.shape))


def write(path: Path, feeds: dict, folder: Path) -> None:
    """Writes the files into a case's folder."""
    proto = onnx.load(path)
    alone = part(proto)
    integers = rounded(proto.graph)
    operands = [i.name for i in alone.graph.input]
    names = list(dict.fromkeys(integers + operands))
    found = run(with_outputs(proto, names), feeds, names, LEVELS.ORT_DISABLE_ALL)
    np.savez(folder / "integers.npz", **{name: found[name] for name in integers})
    inputs = {name: found[name] for name in operands}
    declare(alone.graph.input, inputs)
    results = [o.name for o in alone.graph.output]
    outputs = run(alone, inputs, results, LEVELS.ORT_ENABLE_ALL)
    declare(alone.graph.output, outputs)
    (folder / "part").mkdir(exist_ok=True)
    onnx.save(alone, folder / "part" / "model.onnx")
    np.savez(folder / "part" / "inputs.npz", **inputs)
    np.savez(folder / "part" / "outputs.npz", **outputs)
