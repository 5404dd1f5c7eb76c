"""Mamba: https://huggingface.co/docs/transformers/model_doc/mamba"""

from __future__ import annotations

import math
from functools import partial

from lengthscale.models import Interface
from lengthscale.models.huggingface.tables import (
    Architecture,
    Config,
    Entries,
    Entry,
    linear,
    norm,
    tied,
    untied_head,
    vector,
)


def _rank(config: Config) -> int:
    if config.get("time_step_rank", "auto") == "auto":
        return math.ceil(config.size("hidden_size") / 16)
    return config.size("time_step_rank")


def _make(config: Config):
    from lengthscale.models.mamba import MambaConfig, mamba

    config.only("hidden_act", "silu")
    config.only("use_bias", False)
    config.only("use_conv_bias", True)
    ours = MambaConfig(
        d_model=config.size("hidden_size"),
        n_blocks=config.size("num_hidden_layers"),
        d_state=config.size("state_size", 16),
        d_conv=config.size("conv_kernel", 4),
        expand=config.size("expand", 2),
        dt_rank=_rank(config),
        epsilon=config.number("layer_norm_epsilon", 1e-5),
        tied=tied(config, default=True),
    )
    return partial(mamba, ours)


def _outside(config: Config) -> Entries:
    width = config.size("hidden_size")
    yield Entry("embedding", {"backbone.embeddings.weight": (config.size("vocab_size"), width)})
    yield from norm("norm", "backbone.norm_f", width, bias=False)
    yield from untied_head(config, "lm_head", width, default=True)


def _block(config: Config, number: int) -> Entries:
    layer = f"backbone.layers.{number}"
    yield from norm("norm", f"{layer}.norm", config.size("hidden_size"), bias=False)
    yield from mixer("mixer.", f"{layer}.mixer.", config)


def mixer(ours: str, theirs: str, config: Config) -> Entries:
    """The entries of one mixer; ours, theirs: the prefixes of its parameters."""
    width, states, taps = config.size("hidden_size"), config.size("state_size", 16), config.size("conv_kernel", 4)
    inner, rank = config.size("expand", 2) * width, _rank(config)
    yield from linear(f"{ours}in_proj", {f"{theirs}in_proj": 2 * inner}, width, bias=False)
    yield Entry(f"{ours}conv_w", {f"{theirs}conv1d.weight": (inner, 1, taps)}, lambda array: array[:, 0].T)
    yield vector(f"{ours}conv_b", f"{theirs}conv1d.bias", inner)
    yield from linear(f"{ours}x_proj", {f"{theirs}x_proj": rank + 2 * states}, inner, bias=False)
    yield from linear(f"{ours}dt_proj", {f"{theirs}dt_proj": inner}, rank)
    yield Entry(f"{ours}A_log", {f"{theirs}A_log": (inner, states)})
    yield vector(f"{ours}D", f"{theirs}D", inner)
    yield from linear(f"{ours}out_proj", {f"{theirs}out_proj": width}, inner, bias=False)


ARCHITECTURE = Architecture(
    model=lambda config: "mamba",
    make=_make,
    outside=_outside,
    block=_block,
    n_blocks=lambda config: config.size("num_hidden_layers"),
    interface=lambda config: Interface(config.size("vocab_size")),
    prefix="backbone.",
    heads=("lm_head.",),
)
