"""The options of `run`: one table gives its help, its checks, its values and the settings that it changes.

Adding an option: a line here. An option that replaces a setting needs nothing else; request.py reads the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lengthscale.bench.plan import parse
from lengthscale.bench.plan.devices import DEVICES
from lengthscale.bench.plan.dtypes import DTYPES
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.options import LIST, OUT, RERUN, Given, Option, one_name, some_names, to_arguments
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.suites import SUITES
from lengthscale.models import MODELS, SIZES, STATES
from lengthscale.models.catalogue import REMATS
from lengthscale.models.names import options_text

METHODS = ("auto", *dict.fromkeys(method for spec in MODELS.values() for method in spec.methods))


def _data_help() -> str:
    from lengthscale.bench.data import DATA, FILES
    from lengthscale.bench.data.synthetic import SYNTHETIC

    return (
        f"one of {', '.join(DATA)} (fewer images: mnist:images=500); a synthetic task, with or without parameters "
        f"such as copy:symbols=10 ({', '.join(SYNTHETIC)}); or a path: {FILES} "
        "(default: text, or mnist for models that read images)"
    )


def _download_help() -> str:
    from lengthscale.bench.data.public import PUBLIC

    return f"download a public data set into the cache, once, and use it as the data: one of {', '.join(PUBLIC)}"


def _models_help() -> str:
    return f"some of {', '.join(MODELS)} ({options_text()}; default: the suite's)"


def _methods_help() -> str:
    of_models = "; ".join(f"{name}: {', '.join(spec.methods)}" for name, spec in MODELS.items())
    return f"auto, or some of the models' methods: {of_models} (default: auto)"


_CELLS = (
    one_name("--suite", "suite", SUITES, default="default"),
    Option("--models", _models_help, parse.models, metavar="NAMES", known=MODELS),
    some_names("--measures", "measure", MEASURES),
    Option("--lengths", "such as 256,1k,4k or 512:64k:x2 (default: the suite's)", parse=parse.lengths),
    one_name("--size", "size", (*SIZES, *STATES)),
    Option("--checkpoint", "a Hugging Face folder, instead of models and size", parse.name_or_path, metavar="DIR"),
    replace(some_names("--methods", "method", METHODS, default=("auto",)), help=_methods_help),
    Option("--batch", "sequences at a time (default: 1)", parse=parse.positive_integer, default=1),
    Option(
        "--new-tokens", "generate: tokens after the prompt (default: 64)", parse=parse.several, setting="new_tokens"
    ),
    replace(
        one_name("--dtype", "dtype", DTYPES),
        help="float32 (IEEE's, on every platform), tf32 (float32 multiplied as TF32, on CUDA alone) or bfloat16 "
        "(default: the suite's)",
    ),
    Option(
        "--chunk",
        "read the sequence in chunks of so many tokens and carry the state, where gradients can follow; 0: whole; of "
        "several, such as 0,4k, each makes its own cells (default: the suite's)",
        parse=parse.chunks,
        metavar="TOKENS",
    ),
    Option(
        "--remat",
        "training: which parts of a model are computed again for the gradient, and not kept: none, block (each block's "
        "arrays) or full (those of groups of blocks, too); auto: the first of these that fits (default: auto)",
        parse.one_of("remat", ("auto", *REMATS)),
        metavar="NAME",
        known=("auto", *REMATS),
        setting="remat",
    ),
    Option(
        "--replicates",
        "independent processes in which each cell is measured; an interval needs 3; for N of them, decode, whose "
        + "calls are short, has 2 N - 1 (default: 3)",
        parse.positive_integer,
        setting="replicates",
    ),
    Option(
        "--seed",
        "seed of parameters and data; of several, such as 0,1,2, each makes its own cells (default: 0)",
        parse=parse.seeds,
        default=(0,),
    ),
)
_DATA = (
    Option("--data", _data_help, parse=parse.name_or_path),
    Option("--download", _download_help, metavar="NAME"),
)
_TRAINING = (
    Option(
        "--train-tokens", "tokens to train on (default: the suite's)", parse.positive_integer, setting="train_tokens"
    ),
    Option("--step-tokens", "tokens of a step (default: the suite's)", parse.positive_integer, setting="step_tokens"),
    Option(
        "--learning-rate",
        "its peak (default: that of the recipe which `tune` has found for the model and the data)",
        parse.positive_number,
        setting="learning_rate",
    ),
    Option(
        "--warmup",
        "share of the steps over which the learning rate rises, such as 0.1 (default: the recipe's)",
        parse.share,
        setting="warmup",
    ),
    Option(
        "--windows",
        "held-out sequences of the training length (default: the suite's)",
        parse.positive_integer,
        setting="windows",
    ),
    Option("--eval-lengths", "on a task: held-out lengths (default: L, 2L, 4L)", parse.lengths, setting="eval_lengths"),
    Option(
        "--contexts", "on a stream: tokens before the targets (default: the suite's)", parse.lengths, setting="contexts"
    ),
    Option(
        "--targets",
        "on a stream: held-out targets, the same at every context (default: 2048)",
        parse=parse.positive_integer,
        setting="targets",
    ),
    Option(
        "--context-tokens",
        "on a stream: the most tokens to read at one context; a long one has fewer targets (default: no limit)",
        parse=parse.positive_integer,
        setting="context_tokens",
    ),
    Option(
        "--shuffle-beyond",
        "on a stream: evaluate also at the longest context with all tokens shuffled that are farther away than this",
        parse=parse.lengths,
        metavar="TOKENS",
        setting="shuffle_beyond",
    ),
)
_LIMITS = (
    Option("--timeout", "deadline in seconds (default: the suite's)", parse.seconds, setting="timeout_s"),
    Option(
        "--compile-timeout",
        "the most of that time that compiling may take, in seconds (default: 120)",
        parse=parse.seconds,
        setting="compile_timeout_s",
    ),
    Option(
        "--mem-limit",
        "memory, such as 6g (default: 80% of the free memory)",
        parse=parse.size_in_bytes,
        setting="mem_limit_bytes",
    ),
)
_RUN = (
    Option(
        "--minutes",
        "begin no cell after so many minutes, and print the command that goes on (default: no limit)",
        parse.positive_number,
        in_suite_json=False,
    ),
    Option("--shard", "only part i of n, for n machines; see merge", parse=parse.shard, metavar="i/n"),
    OUT,
    Option(
        "--resume",
        "continue the run in this folder; takes no other options",
        parse=parse.path,
        metavar="DIR",
        in_suite_json=False,
    ),
    RERUN,
    LIST,
    Option("--dry-run", "plan memory and predict times, and stop", is_switch=True, in_suite_json=False),
    Option(
        "--table", "with --dry-run: write the plans into this CSV file", parse.path, metavar="FILE", in_suite_json=False
    ),
    Option(
        "--on",
        f"with --dry-run: plan for a device that need not be here, one of {', '.join(DEVICES)}; needs jax[cuda12] or "
        "libtpu",
        parse.one_of("device", DEVICES),
        metavar="DEVICE",
        known=DEVICES,
        setting="on",
        in_suite_json=False,
    ),
)
OPTIONS = tuple(
    replace(option, group=group)
    for group, options in (
        ("What is measured", _CELLS),
        ("Data", _DATA),
        ("Training and evaluation (measures that train)", _TRAINING),
        ("Limits of a cell", _LIMITS),
        ("The run", _RUN),
    )
    for option in options
)


def changed_settings(suite: Settings, values: Mapping[str, Any]) -> Settings:
    """The suite's settings, with those replaced that the options give. values: by the options' names."""
    changes = {option.setting: values[option.name] for option in OPTIONS if option.setting}
    return suite.changed({name: value for name, value in changes.items() if value is not None})


def in_suite_json(given: Given) -> list[str]:
    """The arguments that define the run: `--resume` reads them back from suite.json."""
    return to_arguments([option for option in OPTIONS if option.in_suite_json], given)
