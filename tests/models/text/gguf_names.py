"""Tiny models as llama.cpp's converter would write them."""

import numpy as np

LLAMA = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
GEMMA = LLAMA | {
    "pre_feedforward_layernorm": "ffn_norm", "post_attention_layernorm": "post_attention_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
GPT2 = {
    "wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm", "ln_1": "attn_norm", "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output", "ln_2": "ffn_norm", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}
NEOX = {
    "gpt_neox.embed_in": "token_embd", "embed_out": "output", "gpt_neox.final_layer_norm": "output_norm",
    "input_layernorm": "attn_norm", "attention.query_key_value": "attn_qkv", "attention.dense": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down",
}
TABLES = {
    "gemma2": ("gemma2", GEMMA, "model.layers."), "gemma3_text": ("gemma3", GEMMA, "model.layers."),
    "gpt2": ("gpt2", GPT2, "h."), "gpt_neox": ("gptneox", NEOX, "gpt_neox.layers."),
}


def rename(name, table, layers):
    """The converter's name."""
    stem, kind = name.rsplit(".", 1)
    if not stem.startswith(layers):
        return f"{table[stem]}.{kind}"
    number, stem = stem.removeprefix(layers).split(".", 1)
    return f"blk.{number}.{table[stem]}.{kind}"


def permute(x, heads):
    """Rows of queries and keys of the Llama architecture: the halves of a head pair by pair."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def convert(config, weights):
    """The architecture's name, metadata and tensors of a model in `transformers`' form."""
    kind = config["model_type"]
    own, table, layers = TABLES.get(kind, (kind, LLAMA, "model.layers."))
    heads = config.get("num_attention_heads") or config["n_head"]
    groups = config.get("num_key_value_heads", heads)
    out = {}
    for name, x in weights.items():
        if kind == "llama" and ".q_proj." in name:
            x = permute(x, heads)
        if kind == "llama" and ".k_proj." in name:
            x = permute(x, groups)
        if kind.startswith("gemma") and "norm" in name:
            x = x + 1
        if kind == "gpt2" and x.ndim == 2 and name.startswith("h."):
            x = x.T
        if kind == "gpt_neox" and "query_key_value" in name:
            x = x.reshape(heads, 3, x.shape[0] // heads // 3, *x.shape[1:]).swapaxes(0, 1).reshape(x.shape)
        out[rename(name, table, layers)] = np.ascontiguousarray(x, np.float32)
    return own, metadata(config, own), out


def metadata(config, own):
    """What the converter says of a configuration."""
    keys = {
        "num_hidden_layers": "block_count", "n_layer": "block_count", "max_position_embeddings": "context_length",
        "n_positions": "context_length", "hidden_size": "embedding_length", "n_embd": "embedding_length",
        "intermediate_size": "feed_forward_length", "num_attention_heads": "attention.head_count", "n_head": "attention.head_count",
        "num_key_value_heads": "attention.head_count_kv", "rms_norm_eps": "attention.layer_norm_rms_epsilon",
        "layer_norm_epsilon": "attention.layer_norm_epsilon", "layer_norm_eps": "attention.layer_norm_epsilon",
        "head_dim": "attention.key_length", "rope_theta": "rope.freq_base", "sliding_window": "attention.sliding_window",
        "attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping",
        "use_parallel_residual": "use_parallel_residual", "rotary_emb_base": "rope.freq_base",
    }
    out = {"general.architecture": own, "general.name": f"tiny {own}"}
    out |= {f"{own}.{keys[k]}": v for k, v in config.items() if k in keys}
    if "rotary_emb_base" in config:
        out[f"{own}.rope.freq_base"] = float(config["rotary_emb_base"])
        depth = config["hidden_size"] // config["num_attention_heads"]
        out[f"{own}.rope.dimension_count"] = int(depth * config["rotary_pct"])
    scaling = config.get("rope_scaling")
    if scaling:
        out[f"{own}.rope.scaling.type"] = scaling["rope_type"]
        out[f"{own}.rope.scaling.factor"] = scaling["factor"]
    return out
