"""Sequence models for JAX under one law: `logits, state = model(tokens, state)`, cut the sequence where you like.

This file imports neither jax nor flax, so that the harness can list the models without starting a backend.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from lengthscale.models.catalogue import MODELS, ModelSpec
from lengthscale.models.names import canonical, every_model, is_known, parse_model, present_name, spec_of, unknown

if TYPE_CHECKING:
    from flax import nnx

    from lengthscale.models.base import SequenceModel


__all__ = [
    "MODELS",
    "SIZES",
    "STATES",
    "Interface",
    "ModelSpec",
    "Size",
    "build",
    "canonical",
    "every_model",
    "is_known",
    "parse_model",
    "present_name",
    "size_of_state",
    "spec_of",
    "unknown",
]


@dataclass(frozen=True)
class Size:
    """One width and one budget of parameters for every model."""

    d_model: int
    n_layers: int  # of a Transformer; a Mamba has twice as many blocks, its paper's own rule
    layer_params: int  # what a layer holds: two Mamba blocks of this width, the others by their MLP's width
    head_size: int = 64
    vocab: int = 0  # of a language model, at least: the papers' vocabulary, where data have fewer kinds of tokens

    @property
    def mlp_step(self) -> int:
        """What the widths of MLPs are multiples of."""
        return max(1, self.d_model // 8)


@dataclass(frozen=True)
class Interface:
    """What goes into a model at each step, and what comes out."""

    vocab: int = 256  # tokens; not used where there are features
    features: int = 0  # over 0: this many real numbers, embedded by a matrix
    outputs: int | None = None  # None: logits of the vocabulary
    side: int = 0  # of images: pixels; their channels are the features, their classes the outputs
    positions: int = 1_024  # the longest sequence, for a model that learns a table of positions; GPT-2's

    def of_images(self) -> tuple[int, int]:
        """Channels and classes. Raises ValueError where the interface is not one of images."""
        if self.features < 1 or self.outputs is None:
            raise ValueError(
                "an image classifier needs features (channels) and outputs (classes), "
                f"got features={self.features}, outputs={self.outputs}"
            )
        return self.features, self.outputs


TOKENS = Interface()  # 256 kinds of them, such as bytes

SIZES = {
    "tiny": Size(32, 2, 19_900, head_size=16),  # tests, and quality on a CPU
    "mini": Size(128, 4, 232_000, head_size=32),  # learning on a CPU; nanoGPT's CPU recipe has this width and depth
    "small": Size(256, 4, 875_000),  # a CPU's default
    # For a GPU: the papers' sizes, with GPT-2's vocabulary, and the smaller one of them with no more than the data's.
    "90m": Size(768, 12, 7_540_000),
    "130m": Size(768, 12, 7_540_000, vocab=50_257),
    "370m": Size(1024, 24, 13_330_000, vocab=50_257),
}
# Sizes that give every model the same state instead of the same parameters: the bytes, in float32, from which a
# sequence of the interface's positions continues. The width brings them; MLPs bring the parameters to tiny's where a
# mixer leaves room. Attention has one head.
STATES = {"state4k": 4_096}


def build(
    name: str,
    *,
    size: str | Size = "small",
    interface: Interface = TOKENS,
    method: str = "auto",
    rngs: nnx.Rngs,
) -> SequenceModel:
    """The model called `name` (such as "gru" or "s4d:rule=bilinear"; see models/names.py), its parameters in float32.

    size: a key of SIZES or STATES, or a Size. interface: what goes in and comes out; by default tokens, of 256 kinds.
    method: "auto" or one of spec_of(name).methods. Raises ValueError for an unknown name, option, size or method, with
    the closest known one.
    """
    _, options = parse_model(name)
    spec = spec_of(name)
    if isinstance(size, str):
        size = _named_size(name, size, interface)
    if method != "auto" and method not in spec.methods:
        raise ValueError(unknown(f"method of {name}", method, ("auto", *spec.methods)))
    builder = getattr(importlib.import_module(spec.module), spec.builder)
    return builder(size=size, interface=interface, method=method, rngs=rngs, **options)


def _named_size(name: str, size: str, interface: Interface) -> Size:
    if size in STATES:
        return size_of_state(name, STATES[size], interface)
    if size not in SIZES:
        raise ValueError(unknown("size", size, (*SIZES, *STATES)))
    return SIZES[size]


@cache
def size_of_state(name: str, state_bytes: int, interface: Interface) -> Size:
    """The size that brings the model's state after the interface's positions closest to these bytes; see STATES.

    Raises ValueError for a model whose state is none, or does not follow from a size's width.
    """
    from lengthscale.models.budget import width_of_state  # not above: it loads jax

    if not spec_of(name).state_by_width:
        raise ValueError(f"{name} has no state whose bytes follow from its width")
    layers, params = SIZES["tiny"].n_layers, SIZES["tiny"].layer_params

    def make(width: int, rngs: nnx.Rngs) -> SequenceModel:
        return build(name, size=Size(width, layers, params, head_size=width), interface=interface, rngs=rngs)

    width = width_of_state(make, state_bytes, interface.positions)
    return Size(width, layers, params, head_size=width)
