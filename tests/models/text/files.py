"""Reading and writing safetensors and GGUF files with NumPy alone."""

import json
import struct

import numpy as np

SAFE = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "BF16": np.uint16}


def bf16(x):
    """The nearest bfloat16 of each f32, halves to even, as bits."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(bits):
    """f32 of bfloat16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def write_safetensors(path, tensors, kind="F32"):
    """Writes f32 arrays as `kind`."""
    header, parts, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, x in tensors.items():
        data = (bf16(x) if kind == "BF16" else x.astype(SAFE[kind])).tobytes()
        header[name] = {"dtype": kind, "shape": list(x.shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def read_safetensors(path):
    """Arrays by name; bfloat16 as f32."""
    data = path.read_bytes()
    (n,) = struct.unpack_from("<Q", data)
    out = {}
    for name, info in json.loads(data[8 : 8 + n]).items():
        if name != "__metadata__":
            start, end = (8 + n + offset for offset in info["data_offsets"])
            x = np.frombuffer(data[start:end], SAFE[info["dtype"]]).reshape(info["shape"])
            out[name] = from_bf16(x) if info["dtype"] == "BF16" else x
    return out


def halves(blocks, at):
    """The f16 at byte `at` of each block, as f32 [n, 1]."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view(np.float16).astype(np.float32)


def nibbles(q):
    """Low halves of the bytes, then high ones."""
    return np.concatenate([q & 15, q >> 4], -1).astype(np.float32)


def k_scales(blocks):
    """Scales and offsets of Q4_K and Q5_K, [n, 8] each."""
    s = blocks[:, 4:16].astype(np.int32)
    scale = np.concatenate([s[:, :4] & 63, (s[:, 8:] & 15) | (s[:, :4] >> 6 << 4)], 1)
    low = np.concatenate([s[:, 4:8] & 63, (s[:, 8:] >> 4) | (s[:, 4:8] >> 6 << 4)], 1)
    return halves(blocks, 0) * scale, halves(blocks, 2) * low


def q4_k(b):
    """256 elements: 4 bits, a scale and an offset for 32."""
    scale, low = k_scales(b)
    q = nibbles(b[:, 16:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    return (scale[..., None] * q - low[..., None]).reshape(-1, 256)


def q5_k(b):
    """As q4_k with 5 bits."""
    scale, low = k_scales(b)
    q = nibbles(b[:, 48:].reshape(-1, 4, 32)).reshape(-1, 8, 32)
    upper = b[:, None, 16:48] >> np.arange(8)[None, :, None] & 1
    return (scale[..., None] * (q + 16.0 * upper) - low[..., None]).astype(np.float32).reshape(-1, 256)


def q6_k(b):
    """256 elements: 6 bits, a scale for 16."""
    low, high = b[:, :128].reshape(-1, 2, 2, 32), b[:, 128:192].reshape(-1, 2, 1, 32)
    low = np.concatenate([low & 15, low >> 4], 2)
    q = low | (high >> np.array([0, 2, 4, 6])[None, None, :, None] & 3) << 4
    scale = b[:, 192:208].view(np.int8).astype(np.float32).reshape(-1, 16, 1) * halves(b, 208)[..., None]
    return (scale * (q.reshape(-1, 16, 16).astype(np.float32) - 32)).reshape(-1, 256)


# ggml type: name, elements and bytes of a block, elements of blocks [n, bytes].
FORMATS = {
    0: ("F32", 1, 4, lambda b: np.ascontiguousarray(b).view(np.float32)),
    1: ("F16", 1, 2, lambda b: np.ascontiguousarray(b).view(np.float16).astype(np.float32)),
    2: ("Q4_0", 32, 18, lambda b: halves(b, 0) * (nibbles(b[:, 2:]) - 8)),
    3: ("Q4_1", 32, 20, lambda b: halves(b, 0) * nibbles(b[:, 4:]) + halves(b, 2)),
    8: ("Q8_0", 32, 34, lambda b: halves(b, 0) * np.ascontiguousarray(b[:, 2:]).view(np.int8)),
    12: ("Q4_K", 256, 144, q4_k),
    13: ("Q5_K", 256, 176, q5_k),
    14: ("Q6_K", 256, 210, q6_k),
    30: ("BF16", 1, 2, lambda b: from_bf16(np.ascontiguousarray(b).view(np.uint16))),
}

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


def read_gguf(path):
    """Metadata, and tensors as f32 by their own names."""
    data, at = np.fromfile(path, np.uint8), 8

    def number(code):
        nonlocal at
        (x,) = struct.unpack_from("<" + code, data, at)
        at += struct.calcsize(code)
        return x

    def text():
        nonlocal at
        n = number("Q")
        at += n
        return data[at - n : at].tobytes().decode()

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            kind, n = number("I"), number("Q")
            return [value(kind) for _ in range(n)]
        return number(SCALARS[kind])

    count, pairs = number("Q"), number("Q")
    metadata = {}
    for _ in range(pairs):
        key = text()
        metadata[key] = value(number("I"))
    entries = []
    for _ in range(count):
        name = text()
        dims = [number("Q") for _ in range(number("I"))]
        entries.append((name, dims[::-1], number("I"), number("Q")))
    start = -(-at // 32) * 32
    tensors = {}
    for name, dims, kind, offset in entries:
        _, elements, size, decode = FORMATS[kind]
        blocks = int(np.prod(dims)) // elements
        raw = data[start + offset : start + offset + blocks * size].reshape(blocks, size)
        tensors[name] = decode(raw).reshape(dims)
    return metadata, tensors


def pair(key, value):
    """A metadata pair."""

    def text(s):
        return struct.pack("<Q", len(s.encode())) + s.encode()

    def plain(v):
        if isinstance(v, bool):
            return 7, struct.pack("<?", v)
        if isinstance(v, int):
            return 4, struct.pack("<I", v)
        if isinstance(v, float):
            return 6, struct.pack("<f", v)
        return 8, text(v)

    if isinstance(value, list):
        items = [plain(v) for v in value]
        body = struct.pack("<IQ", items[0][0], len(items)) + b"".join(b for _, b in items)
        return text(key) + struct.pack("<I", 9) + body
    kind, body = plain(value)
    return text(key) + struct.pack("<I", kind) + body


def write_gguf(path, metadata, tensors):
    """Writes tensors given as (ggml type, dims outermost first, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(pair(k, v) for k, v in metadata.items())
    body = b""
    for name, (kind, dims, data) in tensors.items():
        head += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(dims))
        head += b"".join(struct.pack("<Q", d) for d in reversed(dims))
        head += struct.pack("<IQ", kind, len(body))
        body += data + b"\0" * (-len(data) % 32)
    path.write_bytes(head + b"\0" * (-len(head) % 32) + body)
