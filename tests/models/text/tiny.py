"""Tiny models with random weights, of every architecture: configurations and shapes.

Sizes are odd where the architecture lets them be, and contexts so short that windows, ramps and
scalings show.
"""

import numpy as np

LLAMA = {
    "hidden_size": 24,
    "intermediate_size": 37,
    "max_position_embeddings": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500.0,
    "vocab_size": 53,
}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
YARN = {"rope_type": "yarn", "factor": 4.0, "beta_fast": 2.0, "original_max_position_embeddings": 16}
GEMMA = LLAMA | {"head_dim": 10, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True}
BERT = {
    "hidden_act": "gelu",
    "hidden_size": 21,
    "intermediate_size": 35,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 40,
    "num_attention_heads": 3,
    "num_hidden_layers": 2,
    "pad_token_id": 1,
    "type_vocab_size": 2,
    "vocab_size": 51,
}

CONFIGS = {
    "llama": LLAMA | {"model_type": "llama", "attention_bias": True, "mlp_bias": True, "rope_scaling": {"rope_type": "linear", "factor": 2.5}},
    "llama3": LLAMA | {"model_type": "llama", "rope_scaling": LLAMA3, "tie_word_embeddings": True},
    "mistral": LLAMA | {"model_type": "mistral", "sliding_window": 4},
    "qwen2": LLAMA | {"model_type": "qwen2", "rope_scaling": YARN, "use_sliding_window": False, "sliding_window": 4},
    "qwen3": LLAMA | {"model_type": "qwen3", "head_dim": 14, "attention_bias": False},
    "gemma": GEMMA | {"model_type": "gemma", "num_key_value_heads": 1},
    "gemma2": GEMMA | {
        "model_type": "gemma2", "query_pre_attn_scalar": 7, "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0, "sliding_window": 3,
    },
    "gemma3": GEMMA | {
        "model_type": "gemma3_text", "query_pre_attn_scalar": 7, "sliding_window": 3, "num_hidden_layers": 3,
        "sliding_window_pattern": 2, "rope_local_base_freq": 30.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    },
    "gpt2": {
        "model_type": "gpt2", "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "n_embd": 21, "n_head": 3,
        "n_layer": 2, "n_positions": 32, "vocab_size": 47,
    },
    "neox": {
        "model_type": "gpt_neox", "hidden_act": "gelu", "hidden_size": 24, "intermediate_size": 31, "layer_norm_eps": 1e-5,
        "max_position_embeddings": 64, "num_attention_heads": 3, "num_hidden_layers": 2, "rotary_emb_base": 300,
        "rotary_pct": 0.25, "tie_word_embeddings": False, "use_parallel_residual": True, "vocab_size": 49,
    },
    "bert": BERT | {"model_type": "bert"},
    "roberta": BERT | {"model_type": "roberta"},
    "modernbert": {
        "model_type": "modernbert", "global_attn_every_n_layers": 3, "global_rope_theta": 900.0, "hidden_activation": "gelu",
        "hidden_size": 24, "intermediate_size": 35, "local_attention": 4, "local_rope_theta": 60.0,
        "max_position_embeddings": 64, "norm_eps": 1e-5, "num_attention_heads": 3, "num_hidden_layers": 4, "vocab_size": 55,
    },
}


