"""GPT-2: https://huggingface.co/docs/transformers/model_doc/gpt2"""

from __future__ import annotations

from functools import partial

from lengthscale.models import Interface
from lengthscale.models.huggingface.tables import Architecture, Config, Entries, Entry, norm, tied, untied_head, vector


def _width(config: Config) -> tuple[int, int]:
    width = config.size("n_embd")
    return width, config.size("n_inner", 4 * width)


def _make(config: Config):
    from lengthscale.models.transformer import GPT2Config, gpt2

    config.only("activation_function", "gelu_new", "gelu_pytorch_tanh")
    config.only("scale_attn_weights", True)
    config.only("scale_attn_by_inverse_layer_idx", False)
    width, inner = _width(config)
    ours = GPT2Config(
        d_model=width,
        n_layers=config.size("n_layer"),
        heads=config.size("n_head"),
        n_positions=config.size("n_positions"),
        d_ff=inner,
        epsilon=config.number("layer_norm_epsilon", 1e-5),
        tied=tied(config, default=True),
    )
    return partial(gpt2, ours)


def _outside(config: Config) -> Entries:
    width, _ = _width(config)
    yield Entry("embedding", {"transformer.wte.weight": (config.size("vocab_size"), width)})
    yield Entry("position_table", {"transformer.wpe.weight": (config.size("n_positions"), width)})
    yield from norm("norm", "transformer.ln_f", width)
    yield from untied_head(config, "lm_head", width, default=True)


def _block(config: Config, number: int) -> Entries:
    """Its Conv1D has weights (inputs, outputs), as ours are; q, k, v side by side."""
    width, inner = _width(config)
    layer = f"transformer.h.{number}"
    yield from norm("norm", f"{layer}.ln_1", width)
    yield from norm("mlp_norm", f"{layer}.ln_2", width)
    for ours, theirs, inputs, outputs in (
        ("mixer.qkv", "attn.c_attn", width, 3 * width),
        ("mixer.out", "attn.c_proj", width, width),
        ("mlp.up", "mlp.c_fc", width, inner),
        ("mlp.down", "mlp.c_proj", inner, width),
    ):
        yield Entry(f"{ours}.kernel", {f"{layer}.{theirs}.weight": (inputs, outputs)})
        yield vector(f"{ours}.bias", f"{layer}.{theirs}.bias", outputs)


ARCHITECTURE = Architecture(
    model=lambda config: "transformer",
    make=_make,
    outside=_outside,
    block=_block,
    n_blocks=lambda config: config.size("n_layer"),
    interface=lambda config: Interface(config.size("vocab_size")),
    prefix="transformer.",
    heads=("lm_head.",),
    longest=lambda config: config.size("n_positions"),
    unused=r"\.attn\.(masked_)?bias$",  # the causal mask
)
