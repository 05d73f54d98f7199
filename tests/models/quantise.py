"""Makes the quantised models of the catalog from the others, with onnxruntime.quantization.

Entries whose package is `quantised:HOW` are made from the model named by `file`:

  dynamic  8-bit weights; activations are quantised at run time: DynamicQuantizeLinear, MatMulInteger
  qdq      u8 activations with calibrated ranges, s8 weights per channel: pairs of QuantizeLinear and
           DequantizeLinear around every Conv, MatMul, Add...

Weights have 7 bits (`reduce_range`): ONNX Runtime's kernels for CPUs without VNNI add pairs of
u8 x s8 products in 16 bits and saturate with 8, so that its integers would depend on the machine.
The result is the same on every machine: calibrated ranges are rounded to RANGE_DIGITS digits, so
that sums in another order do not show.
"""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
from onnxruntime import quantization
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

import catalog
import inputs

PREFIX = "quantised:"
RANGE_DIGITS = 3
OPSET = 17


class Cases(quantization.CalibrationDataReader):
    """The generated inputs of every case."""

    def __init__(self, model: catalog.Model):
        self.left = [inputs.make(model, case) for case in model.cases]

    def get_next(self):
        """The next case's inputs; None at the end."""
        return self.left.pop(0) if self.left else None


def rounded(x: np.ndarray) -> np.ndarray:
    """A few significant digits."""
    return np.array(float(f"{np.asarray(x).item():.{RANGE_DIGITS - 1}e}"), dtype=np.float32)


def prepared(source: catalog.Model, folder: str) -> Path:
    """The model in an opset that has scales per channel, batch normalisations folded into convolutions."""
    newer, folded = f"{folder}/newer.onnx", Path(folder) / "folded.onnx"
    onnx.save(onnx.version_converter.convert_version(onnx.load(source.path), OPSET), newer)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(newer, options, providers=["CPUExecutionProvider"])
    return folded


def ranges(model: Path, source: catalog.Model) -> TensorsData:
    """Least and largest value of every activation over the cases."""
    method = CalibrationMethod.MinMax
    augmented = str(model.with_name("augmented.onnx"))
    calibrator = create_calibrator(model, augmented_model_path=augmented, calibrate_method=method)
    calibrator.collect_data(Cases(source))
    data = calibrator.compute_data()
    found = {name: TensorData(lowest=rounded(t.lowest), highest=rounded(t.highest)) for name, t in data.items()}
    return TensorsData(method, found)


def qdq(source: catalog.Model, target: Path) -> None:
    """u8 activations, s8 weights."""
    with tempfile.TemporaryDirectory() as folder:
        model = prepared(source, folder)
        quantizer = QDQQuantizer(
            onnx.load(model),
            per_channel=True,
            reduce_range=True,
            weight_qType=quantization.QuantType.QInt8,
            activation_qType=quantization.QuantType.QUInt8,
            tensors_range=ranges(model, source),
            extra_options={},
            nodes_to_quantize=[],
            nodes_to_exclude=[],
            op_types_to_quantize=["Conv", "MatMul", "Gemm", "Add", "Mul", "MaxPool", "Concat", "GlobalAveragePool"],
        )
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(str(target))


def dynamic(source: catalog.Model, target: Path) -> None:
    """s8 weights."""
    quantization.quantize_dynamic(source.path, target, weight_type=quantization.QuantType.QInt8, reduce_range=True)


HOW = {"dynamic": dynamic, "qdq": qdq}


def make(model: catalog.Model, target: Path) -> None:
    """Writes the model of a `quantised:` entry."""
    [source] = catalog.load([model.file])
    if not source.is_fetched():
        raise SystemExit(f"{model.id} is made from {source.id}: run python tests/models/fetch.py {source.id}")
    HOW[model.package.removeprefix(PREFIX)](source, target)
