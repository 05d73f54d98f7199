"""One peer in a process of its own: `python engine.py ENGINE MODEL INPUTS.npz THREADS`.

Prints {"load_ns", "first_run_ns"}; then reads lines with a number of seconds, measures single runs
for that long, and prints {"times_ns", "peak_rss_bytes"}. A peer that cannot load or run the model
ends with the reason as the last line of stderr. Outputs are copied to NumPy arrays by each peer's
own Python interface, as its users would have them.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LEAST_RUNS = 3


def onnxruntime(model: str, feeds: dict, threads: int):
    """ONNX Runtime with default optimisations."""
    import onnxruntime as ort

    def load():
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, feeds)

    return load


def openvino(precision: str):
    """OpenVINO for latency, with the shapes of the inputs and an inference precision."""

    def engine(model: str, feeds: dict, threads: int):
        import openvino as ov

        def load():
            core = ov.Core()
            read = core.read_model(model)
            read.reshape({name: array.shape for name, array in feeds.items()})
            hints = {
                "INFERENCE_PRECISION_HINT": precision,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
            }
            request = core.compile_model(read, "CPU", hints).create_infer_request()
            return lambda: request.infer(feeds)

        return load

    return engine


def iree(model: str, feeds: dict, threads: int):
    """IREE for this CPU, with the shapes of the inputs; compiling is not part of its load time."""
    import iree.compiler as compiler
    import iree.runtime as runtime
    import onnx
    from iree.compiler.tools.import_onnx import __main__ as importer

    with tempfile.TemporaryDirectory() as folder:
        fixed, mlir = f"{folder}/fixed.onnx", f"{folder}/model.mlir"
        proto = onnx.load(model)
        for info in proto.graph.input:
            for dim, size in zip(info.type.tensor_type.shape.dim, feeds.get(info.name, np.empty(0)).shape):
                dim.dim_value = size
        # Shapes on the way may name the dims that are now numbers.
        del proto.graph.value_info[:]
        onnx.save(onnx.version_converter.convert_version(proto, max(proto.opset_import[0].version, 17)), fixed)
        importer.main(importer.parse_arguments([fixed, "-o", mlir]))
        flags = ["--iree-llvmcpu-target-cpu=host"]
        module = compiler.compile_file(mlir, input_type="onnx", target_backends=["llvm-cpu"], extra_args=flags)
    names = [info.name for info in proto.graph.input if info.name in feeds]
    operands = [feeds[name] for name in names]

    def load():
        config = runtime.Config("local-task" if threads > 1 else "local-sync")
        vm = runtime.VmModule.copy_buffer(config.vm_instance, module)
        functions = runtime.load_vm_module(vm, config)
        [name] = [n for n in vm.function_names if not n.startswith("__") and "$async" not in n]
        run = functions[name]

        def once():
            results = run(*operands)
            return [np.asarray(r) for r in (results if isinstance(results, (tuple, list)) else [results])]

        return once

    return load


ENGINES = {
    "onnxruntime": onnxruntime,
    "openvino": openvino("f32"),
    "openvino_bf16": openvino("bf16"),
    "iree": iree,
}


def timed(call) -> tuple[int, object]:
    """Nanoseconds of a call, and what it gave."""
    start = time.perf_counter_ns()
    result = call()
    return time.perf_counter_ns() - start, result


def measure(run, seconds: float) -> list[int]:
    """Nanoseconds of each run."""
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < LEAST_RUNS:
        times.append(timed(run)[0])
    return times


def main() -> None:
    """Loads, then serves."""
    engine, model, inputs, threads = sys.argv[1:]
    feeds = dict(np.load(inputs))
    load_ns, run = timed(ENGINES[engine](str(Path(model)), feeds, int(threads)))
    first_run_ns, _ = timed(run)
    print(json.dumps({"load_ns": load_ns, "first_run_ns": first_run_ns}), flush=True)
    for line in sys.stdin:
        times = measure(run, float(line))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"times_ns": times, "peak_rss_bytes": peak}), flush=True)


if __name__ == "__main__":
    main()
