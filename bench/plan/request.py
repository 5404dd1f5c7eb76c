"""The command line's wishes, checked as a whole before anything is computed."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lengthscale.bench.data import Images, Stream, public
from lengthscale.bench.data import load as load_data
from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.synthetic import Task
from lengthscale.bench.plan.cell import Cell, grid, parse_lengths
from lengthscale.bench.plan.checkpoint import default_data, open_checkpoint, possible_lengths, reason_against
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.suites import SUITES, Settings, Suite
from lengthscale.bench.plan.workloads import DEFAULT_DATA, Data, version
from lengthscale.bench.plan.workloads import unsupported as unsupported_data
from lengthscale.models import MODELS, SIZES, spec_of, unknown
from lengthscale.models.checkpoints import Checkpoint, CheckpointError
from lengthscale.models.names import read_models

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Request:
    """A sweep, ready to run."""

    suite: str
    cells: list[Cell]
    unsupported: dict[Cell, str]  # cells of the grid that their model does not have, and why
    settings: Settings
    data_versions: dict[str, str]
    notes: dict[str, str]  # what a user should know of the data; only where there is something
    out: Path | None  # None: a new folder below results/
    shard: str  # "i/n": these are the cells of one of n machines; "": all of them
    arguments: list[str]  # of the command line, as `--resume` needs them
    rerun: bool  # what the folder holds is kept aside, and not gone on with

    def configuration(self) -> dict:
        """suite.json: what a folder's rows have in common."""
        return {
            "suite": self.suite,
            "settings": json.loads(json.dumps(asdict(self.settings))),
            "data_versions": self.data_versions,
            "shard": self.shard,
            "arguments": self.arguments,
            "cells": [cell.key() for cell in self.cells],
        }


def read_request(args: Namespace) -> tuple[Request, list[str]]:
    """(what is asked for, all that is wrong with it). With --download, the data are fetched if nothing is wrong.

    Raises RequestError where too much is wrong to go on.
    """
    mistakes = _check_names(args) + _check_numbers(args) + _check_download(args)
    if args.suite not in SUITES:
        raise RequestError([unknown("suite", args.suite, SUITES), *mistakes])
    suite = SUITES[args.suite]
    settings = _settings(args, suite, mistakes)
    lengths = _lengths(args.lengths, mistakes)
    seeds = _seeds(args.seed, mistakes)
    checkpoint = _open_checkpoint(args, mistakes)
    models = read_models(args.models)[0] if _names(args.models) else list(suite.models)
    models = [checkpoint.model] if checkpoint else models
    if args.download is not None:
        _download(args.download, mistakes)
    chosen = args.download or args.data or (default_data(checkpoint) if checkpoint else None)
    data_names = {name: chosen or DEFAULT_DATA[spec_of(name).kind] for name in models}
    data = _load(set(data_names.values()), mistakes)
    cells: list[Cell] = []
    for measure in _names(args.measures) or suite.measures:
        if measure in suite.sweeps and (lengths or args.lengths is None):
            cells += grid(
                measure=measure,
                models=list(data_names),
                lengths=lengths or _suite_lengths(suite, measure, checkpoint),
                size=str(checkpoint.path) if checkpoint else args.size or suite.sweeps[measure].size,
                methods=_names(args.methods) or ["auto"],
                batch=args.batch,
                dtype=args.dtype,
                data=data_names,
                seeds=seeds,
                streams=[name for name in data_names if spec_of(name).streams],
                step_tokens=settings.step_tokens,
            )
    mistakes += _check_data(data, cells, settings)
    cells = _shard(cells, args.shard, mistakes)
    versions = {name: version(each) for name, each in data.items()}
    if checkpoint:
        versions[str(checkpoint.path)] = checkpoint.version
    return Request(
        suite=args.suite,
        cells=cells,
        unsupported={cell: reason for cell in cells if (reason := _unsupported(cell, data, checkpoint))},
        settings=settings,
        data_versions=versions,
        notes={name: each.note for name, each in data.items() if not isinstance(each, Task) and each.note},
        out=Path(args.out).expanduser() if args.out else None,
        shard=args.shard or "",
        arguments=args.arguments,
        rerun=args.rerun,
    ), mistakes


