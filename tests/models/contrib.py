"""Writes cases for the operators of `com.microsoft`, and for others that the backend suite leaves
out, with ONNX Runtime's outputs.

Usage: python tests/models/contrib.py OUT_FOLDER

Operands are random, seeded by the case's name, and of unequal dims. The form on disk is that
of onnx_backend.py; meta.json has `steps` besides: how far quantised results may be apart.
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from onnx_backend import encode

DOMAIN = "com.microsoft"
TYPES = {
    "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int32": TensorProto.INT32,
    "int64": TensorProto.INT64, "uint8": TensorProto.UINT8, "int8": TensorProto.INT8,
}  # fmt: skip


class Cases:
    """Collects cases; the names of operands are x0, x1, ..."""

    def __init__(self, out: Path):
        self.out, self.rng = out, None

    def begin(self, name: str) -> None:
        self.name = name
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))

    def f(self, *dims, scale=1.0):
        return (self.rng.standard_normal(dims) * scale).astype(np.float32)

    def u8(self, *dims, low=0, high=256):
        return self.rng.integers(low, high, dims).astype(np.uint8)

    def i8(self, *dims):
        return self.rng.integers(-127, 128, dims).astype(np.int8)

    def add(self, op, inputs, outputs=1, constants=(), rtol=1e-4, atol=1e-5, steps=0, domain=DOMAIN,
            named=None, **attributes):
        """One node on operands (None: absent); `constants` are initializers by number."""
        names = [f"x{i}" if x is not None else "" for i, x in enumerate(inputs)]
        results = named or [f"y{i}" for i in range(outputs)]
        node = helper.make_node(op, names, results, domain=domain, **attributes)
        given = [i for i, x in enumerate(inputs) if x is not None]
        values = [
            helper.make_tensor_value_info(names[i], TYPES[inputs[i].dtype.name], inputs[i].shape)
            for i in given if i not in constants
        ]  # fmt: skip
        weights = [onnx.numpy_helper.from_array(inputs[i], names[i]) for i in given if i in constants]
        feeds = {names[i]: inputs[i] for i in given if i not in constants}
        wanted = [r for r in results if r]
        draft = [helper.make_empty_tensor_value_info(r) for r in wanted]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
        graph = helper.make_graph([node], self.name, values, draft, weights)
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        arrays = session.run(wanted, feeds)
        del model.graph.output[:]
        model.graph.output.extend(
            helper.make_tensor_value_info(r, TYPES[a.dtype.name], a.shape) for r, a in zip(wanted, arrays)
        )
        self.write(model, feeds, dict(zip(wanted, arrays)), rtol, atol, steps, op, domain)

    def by_reference(self, op, inputs, outputs, **attributes):
        """A node of doubles, which ONNX Runtime has no kernel for: by ONNX's reference evaluator."""
        names, results = [f"x{i}" for i in range(len(inputs))], [f"y{i}" for i in range(outputs)]
        info = lambda name, dims: helper.make_tensor_value_info(name, TensorProto.DOUBLE, dims)
        node = helper.make_node(op, names, results, **attributes)
        graph = helper.make_graph([node], self.name, [info(n, x.shape) for n, x in zip(names, inputs)],
                                  [info(r, None) for r in results])  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        feeds = dict(zip(names, inputs))
        arrays = ReferenceEvaluator(model).run(None, feeds)
        self.write(model, feeds, dict(zip(results, arrays)), 1e-9, 1e-12, 0, op, "")

    def write(self, model, feeds, results, rtol, atol, steps, op, domain) -> None:
        folder = self.out / self.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        meta = {"kind": "contrib", "rtol": rtol, "atol": atol, "steps": steps, "opset": 17,
                "ops": [f"{domain or 'ai.onnx'}.{op}"]}  # fmt: skip
        data = b""
        for stem, arrays in (("inputs", feeds), ("outputs", results)):
            meta[stem] = []
            for name, array in arrays.items():
                dtype, dims, raw, own = encode(array)
                meta[stem].append({"name": name, "dtype": dtype, "dims": dims, "type": own})
                data += raw
        (folder / "data.bin").write_bytes(data)
        (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def dense(c: Cases) -> None:
    c.begin("fused_matmul"), c.add("FusedMatMul", [c.f(2, 3, 5), c.f(5, 4)], alpha=0.7)
    c.begin("fused_matmul_trans")
    c.add("FusedMatMul", [c.f(2, 5, 3), c.f(2, 4, 5)], alpha=-1.5, transA=1, transB=1)
    c.begin("gelu"), c.add("Gelu", [c.f(3, 7)])
    c.begin("bias_gelu"), c.add("BiasGelu", [c.f(2, 3, 7), c.f(7)])
    c.begin("fast_gelu"), c.add("FastGelu", [c.f(2, 3, 7), c.f(7)])
    c.begin("fast_gelu_plain"), c.add("FastGelu", [c.f(5, 7)])
    c.begin("quick_gelu"), c.add("QuickGelu", [c.f(3, 7)])
    c.begin("quick_gelu_alpha"), c.add("QuickGelu", [c.f(3, 7)], alpha=0.9)
    x, w, b = (1, 3, 7, 6), (4, 3, 3, 2), (4,)
    for activation, parameters in [("Relu", None), ("Tanh", None), ("Sigmoid", None),
                                   ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.8]), ("HardSigmoid", [0.3, 0.4])]:  # fmt: skip
        more = {"activation_params": parameters} if parameters else {}
        c.begin(f"fused_conv_{activation.lower()}")
        c.add("FusedConv", [c.f(*x), c.f(*w), c.f(*b)], constants=(1, 2), activation=activation,
              pads=[1, 0, 0, 1], strides=[2, 1], **more)  # fmt: skip
    c.begin("fused_conv_sum")
    c.add("FusedConv", [c.f(*x), c.f(*w), c.f(*b), c.f(1, 4, 5, 5)], constants=(1, 2), activation="Relu")
    for activation, more in [("Relu", {}), ("LeakyRelu", {"activation_alpha": 0.3}), ("Tanh", {})]:
        c.begin(f"fused_gemm_{activation.lower()}")
        c.add("FusedGemm", [c.f(5, 3), c.f(4, 5), c.f(4)], activation=activation, alpha=0.5, beta=2.0,
              transA=1, transB=1, **more)  # fmt: skip
    for bits, zero in [(4, False), (4, True), (8, False), (8, True)]:
        n, k, block = 6, 80, 32
        blocks = (k + block - 1) // block
        c.begin(f"matmul_n_bits_{bits}{'_zero' if zero else ''}")
        operands = [c.f(2, 3, k), c.u8(n, blocks, block * bits // 8), np.abs(c.f(n * blocks)) * 0.05]
        if zero:
            operands.append(c.u8(n * ((blocks * bits + 7) // 8)))
        c.add("MatMulNBits", operands, constants=(1, 2, 3), K=k, N=n, bits=bits, block_size=block, atol=1e-3)


def norms(c: Cases) -> None:
    c.begin("simplified_layer_norm")
    c.add("SimplifiedLayerNormalization", [c.f(2, 3, 8), c.f(8)], domain="", axis=-1, epsilon=1e-5)
    c.begin("skip_layer_norm")
    c.add("SkipLayerNormalization", [c.f(2, 3, 8), c.f(2, 3, 8), c.f(8), c.f(8), c.f(8)],
          named=["y0", "", "", "y3"], epsilon=1e-5)  # fmt: skip
    c.begin("skip_layer_norm_plain")
    c.add("SkipLayerNormalization", [c.f(2, 3, 8), c.f(2, 3, 8), c.f(8)], epsilon=1e-3)
    c.begin("skip_simplified_layer_norm")
    c.add("SkipSimplifiedLayerNormalization", [c.f(2, 3, 8), c.f(2, 3, 8), c.f(8), c.f(8)],
          named=["y0", "", "", "y3"], epsilon=1e-5)  # fmt: skip
    ids = lambda high: c.rng.integers(0, high, (2, 5)).astype(np.int32)
    c.begin("embed_layer_norm")
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], np.int32)
    c.add("EmbedLayerNormalization",
          [ids(11), ids(2), c.f(11, 8), c.f(7, 8), c.f(2, 8), c.f(8), c.f(8), mask],
          constants=(2, 3, 4, 5, 6), outputs=3, epsilon=1e-5, mask_index_type=1)  # fmt: skip
    c.begin("embed_layer_norm_plain")
    c.add("EmbedLayerNormalization", [ids(11), None, c.f(11, 8), c.f(7, 8), None, c.f(8), c.f(8)],
          constants=(2, 3, 5, 6), named=["y0", "y1"], epsilon=1e-5)  # fmt: skip


def attention(c: Cases) -> None:
    b, s, width, heads, size = 2, 5, 12, 3, 4
    hidden = heads * size
    base = lambda: [c.f(b, s, width), c.f(width, 3 * hidden, scale=0.3), c.f(3 * hidden)]
    c.begin("attention"), c.add("Attention", base(), constants=(1, 2), num_heads=heads)
    c.begin("attention_causal"), c.add("Attention", base(), constants=(1, 2), num_heads=heads, unidirectional=1)
    c.begin("attention_lengths")
    c.add("Attention", [*base(), np.array([3, 5], np.int32)], constants=(1, 2), num_heads=heads)
    raw = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    c.begin("attention_raw_mask"), c.add("Attention", [*base(), raw], constants=(1, 2), num_heads=heads)
    c.begin("attention_past")
    c.add("Attention", [*base(), None, c.f(2, b, heads, 3, size)], constants=(1, 2), outputs=2, num_heads=heads,
          unidirectional=1)  # fmt: skip
    c.begin("attention_bias")
    c.add("Attention", [*base(), None, None, c.f(b, heads, s, s)], constants=(1, 2), num_heads=heads, scale=0.3)
    c.begin("attention_uneven")
    c.add("Attention", [c.f(b, s, width), c.f(width, 36, scale=0.3), c.f(36)], constants=(1, 2),
          num_heads=heads, qkv_hidden_sizes=[15, 15, 6])  # fmt: skip
    q, k = lambda: c.f(b, s, hidden), lambda: c.f(b, 7, hidden)
    c.begin("multi_head"), c.add("MultiHeadAttention", [q(), k(), k()], num_heads=heads)
    c.begin("multi_head_bias")
    c.add("MultiHeadAttention", [q(), k(), k(), c.f(3 * hidden)], num_heads=heads, scale=0.4)
    keys = np.array([[1, 1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 0]], np.int32)
    c.begin("multi_head_mask"), c.add("MultiHeadAttention", [q(), k(), k(), None, keys], num_heads=heads)
    c.begin("multi_head_past")
    past = lambda: c.f(b, heads, 4, size)
    c.add("MultiHeadAttention", [q(), q(), q(), None, None, None, past(), past()], outputs=3, num_heads=heads,
          unidirectional=1)  # fmt: skip
    c.begin("multi_head_attention_bias")
    c.add("MultiHeadAttention", [q(), k(), k(), None, None, c.f(1, heads, s, 7)], num_heads=heads)


def group_query(c: Cases) -> None:
    b, heads, kv, size = 2, 4, 2, 16
    # Exporters compute the total; ONNX Runtime reads it from memory either way.
    total = lambda n: np.array(n, np.int32)
    q = lambda s: c.f(b, s, heads * size)
    k = lambda s: c.f(b, s, kv * size)
    past = lambda n: c.f(b, kv, n, size)
    lens = lambda *n: np.array(n, np.int32)
    tables = lambda: [c.f(20, size // 2), c.f(20, size // 2)]
    more = {"num_heads": heads, "kv_num_heads": kv, "outputs": 3}
    c.begin("group_query_prompt")
    c.add("GroupQueryAttention", [q(5), k(5), k(5), None, None, lens(4, 4), total(5)], **more)
    c.begin("group_query_rotary")
    c.add("GroupQueryAttention", [q(5), k(5), k(5), None, None, lens(4, 4), total(5), *tables()], do_rotary=1, **more)
    c.begin("group_query_interleaved")
    c.add("GroupQueryAttention", [q(5), k(5), k(5), None, None, lens(4, 4), total(5), *tables()], do_rotary=1,
          rotary_interleaved=1, **more)  # fmt: skip
    c.begin("group_query_packed")
    c.add("GroupQueryAttention", [c.f(b, 5, (heads + 2 * kv) * size), None, None, None, None, lens(4, 4), total(5)],
          scale=0.2, **more)  # fmt: skip
    c.begin("group_query_decode")
    c.add("GroupQueryAttention", [q(1), k(1), k(1), past(6), past(6), lens(6, 6), total(7), *tables()], do_rotary=1,
          **more)  # fmt: skip
    c.begin("group_query_window")
    c.add("GroupQueryAttention", [q(7), k(7), k(7), None, None, lens(6, 6), total(7)], local_window_size=3, **more)
    c.begin("group_query_softcap")
    c.add("GroupQueryAttention", [q(5), k(5), k(5), None, None, lens(4, 4), total(5)], softcap=2.0, **more)


def rotary(c: Cases) -> None:
    tables = lambda half: [c.f(9, half), c.f(9, half)]
    c.begin("rotary")
    at = np.array([[0, 2, 4], [8, 1, 3]], np.int64)
    c.add("RotaryEmbedding", [c.f(2, 3, 24), at, *tables(4)])
    c.begin("rotary_offset"), c.add("RotaryEmbedding", [c.f(2, 3, 24), np.array([5], np.int64), *tables(4)])
    c.begin("rotary_heads"), c.add("RotaryEmbedding", [c.f(2, 3, 4, 8), at[:, [0, 1, 2, 0]], *tables(4)], interleaved=1)
    c.begin("rotary_part")
    c.add("RotaryEmbedding", [c.f(2, 3, 24), at, *tables(2)], num_heads=3, rotary_embedding_dim=4)


def quantised(c: Cases) -> None:
    s = lambda x: np.array(x, np.float32)
    for dtype, name in ((np.uint8, "u8"), (np.int8, "i8")):
        z = lambda x: np.array(x, dtype)
        x = lambda *d: c.u8(*d).astype(dtype) if dtype == np.uint8 else c.i8(*d)
        for op in ("Add", "Mul"):
            c.begin(f"qlinear_{op.lower()}_{name}")
            c.add(f"QLinear{op}", [x(2, 3, 5), s(0.1), z(7), x(3, 5), s(0.05), z(3), s(0.2), z(11)],
                  constants=(1, 2, 4, 5, 6, 7), steps=1)  # fmt: skip
        c.begin(f"qlinear_sigmoid_{name}")
        c.add("QLinearSigmoid", [x(3, 5), s(0.05), z(7), s(1 / 256), z(0)], constants=(1, 2, 3, 4), steps=1)
        c.begin(f"qlinear_leaky_relu_{name}")
        c.add("QLinearLeakyRelu", [x(3, 5), s(0.05), z(7), s(0.06), z(9)], constants=(1, 2, 3, 4), steps=1, alpha=0.2)
        c.begin(f"qlinear_global_average_pool_{name}")
        c.add("QLinearGlobalAveragePool", [x(2, 3, 5, 4), s(0.05), z(7), s(0.04), z(9)], constants=(1, 2, 3, 4), steps=1)
        c.begin(f"qlinear_concat_{name}")
        c.add("QLinearConcat", [s(0.1), z(3), x(2, 3), s(0.05), z(7), x(2, 4), s(0.2), z(1)],
              constants=(0, 1, 3, 4, 6, 7), steps=1, axis=1)  # fmt: skip
        c.begin(f"qlinear_softmax_{name}")
        c.add("QLinearSoftmax", [x(3, 6), s(0.03), z(7), s(1 / 256), z(0)], constants=(1, 2, 3, 4), steps=1,
              opset=13, axis=-1)  # fmt: skip
    z = lambda x: np.array(x, np.uint8)
    c.begin("qlinear_average_pool")
    c.add("QLinearAveragePool", [c.u8(1, 3, 6, 5), s(0.05), z(7), s(0.04), z(9)], constants=(1, 2, 3, 4), steps=1,
          kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])  # fmt: skip
    for name, more in (("float", []), ("quantised", [s(0.05), z(9)])):
        c.begin(f"q_gemm_{name}")
        c.add("QGemm", [c.u8(7, 3, high=128), s(0.02), z(60), c.i8(4, 7), np.abs(c.f(4)) * 0.05,
                        np.zeros(4, np.int8), c.rng.integers(-99, 99, 4).astype(np.int32), *more],
              constants=(1, 2, 3, 4, 5, 6, 7, 8), steps=1, transA=1, transB=1, alpha=0.5)  # fmt: skip
    heads, hidden = 3, 12
    q_base = lambda: [c.u8(2, 5, 8, high=128), c.i8(8, 3 * hidden), c.f(3 * hidden), s(0.02), s(0.01)]
    c.begin("q_attention")
    c.add("QAttention", [*q_base(), None, z(60), np.array(0, np.int8)], constants=(1, 2, 3, 4, 6, 7),
          num_heads=heads, rtol=1e-3, atol=1e-3)  # fmt: skip
    c.begin("q_attention_mask")
    c.add("QAttention", [*q_base(), np.array([3, 5], np.int32), z(60), np.array(0, np.int8)],
          constants=(1, 2, 3, 4, 6, 7), num_heads=heads, unidirectional=1, rtol=1e-3, atol=1e-3)  # fmt: skip
    c.begin("matmul_integer_to_float")
    # 7 bits: without VNNI, ONNX Runtime's sums of two products saturate.
    c.add("MatMulIntegerToFloat", [c.u8(3, 7, high=128), c.i8(7, 4), s(0.02), np.abs(c.f(4)) * 0.05, z(120),
                                   np.zeros(4, np.int8), c.f(4)], constants=(1, 3, 5, 6))  # fmt: skip
    c.begin("dynamic_quantize_matmul")
    c.add("DynamicQuantizeMatMul", [c.f(2, 3, 7), c.i8(7, 4), np.abs(c.f(4)) * 0.05, np.zeros(4, np.int8), c.f(4)],
          constants=(1, 2, 3, 4), atol=1e-3)  # fmt: skip
    c.begin("dynamic_quantize_lstm")
    directions, hidden, width = 1, 4, 6
    scale = lambda: np.full((directions,), 0.01, np.float32)
    zero = lambda: np.zeros((directions,), np.int8)
    # ONNX Runtime quantises each step's operand to 8 bits, which the tolerance is for.
    c.add("DynamicQuantizeLSTM",
          [c.f(5, 2, width), c.i8(directions, width, 4 * hidden), c.i8(directions, hidden, 4 * hidden),
           c.f(directions, 8 * hidden), None, None, None, None, scale(), zero(), scale(), zero()],
          constants=(1, 2, 8, 9, 10, 11), outputs=3, hidden_size=hidden, rtol=0.02, atol=0.02)  # fmt: skip


def standard(c: Cases) -> None:
    """Operators of the default domain that the backend suite has no case of."""
    # Corners in the picture and beyond it, halves, one region that is upside down.
    rois = np.array([[0, 0, 0, 6, 4], [1, 1, 2, 5, 3], [0, 2.5, 1.5, 4.5, 3.5], [1, -3, -2, 2, 9],
                     [0, 5, 4, 1, 1], [1, 8, 1, 12, 2]], np.float32)  # fmt: skip
    c.begin("max_roi_pool")
    c.add("MaxRoiPool", [c.f(2, 3, 5, 7), rois], domain="", pooled_shape=[2, 3])
    c.begin("max_roi_pool_scale")
    c.add("MaxRoiPool", [c.f(2, 3, 5, 7), rois * np.float32([1, 2, 2, 2, 2])], domain="", pooled_shape=[4, 1], spatial_scale=0.4)
    steps, batch, width, hidden = 4, 2, 3, 5
    for op, gates, outputs in [("RNN", 1, 2), ("GRU", 3, 2), ("LSTM", 4, 3)]:
        c.begin(f"{op.lower()}_of_doubles")
        dims = [(steps, batch, width), (1, gates * hidden, width), (1, gates * hidden, hidden), (1, 2 * gates * hidden)]
        c.by_reference(op, [c.rng.standard_normal(d) for d in dims], outputs, hidden_size=hidden)


def main() -> None:
    out = Path(sys.argv[1])
    cases = Cases(out)
    for family in (dense, norms, attention, group_query, rotary, quantised, standard):
        family(cases)


if __name__ == "__main__":
    main()
