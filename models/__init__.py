"""Sequence models for JAX under one law: `logits, state = model(tokens, state)`, cut the sequence where you like.

This file imports neither jax nor flax, so that the harness can list the models without starting a backend.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flax import nnx

    from lengthscale.models.base import SequenceModel


@dataclass(frozen=True)
class ModelSpec:
    """Where a model is built, and what can be known of it without building it."""

    module: str  # holds build(size=, interface=, method=, rngs=)
    methods: tuple[str, ...]  # besides "auto"; the plain one, to which the others are held, comes first
    streams: bool = True  # the state carries gradients, so that training may run in chunks
    kind: str = "sequence"  # "sequence", "pairs" (an EncoderDecoder) or "images" (an ImageClassifier); see base.py
    builder: str = "build"  # the function's name, where a module holds several
    variant_of: str = ""  # the model of which it is another setting; the contract tests run that one alone


@dataclass(frozen=True)
class Size:
    """One width and one budget of parameters for every model."""

    d_model: int
    n_layers: int  # of a Transformer; a Mamba has twice as many blocks, its paper's own rule
    layer_params: int  # what a layer holds: two Mamba blocks of this width, the others by their MLP's width
    head_size: int = 64


@dataclass(frozen=True)
class Interface:
    """What goes into a model at each step, and what comes out."""

    vocab: int = 256  # tokens; not used where there are features
    features: int = 0  # over 0: this many real numbers, embedded by a matrix
    outputs: int | None = None  # None: logits of the vocabulary
    side: int = 0  # of images: pixels; their channels are the features, their classes the outputs

    def of_images(self) -> tuple[int, int]:
        """Channels and classes. Raises ValueError where the interface is not one of images."""
        if self.features < 1 or self.outputs is None:
            raise ValueError(
                "an image classifier needs features (channels) and outputs (classes), "
                f"got features={self.features}, outputs={self.outputs}"
            )
        return self.features, self.outputs


_ATTENTION = ("reference", "blocked", "native")

# Adding a model: one file with build(), one line here.
MODELS = {
    "rnn": ModelSpec("lengthscale.models.rnn", ("sequential", "native")),
    "lstm": ModelSpec("lengthscale.models.lstm", ("sequential", "native")),
    "gru": ModelSpec("lengthscale.models.gru", ("sequential", "native")),
    "transformer": ModelSpec("lengthscale.models.transformer", _ATTENTION, streams=False),
    "transformer++": ModelSpec("lengthscale.models.llama", _ATTENTION, streams=False),
    "transformer-window": ModelSpec("lengthscale.models.llama", _ATTENTION, streams=False, builder="build_window"),
    "transformer-encdec": ModelSpec(
        "lengthscale.models.encoder_decoder", ("reference", "blocked"), streams=False, kind="pairs"
    ),
    "s4d": ModelSpec("lengthscale.models.ssm", ("recurrence", "convolution")),
    "mamba": ModelSpec("lengthscale.models.mamba", ("sequential", "associative", "chunked", "native", "pallas")),
    "rwkv4": ModelSpec("lengthscale.models.rwkv4", ("sequential", "associative")),
    "seq2seq-lstm": ModelSpec(
        "lengthscale.models.seq2seq", ("sequential", "native"), kind="pairs", builder="build_lstm"
    ),
    "seq2seq-gru": ModelSpec("lengthscale.models.seq2seq", ("sequential", "native"), kind="pairs", builder="build_gru"),
    "vit": ModelSpec("lengthscale.models.vit", _ATTENTION, streams=False, kind="images"),
    "resnet": ModelSpec("lengthscale.models.resnet", ("convolution",), streams=False, kind="images"),
    # One layer, bare: no residuals, norms or MLPs around it.
    "rnn-plain": ModelSpec(
        "lengthscale.models.recurrent", ("sequential", "native"), builder="build_rnn", variant_of="rnn"
    ),
    "lstm-plain": ModelSpec(
        "lengthscale.models.recurrent", ("sequential", "native"), builder="build_lstm", variant_of="lstm"
    ),
    "gru-plain": ModelSpec(
        "lengthscale.models.recurrent", ("sequential", "native"), builder="build_gru", variant_of="gru"
    ),
    # The other discretisations: s4d's own is zoh, mamba's is "mamba" (see models/ops/discretise.py).
    "s4d-bilinear": ModelSpec(
        "lengthscale.models.ssm", ("recurrence", "convolution"), builder="build_bilinear", variant_of="s4d"
    ),
    # All channels' steps dt starting at 1e-3, or at 1e-1: the ends of where s4d's start.
    **{
        f"s4d-{end}-dt{rule}": ModelSpec(
            "lengthscale.models.ssm",
            ("recurrence", "convolution"),
            builder=f"build_{end}_dt{rule.replace('-', '_')}",
            variant_of="s4d",
        )
        for end in ("small", "large")
        for rule in ("", "-bilinear")
    },
    "mamba-zoh": ModelSpec(
        "lengthscale.models.mamba", ("sequential", "associative", "chunked"), builder="build_zoh", variant_of="mamba"
    ),
    "mamba-bilinear": ModelSpec(
        "lengthscale.models.mamba",
        ("sequential", "associative", "chunked"),
        builder="build_bilinear",
        variant_of="mamba",
    ),
}

SIZES = {
    "tiny": Size(32, 2, 19_900, head_size=16),  # tests, and quality on a CPU
    "small": Size(256, 4, 875_000),  # a CPU's default
    "130m": Size(768, 12, 7_540_000),  # the papers' size, for a GPU (with a vocabulary of 50k)
}


def build(
    name: str,
    *,
    size: str | Size = "small",
    vocab: int = 256,
    features: int = 0,
    outputs: int | None = None,
    side: int = 0,
    method: str = "auto",
    rngs: nnx.Rngs,
) -> SequenceModel:
    """The model called `name`, its parameters in float32.

    size: a key of SIZES or a Size. vocab, features, outputs, side: see Interface. method: "auto" or one of
    MODELS[name].methods. Raises ValueError for an unknown name, size or method, with the closest known one.
    """
    if name not in MODELS:
        raise ValueError(unknown("model", name, MODELS))
    if isinstance(size, str):
        if size not in SIZES:
            raise ValueError(unknown("size", size, SIZES))
        size = SIZES[size]
    if method != "auto" and method not in MODELS[name].methods:
        raise ValueError(unknown(f"method of {name}", method, ("auto", *MODELS[name].methods)))
    interface = Interface(vocab, features, outputs, side)
    builder = getattr(importlib.import_module(MODELS[name].module), MODELS[name].builder)
    return builder(size=size, interface=interface, method=method, rngs=rngs)


def unknown(kind: str, name: str, known) -> str:
    """The message for a name that is not known: the closest one, and all of them."""
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {kind} {name!r}{hint} (known: {', '.join(known)})"
