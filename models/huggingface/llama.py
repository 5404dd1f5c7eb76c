"""Llama and Mistral: https://huggingface.co/docs/transformers/model_doc/llama"""

from __future__ import annotations

from functools import partial

from lengthscale.models import Interface
from lengthscale.models.huggingface.tables import (
    Architecture,
    CheckpointError,
    Config,
    Entries,
    Entry,
    linear,
    norm,
    tied,
    untied_head,
)


def _heads(config: Config) -> tuple[int, int, int]:
    """Of queries, of keys; size."""
    heads = config.size("num_attention_heads")
    width = config.size("hidden_size")
    if config.get("head_dim") is None and width % heads:
        raise CheckpointError(f"{config.where}: num_attention_heads {heads} must divide hidden_size {width}")
    return heads, config.size("num_key_value_heads", heads), config.size("head_dim", max(1, width // heads))


def _make(config: Config):
    from lengthscale.models.llama import LlamaConfig, llama

    config.only("hidden_act", "silu")
    config.only("attention_bias", False)
    config.only("mlp_bias", False)
    rope = Config(config.get("rope_parameters") or config.get("rope_scaling") or {}, f"{config.where}: rope_parameters")
    rope.only("rope_type" if "rope_type" in rope.values else "type", "default")
    heads, kv_heads, head_size = _heads(config)
    ours = LlamaConfig(
        d_model=config.size("hidden_size"),
        n_layers=config.size("num_hidden_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        d_ff=config.size("intermediate_size"),
        window=_window(config),
        rope_theta=rope.number("rope_theta", config.number("rope_theta", 10_000.0)),
        epsilon=config.number("rms_norm_eps", 1e-6),
        tied=tied(config, default=False),
    )
    return partial(llama, ours)


def _window(config: Config) -> int | None:
    return None if config.get("sliding_window") is None else config.size("sliding_window")


def _outside(config: Config) -> Entries:
    width = config.size("hidden_size")
    yield Entry("embedding", {"model.embed_tokens.weight": (config.size("vocab_size"), width)})
    yield from norm("norm", "model.norm", width, bias=False)
    yield from untied_head(config, "lm_head", width, default=False)


def _block(config: Config, number: int) -> Entries:
    heads, kv_heads, head_size = _heads(config)
    width, inner = config.size("hidden_size"), config.size("intermediate_size")
    layer = f"model.layers.{number}"
    yield from norm("norm", f"{layer}.input_layernorm", width, bias=False)
    yield from norm("mlp_norm", f"{layer}.post_attention_layernorm", width, bias=False)
    outputs = {"q": heads * head_size, "k": kv_heads * head_size, "v": kv_heads * head_size}
    qkv = {f"{layer}.self_attn.{name}_proj": count for name, count in outputs.items()}
    yield from linear("mixer.qkv", qkv, width, bias=False)
    yield from linear("mixer.out", {f"{layer}.self_attn.o_proj": width}, heads * head_size, bias=False)
    yield from linear("mlp.gate", {f"{layer}.mlp.gate_proj": inner}, width, bias=False)
    yield from linear("mlp.up", {f"{layer}.mlp.up_proj": inner}, width, bias=False)
    yield from linear("mlp.down", {f"{layer}.mlp.down_proj": width}, inner, bias=False)


ARCHITECTURE = Architecture(
    model=lambda config: "transformer++" if _window(config) is None else "transformer-window",
    make=_make,
    outside=_outside,
    block=_block,
    n_blocks=lambda config: config.size("num_hidden_layers"),
    interface=lambda config: Interface(config.size("vocab_size")),
    prefix="model.",
    heads=("lm_head.",),
    unused=r"rotary_emb\.inv_freq$",
)