def _shard(cells: list[Cell], text: str | None, mistakes: list[str]) -> list[Cell]:
    """The i-th of n parts of a sweep. A series stays together, for its short cells foretell the long ones."""
    if text is None:
        return cells
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    number, of = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= of:
        mistakes.append(f"--shard {text!r} is not i/n with 1 <= i <= n, such as 1/4")
        return cells
    series = list(dict.fromkeys(cell.series() for cell in cells))
    mine = set(series[number - 1 :: of])
    if not mine:
        mistakes.append(f"--shard {text}: the sweep has {len(series)} series, so no more than as many shards")
    return [cell for cell in cells if cell.series() in mine]


def _settings(args: Namespace, suite: Suite, mistakes: list[str]) -> Settings:
    """The suite's, as far as the command line does not say otherwise."""
    eval_lengths, contexts = _lengths(args.eval_lengths, mistakes), _lengths(args.contexts, mistakes)
    shuffle_beyond = _lengths(args.shuffle_beyond, mistakes)
    changes = {
        "timeout_s": args.timeout,
        "compile_timeout_s": args.compile_timeout,
        "mem_limit_bytes": _bytes(args.mem_limit, mistakes),
        "train_tokens": args.train_tokens,
        "learning_rate": args.learning_rate,
        "eval_lengths": tuple(eval_lengths) if eval_lengths else None,
        "contexts": tuple(contexts) if contexts else None,
        "step_tokens": args.step_tokens,
        "windows": args.windows,
        "target_tokens": args.target_tokens,
        "context_tokens": args.context_tokens,
        "shuffle_beyond": tuple(shuffle_beyond) if shuffle_beyond else None,
    }
    settings = replace(suite.settings, **{key: value for key, value in changes.items() if value is not None})
    if shuffle_beyond and shuffle_beyond[-1] >= settings.shuffled_context:
        mistakes.append(
            f"--shuffle-beyond must be below the longest context that all windows are read at, "
            f"{settings.shuffled_context}, got {shuffle_beyond[-1]}"
        )
    return settings


_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def _bytes(text: str | None, mistakes: list[str]) -> int | None:
    """Of "6g" or "500m"."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgt]?)(?:i?b)?", text.strip().lower())
    value = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if value < 1:
        mistakes.append(f"--mem-limit {text!r} is not a size in bytes, such as 6g or 500m")
    return value


def _lengths(text: str | None, mistakes: list[str]) -> list[int] | None:
    if text is None:
        return None
    try:
        return parse_lengths(text)
    except ValueError as error:
        mistakes.append(str(error))
        return None


def _load(names: set[str], mistakes: list[str]) -> dict[str, Data]:
    data: dict[str, Data] = {}
    for name in sorted(names):
        try:
            data[name] = load_data(name)
        except DataError as error:
            mistakes += str(error).splitlines()
    return data


def _names(listed: str | None) -> list[str]:
    names = [name.strip() for name in (listed or "").split(",")]
    return list(dict.fromkeys(name for name in names if name))


def _check_names(args: Namespace) -> list[str]:
    methods = ["auto", *dict.fromkeys(method for spec in MODELS.values() for method in spec.methods)]
    lists = {
        "measure": (args.measures, list(MEASURES)),
        "size": (args.size, list(SIZES)),
        "method": (args.methods, methods),
        "dtype": (args.dtype, list(DTYPES)),
    }
    mistakes = read_models(args.models)[1] if args.models is not None else []
    if args.models is not None and not _names(args.models):
        mistakes.append(f"no model given (known: {', '.join(MODELS)})")
    for kind, (listed, known) in lists.items():
        names = _names(listed)
        if listed is not None and not names:
            mistakes.append(f"no {kind} given (known: {', '.join(known)})")
        mistakes += [unknown(kind, name, known) for name in names if name not in known]
    if len(_names(args.size)) > 1:
        mistakes.append(f"one size at a time, got {args.size!r}")
    return mistakes


def _check_numbers(args: Namespace) -> list[str]:
    wanted = {
        "--batch": args.batch,
        "--timeout": args.timeout,
        "--compile-timeout": args.compile_timeout,
        "--train-tokens": args.train_tokens,
        "--learning-rate": args.learning_rate,
        "--step-tokens": args.step_tokens,
        "--windows": args.windows,
        "--target-tokens": args.target_tokens,
        "--context-tokens": args.context_tokens,
    }
    return [
        f"{flag} must be positive, got {value}" for flag, value in wanted.items() if value is not None and value <= 0
    ]


def _seeds(text: str, mistakes: list[str]) -> list[int]:
    """Of "0" or "0,1,2"."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        mistakes.append(f"--seed {text!r} is neither a whole number from 0 on nor several with commas, such as 0,1,2")
        return []
    return list(dict.fromkeys(int(part) for part in parts))


