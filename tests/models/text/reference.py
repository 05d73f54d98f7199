"""What each transformer architecture computes, naively, in NumPy.

Written from the papers and from what `transformers` does, one function per architecture. All take
a configuration (config.json as a dict), weights by Hugging Face name, and token ids [B, S]; they
compute in the weights' precision.
"""

import math

import numpy as np


def softmax(x):
    """Over the last axis; a row of -inf gives zeros."""
    top = x.max(-1, keepdims=True)
    e = np.exp(x - np.where(np.isfinite(top), top, 0))
    total = e.sum(-1, keepdims=True)
    return e / np.where(total == 0, 1, total)


def erf(x):
    """The error function, element by element."""
    return np.vectorize(math.erf, otypes=[x.dtype])(x)


ACTIVATIONS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
    "gelu_new": lambda x: x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
}
ACTIVATIONS["gelu_pytorch_tanh"] = ACTIVATIONS["gelu_new"]


def rms_norm(x, w, eps):
    """x / rms(x) * w."""
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w


def layer_norm(x, w, name, eps):
    """The layer norm called `name`; its bias may be missing."""
    x = x - x.mean(-1, keepdims=True)
    y = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w[name + ".weight"]
    return y + w.get(name + ".bias", 0)


def linear(x, w, name):
    """x W^T + b; the bias may be missing."""
    return x @ w[name + ".weight"].T + w.get(name + ".bias", 0)


