"""RWKV-4: https://huggingface.co/docs/transformers/model_doc/rwkv"""

from __future__ import annotations

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


def _widths(config: Config) -> tuple[int, int, int]:
    width = config.size("hidden_size")
    return width, config.size("attention_hidden_size", width), config.size("intermediate_size", 4 * width)


def _make(config: Config):
    from lengthscale.models.rwkv4 import RWKV4Config, rwkv4

    width, d_time, d_channel = _widths(config)
    ours = RWKV4Config(
        d_model=width,
        n_layers=config.size("num_hidden_layers"),
        d_time=d_time,
        d_channel=d_channel,
        epsilon=config.number("layer_norm_epsilon", 1e-5),
        tied=tied(config, default=False),
    )
    return partial(rwkv4, ours)


def _outside(config: Config) -> Entries:
    width = config.size("hidden_size")
    yield Entry("embedding", {"rwkv.embeddings.weight": (config.size("vocab_size"), width)})
    yield from norm("embed_norm", "rwkv.blocks.0.pre_ln", width)
    yield from norm("norm", "rwkv.ln_out", width)
    yield from untied_head(config, "head", width, default=False)


def _block(config: Config, number: int) -> Entries:
    width, d_time, d_channel = _widths(config)
    layer = f"rwkv.blocks.{number}"
    yield from norm("ln1", f"{layer}.ln1", width)
    yield from norm("ln2", f"{layer}.ln2", width)
    yield from time_mix("time_mix.", f"{layer}.attention.", width, d_time)
    yield from channel_mix("channel_mix.", f"{layer}.feed_forward.", width, d_channel)


def time_mix(ours: str, theirs: str, width: int, d_time: int) -> Entries:
    """The entries of one time mixing; ours, theirs: the prefixes of its parameters."""
    yield vector(f"{ours}decay", f"{theirs}time_decay", d_time)
    yield vector(f"{ours}first", f"{theirs}time_first", d_time)
    yield from _shares(ours, theirs, ("key", "value", "receptance"), width)
    for name in ("key", "value", "receptance"):
        yield from linear(f"{ours}{name}", {f"{theirs}{name}": d_time}, width, bias=False)
    yield from linear(f"{ours}output", {f"{theirs}output": width}, d_time, bias=False)


def channel_mix(ours: str, theirs: str, width: int, d_channel: int) -> Entries:
    """The entries of one channel mixing; ours, theirs: the prefixes of its parameters."""
    yield from _shares(ours, theirs, ("key", "receptance"), width)
    yield from linear(f"{ours}key", {f"{theirs}key": d_channel}, width, bias=False)
    yield from linear(f"{ours}receptance", {f"{theirs}receptance": width}, width, bias=False)
    yield from linear(f"{ours}value", {f"{theirs}value": width}, d_channel, bias=False)


def _shares(ours: str, theirs: str, names: tuple[str, ...], width: int) -> Entries:
    for name in names:
        yield Entry(f"{ours}mix_{name[0]}", {f"{theirs}time_mix_{name}": (1, 1, width)}, lambda array: array[0, 0])


ARCHITECTURE = Architecture(
    model=lambda config: "rwkv4",
    make=_make,
    outside=_outside,
    block=_block,
    n_blocks=lambda config: config.size("num_hidden_layers"),
    interface=lambda config: Interface(config.size("vocab_size")),
    prefix="rwkv.",
    heads=("head.",),
)
