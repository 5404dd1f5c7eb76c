"""Suites: sets of cells to run. Each says what it reproduces, what it costs, and what to expect.

A suite is a sweep for each measure; the options --models, --lengths, --size ... replace its cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lengthscale.bench.plan.settings import Settings
from lengthscale.models import MODELS

ARTICLE = ("rnn", "lstm", "gru", "transformer", "mamba")  # the line from RNN to Mamba


@dataclass(frozen=True)
class Sweep:
    """The lengths, the size, the data and the models of one measure in a suite."""

    lengths: str  # as parse_lengths reads them
    size: str = "small"
    data: tuple[str, ...] = ()  # each makes its own cells; none: what each kind of model reads by default
    models: tuple[str, ...] = ()  # none: the suite's
    chunks: tuple[int, ...] = ()  # as --chunk; none: the suite's
    part: int = 1  # the suite's parts are measured one after the other, so that a run that is cut is still a picture


@dataclass(frozen=True)
class Suite:
    """A set of cells to run, with its settings and a description."""

    reproduces: str
    cost: str
    expect: str
    # One or several for each measure; --measures may ask for those that the suite leaves out.
    sweeps: dict[str, Sweep | tuple[Sweep, ...]]
    models: tuple[str, ...] = ARTICLE
    measures: tuple[str, ...] = ("forward", "train", "decode", "quality")
    chunks: tuple[int, ...] = (0,)  # as --chunk; one series has one algorithm throughout
    dtype: str = "float32"  # as --dtype
    settings: Settings = field(default_factory=Settings)

    def of(self, measure: str) -> tuple[Sweep, ...]:
        """The sweeps of a measure."""
        found = self.sweeps[measure]
        return found if isinstance(found, tuple) else (found,)


RECALL = ("mqar:pairs=4,vocab=32",)
RECALL_ALL = (*RECALL, "mqar:pairs=8,vocab=64", "induction", "selective_copy", "passkey:digits=3")
TRACKING = ("parity", "a5:inputs=generators", "s5:inputs=generators")
# Small budgets of measures on tasks, whose sequences are short: 600 steps of 64 sequences.
ON_TASKS: dict[str, Any] = {"train_tokens": 600 * 2_048, "step_tokens": 2_048, "eval_factors": (1, 2, 4, 8, 16)}
TASK_SWEEPS = {name: Sweep("32", size="tiny", data=data) for name, data in (("recall", RECALL), ("tracking", TRACKING))}
TASK_SETTINGS = dict.fromkeys(TASK_SWEEPS, ON_TASKS)
LEARNED_ALONE: dict[str, Any] = {"timeout_s": 14_400}  # a model that learns takes hours, where others take a minute
PAPER_READING = (
    Sweep("1k,4k,16k,64k", size="130m"),
    Sweep("256k,1m", size="130m", part=3),
    Sweep("64k,256k,1m", size="130m", chunks=(65_536,), part=3),
    Sweep("1k,4k,16k,64k", size="370m", part=4),
)
PAPER_DECODING = (
    Sweep("1k,4k,16k,64k", size="130m", part=2),
    Sweep("256k,1m", size="130m", part=3),
    Sweep("1k,4k,16k,64k", size="370m", part=4),
)
TO_A_MILLION = tuple(4**power for power in range(11))
CONTEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

SHORT: dict[str, Sweep | tuple[Sweep, ...]] = {  # where nothing is slow
    "forward": Sweep("1k", size="tiny"),
    "train": Sweep("256,1k", size="tiny"),
    "operator": Sweep("1k,4k", size="tiny"),
    "decode": Sweep("4k", size="tiny"),
    "generate": Sweep("4k", size="tiny"),
    "quality": Sweep("72", size="tiny"),
    **TASK_SWEEPS,
    "gradients": Sweep("256", size="tiny"),
    "agreement": Sweep("256", size="tiny"),
    "discretisation": Sweep("256", size="tiny"),
    "resampling": Sweep("256", size="tiny"),
    "breakdown": Sweep("1k", size="tiny"),
    "frontier": Sweep("1k", size="tiny"),
    "depth": Sweep("256,1k,4k", size="tiny"),
    "speedup": Sweep("1k", size="tiny"),
}

SUITES = {
    "quick": Suite(
        reproduces="the models from RNN to Mamba, their costs and losses once, at lengths where nothing is slow",
        cost="about 4 minutes on 2 cores",
        expect="a first look: too short for exponents, long enough to see that everything works",
        sweeps=SHORT,
        settings=Settings(
            timeout_s=60,
            min_seconds=0.1,
            max_seconds=2.0,
            train_tokens=131_072,
            contexts=(1, 4, 16, 64),
            by_measure={name: ON_TASKS | {"train_tokens": 2**17} for name in TASK_SWEEPS},
        ),
    ),
    "default": Suite(
        reproduces="cost and loss against length: Mamba's line and the Transformer's parabola",
        cost="about 20 minutes on 2 cores",
        expect="train: slope 1 for RNN, LSTM, GRU and Mamba, rising above 1.5 for the Transformer by 16k; decode: flat "
        "for all but the Transformer",
        sweeps={
            "forward": Sweep("256,2k,8k,16k"),
            "train": Sweep("256,1k,4k,16k"),
            "operator": Sweep("1k,4k,16k,64k", size="tiny"),
            "decode": Sweep("1k,4k,16k,64k"),
            "generate": Sweep("1k,4k,16k,64k"),
            "quality": Sweep("72,1152", size="tiny"),
            **TASK_SWEEPS,
            "gradients": Sweep("1k", size="tiny"),
            "agreement": Sweep("1k", size="tiny"),
            "discretisation": Sweep("1k", size="tiny"),
            "resampling": Sweep("784", size="tiny"),
            "breakdown": Sweep("256,1k,4k,16k"),
            "frontier": Sweep("4k"),
            "depth": Sweep("256,1k,4k,16k,64k"),
            "speedup": Sweep("1k,4k"),
        },
        measures=("forward", "train", "decode", "quality", "recall"),
        settings=Settings(
            timeout_s=240,
            min_seconds=0.3,
            max_seconds=3.0,
            train_tokens=2**20,
            step_tokens=1_152,
            contexts=CONTEXTS,
            by_measure=TASK_SETTINGS,
        ),
    ),
    "learn": Suite(
        reproduces="what length buys: loss against exact context on text, code, genome and audio, recall and state "
        "tracking, and nanoGPT's CPU recipe (64 tokens, 0.96 M parameters)",
        cost="about 90 minutes on 2 cores; --resume continues it in parts",
        expect="text at nanoGPT's recipe: the Transformer at or below its published 1.88 nats a byte, Mamba and "
        "Transformer++ below that; recall: attention solves what a plain RNN does not; tracking: the other way round",
        sweeps=SHORT
        | {
            "quality": (
                Sweep("64", size="mini", data=("text",)),
                Sweep("72,288,1152", size="tiny", data=("text",)),
                Sweep("1152", size="tiny", data=("code", "genome", "audio")),
            ),
            "recall": (
                Sweep("16", size="tiny", data=RECALL),
                Sweep("16", size="state4k", data=RECALL),
                Sweep("64", size="tiny", data=RECALL_ALL),
            ),
        },
        models=("rnn", "lstm", "gru", "transformer", "transformer++", "mamba"),
        measures=("quality", "recall", "tracking"),
        settings=Settings(
            timeout_s=1800,
            train_tokens=2**21,
            step_tokens=1_152,
            contexts=(*CONTEXTS, 2_048, 4_096, 8_192, 16_384),
            targets=4_096,
            windows=512,
            by_measure={
                "quality mini": {"train_tokens": 2_000 * 768, "step_tokens": 768},  # nanoGPT's: batches of 12 x 64
                **{name: ON_TASKS | {"train_tokens": 1_500 * 2_048} for name in TASK_SWEEPS},
                "recall state4k": {"train_tokens": 600 * 2_048},  # an RNN of 512 units is slow
            },
        ),
    ),
    "zoo": Suite(
        reproduces="every model, in every measure but `generate` and those for S4D alone",
        cost="about 25 minutes on 2 cores",
        expect="lengths are squares, so that images with as many patches can be compared with sequences; what a model "
        "cannot do (an image classifier does not decode) is a row `unsupported`",
        sweeps={
            "forward": Sweep("256,1k,4k"),
            "train": Sweep("256,1k"),
            "operator": Sweep("1k,4k"),
            "decode": Sweep("1k,16k"),
            "generate": Sweep("1k,16k"),
            "quality": Sweep("256", size="tiny"),
            **TASK_SWEEPS,
            "gradients": Sweep("256", size="tiny"),
            "agreement": Sweep("256", size="tiny"),
            "discretisation": Sweep("256", size="tiny"),
            "resampling": Sweep("256", size="tiny"),
            "breakdown": Sweep("256,1k"),
            "frontier": Sweep("1k", size="tiny"),
            "depth": Sweep("256,1k,4k", size="tiny"),
            "speedup": Sweep("1k", size="tiny"),
        },
        models=(*MODELS, "s4d:rule=bilinear", "mamba:rule=zoh", "mamba:rule=bilinear"),
        measures=("forward", "train", "decode", "quality", "gradients", "agreement"),
        settings=Settings(
            timeout_s=180,
            min_seconds=0.2,
            max_seconds=2.0,
            train_tokens=131_072,
            by_measure=TASK_SETTINGS,
        ),
    ),
    "long": Suite(
        reproduces="the same to a million tokens, in chunks of 4,096 where the state carries gradients",
        cost="2 to 3 hours on 2 cores, by an estimate; --resume continues it in parts",
        expect="linear models reach 1,048,576 tokens in constant memory; what would not fit is a row `skipped`, and "
        "`frontier` says what would fit",
        sweeps={
            "forward": Sweep("4k:1m:x4"),
            "train": Sweep("4k:1m:x4"),
            "operator": Sweep("4k:1m:x4"),
            "decode": Sweep("4k:1m:x4"),
            "generate": Sweep("4k:1m:x4"),
            "quality": Sweep("1k,16k", size="tiny", data=("code",)),
            **TASK_SWEEPS,
            "gradients": Sweep("1k,4k", size="tiny"),
            "agreement": Sweep("1k,4k", size="tiny"),
            "discretisation": Sweep("1k,4k", size="tiny"),
            "resampling": Sweep("784", size="tiny"),
            "breakdown": Sweep("1k,4k,16k"),
            "frontier": Sweep("4k"),
            "depth": Sweep("4k:1m:x4"),
            "speedup": Sweep("4k,16k"),
        },
        measures=("forward", "train", "decode", "quality", "recall", "breakdown", "frontier"),
        chunks=(4_096,),
        settings=Settings(
            timeout_s=1800,
            train_tokens=2**23,
            step_tokens=16_384,
            contexts=TO_A_MILLION,
            context_tokens=2**22,
            by_measure=TASK_SETTINGS,
        ),
    ),
    "paper": Suite(
        reproduces="what length costs to a million tokens in the papers' models: 130 and 370 million parameters, a "
        "vocabulary of 50,257, bfloat16; with --measures quality,recall,tracking what it buys on the papers' data",
        cost="hours on a GPU, by an estimate; --minutes 8 ends it in time, and --resume goes on",
        expect="the most telling cells come first: training and prefill to 64k tokens, then generation, then a million "
        "tokens; what would take over 90 s is a row `skipped`. The data of `quality` are fetched beforehand: "
        "--download enwik8, hg38 and speech_commands",
        sweeps=SHORT
        | {
            **dict.fromkeys(("forward", "train"), PAPER_READING),
            **dict.fromkeys(("decode", "generate"), PAPER_DECODING),
            "operator": Sweep("1k,4k,16k,64k", size="130m"),
            "breakdown": Sweep("4k,64k", size="130m"),
            "frontier": tuple(Sweep("4k", size=size, part=part) for size, part in (("130m", 3), ("370m", 4))),
            "quality": Sweep("1k,16k", data=("enwik8", "hg38", "speech_commands")),
            "recall": Sweep("256", data=RECALL_ALL),
            "tracking": Sweep("256", data=TRACKING),
        },
        models=("rnn", "lstm", "gru", "transformer", "transformer++", "rwkv4", "s4d", "mamba"),
        measures=("train", "forward", "decode", "generate", "frontier"),
        dtype="bfloat16",
        settings=Settings(
            timeout_s=90,
            min_seconds=0.3,
            max_seconds=5.0,
            train_tokens=2**26,
            step_tokens=16_384,
            contexts=TO_A_MILLION,
            context_tokens=2**24,
            by_measure={
                "frontier": {"timeout_s": 600, "max_seconds": 10.0},
                "quality": LEARNED_ALONE,
                **dict.fromkeys(TASK_SWEEPS, ON_TASKS | LEARNED_ALONE | {"train_tokens": 2**26, "step_tokens": 16_384}),
            },
        ),
    ),
}