def frequencies(dims, base, scaling):
    """The turn of each pair per position, and what turned vectors are multiplied by."""
    f = base ** (-np.arange(0, dims, 2) / dims)
    kind = (scaling or {}).get("rope_type", "default")
    if kind == "linear":
        return f / scaling["factor"], 1.0
    if kind == "llama3":
        low = scaling["original_max_position_embeddings"] / scaling["low_freq_factor"]
        high = scaling["original_max_position_embeddings"] / scaling["high_freq_factor"]
        out = []
        for x in f:
            wave = 2 * math.pi / x
            if wave > low:
                out.append(x / scaling["factor"])
            elif wave < high:
                out.append(x)
            else:
                smooth = (scaling["original_max_position_embeddings"] / wave - scaling["low_freq_factor"]) / (
                    scaling["high_freq_factor"] - scaling["low_freq_factor"]
                )
                out.append((1 - smooth) * x / scaling["factor"] + smooth * x)
        return np.array(out), 1.0
    if kind == "yarn":
        def pair(turns):
            return dims * math.log(scaling["original_max_position_embeddings"] / (turns * 2 * math.pi)) / (2 * math.log(base))

        low = max(math.floor(pair(scaling.get("beta_fast", 32))), 0)
        high = min(math.ceil(pair(scaling.get("beta_slow", 1))), dims - 1)
        ramp = np.clip((np.arange(dims // 2) - low) / (high - low if high > low else 0.001), 0, 1)
        return f / scaling["factor"] * ramp + f * (1 - ramp), 0.1 * math.log(scaling["factor"]) + 1
    return f, 1.0


def rotate(x, dims, base, scaling=None):
    """Turns the first `dims` elements of heads [B, H, S, D]."""
    f, length = frequencies(dims, base, scaling)
    turns = np.arange(x.shape[2])[:, None] * f
    cos, sin = (np.cos(turns) * length).astype(x.dtype), (np.sin(turns) * length).astype(x.dtype)
    a, b = x[..., : dims // 2], x[..., dims // 2 : dims]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, x[..., dims:]], -1)


def heads(x, n):
    """[B, S, n*D] as [B, n, S, D]."""
    b, s, width = x.shape
    return x.reshape(b, s, n, width // n).transpose(0, 2, 1, 3)


def attention(q, k, v, scale, seen, cap=None):
    """Queries [B, H, S, D] meet keys of as many or fewer heads where `seen`; [B, S, H*D]."""
    share = q.shape[1] // k.shape[1]
    k, v = np.repeat(k, share, 1), np.repeat(v, share, 1)
    scores = q @ k.transpose(0, 1, 3, 2) * scale
    if cap:
        scores = cap * np.tanh(scores / cap)
    y = softmax(np.where(seen, scores, -np.inf)) @ v
    b, h, s, d = y.shape
    return y.transpose(0, 2, 1, 3).reshape(b, s, h * d)


def behind(s):
    """How far key t is behind query s."""
    return np.arange(s)[:, None] - np.arange(s)[None, :]


def llama(c, w, ids):
    """The Llama family; `model_type` tells its members apart."""
    kind = c["model_type"]
    gemma = kind.startswith("gemma")
    h, g = c["num_attention_heads"], c.get("num_key_value_heads", c["num_attention_heads"])
    depth = c.get("head_dim", c["hidden_size"] // h)
    act = ACTIVATIONS[c.get("hidden_activation") or c.get("hidden_act") or "silu"]
    eps = c["rms_norm_eps"]
    scale = c.get("query_pre_attn_scalar", depth) ** -0.5

    def norm(x, name):
        return rms_norm(x, w[name + ".weight"] + (1 if gemma else 0), eps)

    x = w["model.embed_tokens.weight"][ids]
    if gemma:
        x = x * x.dtype.type(math.sqrt(c["hidden_size"]))
    distance = behind(ids.shape[1])
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        slides = {
            "mistral": True,
            "gemma2": i % 2 == 0,
            "gemma3_text": (i + 1) % c.get("sliding_window_pattern", 6) != 0,
        }.get(kind, False)
        y = norm(x, at + "input_layernorm")
        q, k, v = (linear(y, w, f"{at}self_attn.{p}_proj") for p in "qkv")
        q, k, v = heads(q, h), heads(k, g), heads(v, g)
        if kind in ("qwen3", "gemma3_text"):
            q, k = norm(q, at + "self_attn.q_norm"), norm(k, at + "self_attn.k_norm")
        base, scaling = c["rope_theta"], c.get("rope_scaling")
        if kind == "gemma3_text" and slides:
            base, scaling = c["rope_local_base_freq"], None
        q, k = rotate(q, depth, base, scaling), rotate(k, depth, base, scaling)
        seen = (distance >= 0) & (distance < (c["sliding_window"] if slides else 1 << 30))
        y = attention(q, k, v, scale, seen, c.get("attn_logit_softcapping"))
        y = linear(y, w, at + "self_attn.o_proj")
        both = kind in ("gemma2", "gemma3_text")
        x = x + (norm(y, at + "post_attention_layernorm") if both else y)
        y = norm(x, at + ("pre_feedforward_layernorm" if both else "post_attention_layernorm"))
        y = act(linear(y, w, at + "mlp.gate_proj")) * linear(y, w, at + "mlp.up_proj")
        y = linear(y, w, at + "mlp.down_proj")
        x = x + (norm(y, at + "post_feedforward_layernorm") if both else y)
    x = norm(x, "model.norm")
    logits = x @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T
    cap = c.get("final_logit_softcapping")
    return cap * np.tanh(logits / cap) if cap else logits


def gpt2(c, w, ids):
    """GPT-2; its matrices are [in, out]."""
    eps, h = c["layer_norm_epsilon"], c["n_head"]
    act = ACTIVATIONS[c["activation_function"]]

    def dense(x, name):
        return x @ w[name + ".weight"] + w[name + ".bias"]

    s = ids.shape[1]
    x = w["wte.weight"][ids] + w["wpe.weight"][np.arange(s)]
    for i in range(c["n_layer"]):
        q, k, v = np.split(dense(layer_norm(x, w, f"h.{i}.ln_1", eps), f"h.{i}.attn.c_attn"), 3, -1)
        y = attention(heads(q, h), heads(k, h), heads(v, h), (c["n_embd"] // h) ** -0.5, behind(s) >= 0)
        x = x + dense(y, f"h.{i}.attn.c_proj")
        y = act(dense(layer_norm(x, w, f"h.{i}.ln_2", eps), f"h.{i}.mlp.c_fc"))
        x = x + dense(y, f"h.{i}.mlp.c_proj")
    return layer_norm(x, w, "ln_f", eps) @ w["wte.weight"].T


def gpt_neox(c, w, ids):
    """GPT-NeoX; rows of the fused projection lie head by head."""
    eps, h = c["layer_norm_eps"], c["num_attention_heads"]
    depth = c["hidden_size"] // h
    dims = int(depth * c["rotary_pct"])
    act = ACTIVATIONS[c["hidden_act"]]
    x = w["gpt_neox.embed_in.weight"][ids]
    b, s = ids.shape
    for i in range(c["num_hidden_layers"]):
        at = f"gpt_neox.layers.{i}."
        y = linear(layer_norm(x, w, at + "input_layernorm", eps), w, at + "attention.query_key_value")
        q, k, v = y.reshape(b, s, h, 3, depth).transpose(3, 0, 2, 1, 4)
        q, k = rotate(q, dims, c["rotary_emb_base"]), rotate(k, dims, c["rotary_emb_base"])
        y = linear(attention(q, k, v, depth**-0.5, behind(s) >= 0), w, at + "attention.dense")
        z = x if c.get("use_parallel_residual", True) else x + y
        z = layer_norm(z, w, at + "post_attention_layernorm", eps)
        z = linear(act(linear(z, w, at + "mlp.dense_h_to_4h")), w, at + "mlp.dense_4h_to_h")
        x = x + y + z
    return layer_norm(x, w, "gpt_neox.final_layer_norm", eps) @ w["embed_out.weight"].T


def bert(c, w, ids, mask, kinds):
    """BERT and RoBERTa: the last hidden states."""
    eps, h = c["layer_norm_eps"], c["num_attention_heads"]
    act = ACTIVATIONS[c["hidden_act"]]
    places = np.arange(ids.shape[1])[None]
    if c["model_type"] == "roberta":
        real = ids != c["pad_token_id"]
        places = np.cumsum(real, 1) * real + c["pad_token_id"]
    at = "embeddings."
    x = w[at + "word_embeddings.weight"][ids] + w[at + "token_type_embeddings.weight"][kinds]
    x = layer_norm(x + w[at + "position_embeddings.weight"][places], w, at + "LayerNorm", eps)
    seen = (mask != 0)[:, None, None, :]
    for i in range(c["num_hidden_layers"]):
        at = f"encoder.layer.{i}."
        q, k, v = (heads(linear(x, w, f"{at}attention.self.{p}"), h) for p in ("query", "key", "value"))
        y = attention(q, k, v, (c["hidden_size"] // h) ** -0.5, seen)
        x = layer_norm(x + linear(y, w, at + "attention.output.dense"), w, at + "attention.output.LayerNorm", eps)
        y = linear(act(linear(x, w, at + "intermediate.dense")), w, at + "output.dense")
        x = layer_norm(x + y, w, at + "output.LayerNorm", eps)
    return x


def modernbert(c, w, ids, mask):
    """ModernBERT: the last hidden states."""
    eps, h = c["norm_eps"], c["num_attention_heads"]
    depth = c["hidden_size"] // h
    x = layer_norm(w["model.embeddings.tok_embeddings.weight"][ids], w, "model.embeddings.norm", eps)
    real = (mask != 0)[:, None, None, :]
    near = abs(behind(ids.shape[1])) <= c["local_attention"] // 2
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        local = i % c["global_attn_every_n_layers"] != 0
        base = c["local_rope_theta"] if local else c["global_rope_theta"]
        y = x if i == 0 else layer_norm(x, w, at + "attn_norm", eps)
        q, k, v = (heads(p, h) for p in np.split(linear(y, w, at + "attn.Wqkv"), 3, -1))
        q, k = rotate(q, depth, base), rotate(k, depth, base)
        x = x + linear(attention(q, k, v, depth**-0.5, real & (near | (not local))), w, at + "attn.Wo")
        value, gate = np.split(linear(layer_norm(x, w, at + "mlp_norm", eps), w, at + "mlp.Wi"), 2, -1)
        x = x + linear(ACTIVATIONS["gelu"](value) * gate, w, at + "mlp.Wo")
    return layer_norm(x, w, "model.final_norm", eps)


ARCHITECTURES = {"gpt2": gpt2, "gpt_neox": gpt_neox, "bert": bert, "roberta": bert, "modernbert": modernbert}


def run(config, weights, inputs):
    """The output by name, of the model that `config` describes."""
    kind = config["model_type"]
    encoder = kind in ("bert", "roberta", "modernbert")
    y = ARCHITECTURES.get(kind, llama)(config, weights, *inputs.values())
    return {"last_hidden_state" if encoder else "logits": y}