def _check_download(args: Namespace) -> list[str]:
    mistakes = []
    if args.download is not None and args.download not in public.PUBLIC:
        mistakes.append(unknown("download", args.download, public.PUBLIC))
    if args.download is not None and args.data is not None:
        mistakes.append(f"--download is the data as well: give it or --data {args.data}, not both")
    return mistakes


def _download(name: str, mistakes: list[str]) -> None:
    """Fetches nothing where there are mistakes already. Raises RequestError."""
    if mistakes:
        raise RequestError(mistakes)
    try:
        public.fetch(name)
    except DataError as error:
        raise RequestError(str(error).splitlines()) from error


def _open_checkpoint(args: Namespace, mistakes: list[str]) -> Checkpoint | None:
    if args.checkpoint is None:
        return None
    for flag, value in (("--models", args.models), ("--size", args.size)):
        if value is not None:
            mistakes.append(f"--checkpoint is model and size: leave out {flag} {value}")
    try:
        return open_checkpoint(args.checkpoint)
    except CheckpointError as error:
        mistakes += str(error).splitlines()
        return None


def _suite_lengths(suite: Suite, measure: str, checkpoint: Checkpoint | None) -> list[int]:
    listed = suite.lengths(measure)
    return possible_lengths(checkpoint, listed) if checkpoint else listed


def _check_data(data: dict[str, Data], cells: list[Cell], settings: Settings) -> list[str]:
    """Is each stream as long as what is asked of it, can images be told apart, can each task be of the lengths?"""
    mistakes = []
    for name, each in data.items():
        mine = [cell for cell in cells if cell.data == name]
        if isinstance(each, Stream):
            mistakes += _check_stream(each, mine, settings)
        elif isinstance(each, Images):
            mistakes += _check_images(each, mine)
        else:
            short = min((cell.length for cell in mine), default=each.min_length)
            if short < each.min_length:
                mistakes.append(f"{each} needs a length of at least {each.min_length}, got {short}")
    return mistakes


def _check_stream(data: Stream, cells: list[Cell], settings: Settings) -> list[str]:
    mistakes = []
    longest = max((cell.length for cell in cells if cell.measure in ("forward", "train")), default=0)
    if len(data.tokens) < longest + 1:
        mistakes.append(f"data {data.name!r} has {len(data.tokens)} tokens; length {longest} needs {longest + 1}")
    learned = max((cell.length for cell in cells if MEASURES[cell.measure].learns), default=0)
    if learned:
        for part, tokens, needed in (
            ("train part", data.train, learned + 1),
            ("held-out part", data.held_out, max(learned + 1, max(settings.contexts) + settings.target_tokens)),
        ):
            if len(tokens) < needed:
                mistakes.append(f"data {data.name!r}: its {part} has {len(tokens)} tokens; {needed} are needed")
    return mistakes


def _check_images(data: Images, cells: list[Cell]) -> list[str]:
    learning = list(dict.fromkeys(cell.measure for cell in cells if MEASURES[cell.measure].learns))
    if not learning:
        return []
    need = f"{' and '.join(learning)} need{'s' if len(learning) == 1 else ''}"
    mistakes = []
    if len(data.classes) < 2:
        mistakes.append(f"data {data.name!r} has one class, {''.join(data.classes)!r}; {need} two or more")
    if not len(data.held_out):
        mistakes.append(f"data {data.name!r}: its held-out part is empty, as no class has two images; {need} one")
    return mistakes


def _unsupported(cell: Cell, data: dict[str, Data], checkpoint: Checkpoint | None) -> str | None:
    """Why the cell's model has no such method, or cannot read its data."""
    methods = spec_of(cell.model).methods
    if cell.method not in ("auto", *methods):
        return f"{cell.model} has no method {cell.method!r} (it has: {', '.join(methods)})"
    if cell.data not in data:
        return None
    reason = unsupported_data(cell.model, data[cell.data])
    return reason or (reason_against(checkpoint, cell, data[cell.data]) if checkpoint else None)
