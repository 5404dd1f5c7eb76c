"""`peers`: the arguments, what they ask for, and the run."""

from __future__ import annotations

import dataclasses
import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from rich.console import Console

from lengthscale.bench.peers import contenders, files
from lengthscale.bench.peers.case import CONTEXT_MEASURES, MEASURES
from lengthscale.bench.peers.loop import Request, run_request
from lengthscale.bench.peers.rounds import Settings
from lengthscale.bench.peers.rows import ROWS, find
from lengthscale.bench.plan.cell import parse_lengths
from lengthscale.bench.plan.errors import RequestError
from lengthscale.models import unknown

NAMES = tuple(dict.fromkeys(row.name for row in ROWS))


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--only", help=f"some of {','.join(NAMES)} (default: all)")
    parser.add_argument("--measures", help=f"some of {','.join(MEASURES)} (default: all)")
    parser.add_argument("--lengths", help="of sequences, such as 512,2k (default: a row's own, mostly 512 to 32k)")
    parser.add_argument("--contexts", help="of decoding, such as 512,8k (default: a row's own, 512 to 64k)")
    parser.add_argument("--cores", help="numbers of cores, such as 1,2 (default: 1, and all)")
    parser.add_argument("--samples", type=int, help=f"of each contender (default: {Settings.samples})")
    parser.add_argument("--out", help="results folder; one of an interrupted run goes on (default: a new one)")
    parser.add_argument(
        "--publish",
        action="store_true",
        help=f"put the rows into results/<device>/{files.TABLE}, over older ones",
    )
    parser.add_argument("--list", action="store_true", help="list the cases and stop")


def make_request(args: Namespace, available: int) -> Request:
    """Raises RequestError with all mistakes at once. available: the cores that may be used."""
    mistakes: list[str] = []
    names = _chosen("row", args.only, NAMES, mistakes)
    measures = _chosen("measure", args.measures, tuple(MEASURES), mistakes)
    lengths = _numbers(args.lengths, mistakes)
    contexts = _numbers(args.contexts, mistakes)
    cores = _numbers(args.cores, mistakes) or tuple(sorted({1, available}))
    if cores[-1] > available:
        mistakes.append(f"--cores {cores[-1]}: only {available} may be used here")
    if args.samples is not None and args.samples < 1:
        mistakes.append(f"--samples must be positive, got {args.samples}")
    cases = [
        case
        for row in ROWS
        if row.name in names and row.measure in measures
        for case in row.cases(contexts if row.measure in CONTEXT_MEASURES else lengths, cores)
    ]
    if not cases and not mistakes:
        mistakes.append(f"{args.only} has no measure {args.measures}")
    needed = {name for case in cases for name in find(case).contenders}
    absent = sorted(name for name in needed if contenders.version(name) is None)
    if args.publish and absent:
        mistakes.append(f"--publish: {', '.join(absent)} missing; LENGTHSCALE_EXTRAS=peers installs them")
    if mistakes:
        raise RequestError(mistakes)
    # A row's cases stand together for each number of cores, so that its children start once.
    cases.sort(key=lambda case: (NAMES.index(case.row), case.cores))
    settings = dataclasses.replace(Settings(), samples=args.samples or Settings.samples)
    return Request(tuple(cases), settings, Path(args.out).expanduser() if args.out else None, args.publish)


def run_peers(args: Namespace, console: Console) -> int:
    """The exit code: 0, or 3 where something of ours failed."""
    request = make_request(args, _available())
    if args.list:
        for case in request.cases:
            console.print(case.label(), highlight=False)
        return 0
    return 0 if run_request(request, console) else 3


def _available() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chosen(kind: str, text: str | None, known: tuple[str, ...], mistakes: list[str]) -> tuple[str, ...]:
    names = known if text is None else tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    mistakes += [unknown(kind, name, known) for name in names if name not in known]
    return names


def _numbers(text: str | None, mistakes: list[str]) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(parse_lengths(text))
    except ValueError as error:
        mistakes.append(str(error))
        return None
