"""The models that there are: where each is built, its methods and its options.

This file imports neither jax nor flax, so that the harness can list the models without starting a backend.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Option:
    """One setting of a model that its name may carry, as in `s4d:rule=bilinear`."""

    name: str  # also the parameter of the model's builder
    values: tuple[str, ...]  # the default comes first
    methods: tuple[str, ...] = ()  # those of the model that values other than the default have; none: all of them

    @property
    def default(self) -> str:
        """The value of a model whose name does not carry the option."""
        return self.values[0]


@dataclass(frozen=True)
class ModelSpec:
    """Where a model is built, and what can be known of it without building it."""

    module: str  # holds build(*, size, interface, method, rngs), and one more parameter for each option
    methods: tuple[str, ...]  # besides "auto"; the plain one, against which the others are checked, comes first
    streams: bool = True  # the state carries gradients, so that training may run in chunks
    kind: str = "sequence"  # "sequence", "pairs" (an EncoderDecoder) or "images" (an ImageClassifier); see base.py
    builder: str = "build"  # the function's name, where a module holds several
    variant_of: str = ""  # the model whose colour it shares, and whose contract tests cover its mixer as well
    options: tuple[Option, ...] = ()  # in the order in which a name carries them
    own_width: bool = False  # its parameters bring its width; the size's width is that of its embedding only

    @property
    def state_by_width(self) -> bool:
        """Whether the width of a size decides how large the state is."""
        return self.kind == "sequence" and not self.own_width


REMATS = ("none", "block", "full")  # what a gradient keeps of a model's blocks, the most first; see remat.py
TABLE = "learned"  # the value of an option `positions` with which a model learns a table of positions
_ATTENTION = ("reference", "blocked", "native")
_CELLS = ("sequential", "native", "pallas")

# Adding a model: one file with build(), one line here. What is another setting of the same module is an option.
MODELS = {
    "rnn": ModelSpec("lengthscale.models.rnn", _CELLS),
    "lstm": ModelSpec("lengthscale.models.lstm", _CELLS),
    "gru": ModelSpec("lengthscale.models.gru", _CELLS),
    "transformer": ModelSpec(
        "lengthscale.models.transformer",
        _ATTENTION,
        streams=False,
        options=(Option("positions", (TABLE, "sinusoidal")),),
    ),
    "transformer++": ModelSpec("lengthscale.models.llama", _ATTENTION, streams=False),
    "transformer-window": ModelSpec("lengthscale.models.llama", _ATTENTION, streams=False, builder="build_window"),
    "transformer-encdec": ModelSpec(
        "lengthscale.models.encoder_decoder", ("reference", "blocked"), streams=False, kind="pairs"
    ),
    "s4d": ModelSpec(
        "lengthscale.models.ssm",
        ("recurrence", "convolution"),
        options=(Option("rule", ("zoh", "bilinear")), Option("dt", ("spread", "small", "large"))),
    ),
    "mamba": ModelSpec(
        "lengthscale.models.mamba",
        ("sequential", "associative", "chunked", "native", "pallas"),
        options=(Option("rule", ("mamba", "zoh", "bilinear"), methods=("sequential", "associative", "chunked")),),
    ),
    "rwkv4": ModelSpec("lengthscale.models.rwkv4", ("sequential", "associative", "pallas")),
    "seq2seq-lstm": ModelSpec("lengthscale.models.seq2seq", _CELLS, kind="pairs", builder="build_lstm"),
    "seq2seq-gru": ModelSpec("lengthscale.models.seq2seq", _CELLS, kind="pairs", builder="build_gru"),
    "vit": ModelSpec("lengthscale.models.vit", _ATTENTION, streams=False, kind="images"),
    "resnet": ModelSpec("lengthscale.models.resnet", ("convolution",), streams=False, kind="images"),
    # One layer without residuals, norms or MLPs: other modules than rnn, lstm and gru, so names and not options.
    "rnn-plain": ModelSpec(
        "lengthscale.models.recurrent", _CELLS, builder="build_rnn", variant_of="rnn", own_width=True
    ),
    "lstm-plain": ModelSpec(
        "lengthscale.models.recurrent", _CELLS, builder="build_lstm", variant_of="lstm", own_width=True
    ),
    "gru-plain": ModelSpec(
        "lengthscale.models.recurrent", _CELLS, builder="build_gru", variant_of="gru", own_width=True
    ),
}

# What results that were written before names carried options call these models -> what they are called now.
FORMER_NAMES = {
    "s4d-bilinear": "s4d:rule=bilinear",
    "s4d-small-dt": "s4d:dt=small",
    "s4d-small-dt-bilinear": "s4d:rule=bilinear,dt=small",
    "s4d-large-dt": "s4d:dt=large",
    "s4d-large-dt-bilinear": "s4d:rule=bilinear,dt=large",
    "mamba-zoh": "mamba:rule=zoh",
    "mamba-bilinear": "mamba:rule=bilinear",
}
