"""Weights of transformers' language models under our names: state dict -> {path in our model: array}.

Layers are counted from the names and stacked. Works on numpy's and on jax's arrays.
"""

import jax.numpy as jnp


def gpt2_weights(weights: dict) -> dict:
    """GPT2LMHeadModel's, for models.transformer.gpt2. Its Conv1D weights are (in, out), q, k, v side by side."""
    weights = {name.removeprefix("transformer."): array for name, array in weights.items()}

    def block(layer):
        return (
            norm(weights, f"{layer}.ln_1", "norm")
            | norm(weights, f"{layer}.ln_2", "mlp_norm")
            | {
                f"{ours}.{part}": weights[f"{layer}.{theirs}.{name}"]
                for ours, theirs in (
                    ("mixer.qkv", "attn.c_attn"),
                    ("mixer.out", "attn.c_proj"),
                    ("mlp.up", "mlp.c_fc"),
                    ("mlp.down", "mlp.c_proj"),
                )
                for part, name in (("kernel", "weight"), ("bias", "bias"))
            }
        )

    return (
        {"embedding": weights["wte.weight"], "position_table": weights["wpe.weight"]}
        | norm(weights, "ln_f", "norm")
        | stacked(weights, "h", block)
    )


def llama_weights(weights: dict) -> dict:
    """LlamaForCausalLM's and MistralForCausalLM's, for models.llama.llama; without lm_head.weight the head is tied."""

    def block(layer):
        attention, mlp = f"{layer}.self_attn", f"{layer}.mlp"
        qkv = [weights[f"{attention}.{name}_proj.weight"] for name in "qkv"]
        return {
            "norm.scale": weights[f"{layer}.input_layernorm.weight"],
            "mixer.qkv.kernel": jnp.concatenate(qkv).T,
            "mixer.out.kernel": weights[f"{attention}.o_proj.weight"].T,
            "mlp_norm.scale": weights[f"{layer}.post_attention_layernorm.weight"],
        } | {f"mlp.{name}.kernel": weights[f"{mlp}.{name}_proj.weight"].T for name in ("gate", "up", "down")}

    head = {"head.kernel": weights["lm_head.weight"].T} if "lm_head.weight" in weights else {}
    return (
        {"embedding": weights["model.embed_tokens.weight"], "norm.scale": weights["model.norm.weight"]}
        | head
        | stacked(weights, "model.layers", block)
    )


def norm(weights: dict, theirs: str, ours: str) -> dict:
    """A LayerNorm's weight and bias."""
    return {f"{ours}.scale": weights[f"{theirs}.weight"], f"{ours}.bias": weights[f"{theirs}.bias"]}


def stacked(weights: dict, prefix: str, block, name: str = "blocks") -> dict:
    """block(prefix of a layer) of every layer under "prefix.number.", each array with a leading axis of layers."""
    number = prefix.count(".") + 1
    n_layers = 1 + max(int(key.split(".")[number]) for key in weights if key.startswith(f"{prefix}."))
    blocks = [block(f"{prefix}.{layer}") for layer in range(n_layers)]
    return {f"{name}.{path}": jnp.stack([block[path] for block in blocks]) for path in blocks[0]}