def llama(c):
    """Shapes of the Llama family."""
    kind, hidden, inner = c["model_type"], c["hidden_size"], c["intermediate_size"]
    depth = c.get("head_dim", hidden // c["num_attention_heads"])
    wide, narrow = c["num_attention_heads"] * depth, c["num_key_value_heads"] * depth
    yield "model.embed_tokens.weight", (c["vocab_size"], hidden)
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        norms = ["input", "post_attention"]
        norms += ["pre_feedforward", "post_feedforward"] if kind in ("gemma2", "gemma3_text") else []
        yield from ((f"{at}{n}_layernorm.weight", (hidden,)) for n in norms)
        matrices = {"q": (wide, hidden), "k": (narrow, hidden), "v": (narrow, hidden), "o": (hidden, wide)}
        for name, shape in matrices.items():
            yield f"{at}self_attn.{name}_proj.weight", shape
            if c.get("attention_bias") or (kind == "qwen2" and name != "o"):
                yield f"{at}self_attn.{name}_proj.bias", shape[:1]
        if kind in ("qwen3", "gemma3_text"):
            yield from ((f"{at}self_attn.{n}_norm.weight", (depth,)) for n in "qk")
        for name, shape in {"gate": (inner, hidden), "up": (inner, hidden), "down": (hidden, inner)}.items():
            yield f"{at}mlp.{name}_proj.weight", shape
            if c.get("mlp_bias"):
                yield f"{at}mlp.{name}_proj.bias", shape[:1]
    yield "model.norm.weight", (hidden,)
    if not c.get("tie_word_embeddings"):
        yield "lm_head.weight", (c["vocab_size"], hidden)


def both(name, out, into):
    """A matrix [out, in] and its bias."""
    return [(name + ".weight", (out, into)), (name + ".bias", (out,))]


def norm(name, width):
    """A layer norm's scale and bias."""
    return [(name + ".weight", (width,)), (name + ".bias", (width,))]


def gpt2(c):
    """Shapes of GPT-2."""
    e = c["n_embd"]
    yield from [("wte.weight", (c["vocab_size"], e)), ("wpe.weight", (c["n_positions"], e))]
    for i in range(c["n_layer"]):
        yield from norm(f"h.{i}.ln_1", e) + norm(f"h.{i}.ln_2", e)
        for name, into, out in [("attn.c_attn", e, 3 * e), ("attn.c_proj", e, e), ("mlp.c_fc", e, 4 * e), ("mlp.c_proj", 4 * e, e)]:
            yield from [(f"h.{i}.{name}.weight", (into, out)), (f"h.{i}.{name}.bias", (out,))]
    yield from norm("ln_f", e)


def neox(c):
    """Shapes of GPT-NeoX."""
    e, inner = c["hidden_size"], c["intermediate_size"]
    yield from [("gpt_neox.embed_in.weight", (c["vocab_size"], e)), ("embed_out.weight", (c["vocab_size"], e))]
    for i in range(c["num_hidden_layers"]):
        at = f"gpt_neox.layers.{i}."
        yield from norm(at + "input_layernorm", e) + norm(at + "post_attention_layernorm", e)
        yield from both(at + "attention.query_key_value", 3 * e, e) + both(at + "attention.dense", e, e)
        yield from both(at + "mlp.dense_h_to_4h", inner, e) + both(at + "mlp.dense_4h_to_h", e, inner)
    yield from norm("gpt_neox.final_layer_norm", e)


def bert(c):
    """Shapes of BERT and RoBERTa."""
    e, inner = c["hidden_size"], c["intermediate_size"]
    rows = {"word": c["vocab_size"], "position": c["max_position_embeddings"], "token_type": c["type_vocab_size"]}
    yield from ((f"embeddings.{name}_embeddings.weight", (n, e)) for name, n in rows.items())
    yield from norm("embeddings.LayerNorm", e)
    for i in range(c["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            yield from both(f"{at}attention.{name}", e, e)
        yield from norm(at + "attention.output.LayerNorm", e) + norm(at + "output.LayerNorm", e)
        yield from both(at + "intermediate.dense", inner, e) + both(at + "output.dense", e, inner)


def modernbert(c):
    """Shapes of ModernBERT."""
    e, inner = c["hidden_size"], c["intermediate_size"]
    yield from [("model.embeddings.tok_embeddings.weight", (c["vocab_size"], e)), ("model.embeddings.norm.weight", (e,))]
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        if i > 0:
            yield at + "attn_norm.weight", (e,)
        yield from [(at + "attn.Wqkv.weight", (3 * e, e)), (at + "attn.Wo.weight", (e, e)), (at + "mlp_norm.weight", (e,))]
        yield from [(at + "mlp.Wi.weight", (2 * inner, e)), (at + "mlp.Wo.weight", (e, inner))]
    yield "model.final_norm.weight", (e,)


SHAPES = {"gpt2": gpt2, "gpt_neox": neox, "bert": bert, "roberta": bert, "modernbert": modernbert}


def weights(config, rng):
    """Random weights that keep activations of the order of 1."""
    out = {}
    for name, shape in SHAPES.get(config["model_type"], llama)(config):
        scale = 0.3 if len(shape) == 1 else 1.4 / np.sqrt(shape[-1])
        is_norm = len(shape) == 1 and name.endswith("weight") and any(n in name.lower() for n in ("norm", "ln_"))
        around = 1 if is_norm else 0
        out[name] = (around + scale * rng.standard_normal(shape)).astype(np.float32)
    return out


def inputs(config, rng, batch=3, tokens=9):
    """Token ids; for encoders a mask whose later rows end in padding, and segments."""
    ids = rng.integers(2, config["vocab_size"], (batch, tokens))
    if config["model_type"] not in ("bert", "roberta", "modernbert"):
        return {"input_ids": ids}
    mask = np.ones_like(ids)
    for row in range(1, batch):
        mask[row, tokens - 2 * row :] = 0
    ids = np.where(mask == 0, config.get("pad_token_id", 0), ids)
    out = {"input_ids": ids, "attention_mask": mask}
    if config["model_type"] != "modernbert":
        out["token_type_ids"] = (np.arange(tokens) >= tokens // 2).astype(np.int64) * np.ones_like(ids)
    return out
