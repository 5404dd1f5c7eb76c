"""`peers`: parse and validate the request, and run it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from lengthscale.bench.peers import contenders
from lengthscale.bench.peers.case import CONTEXT_MEASURES
from lengthscale.bench.peers.loop import Request, run_request
from lengthscale.bench.peers.rounds import Settings
from lengthscale.bench.peers.rows import NAMES, ROWS, find
from lengthscale.bench.plan.errors import RequestError

MEMORY_BYTES = 48 << 30  # the limit of a contender in a GPU's host, where its longest inputs and gradients lie


def make_request(
    values: Mapping[str, Any], mistakes: Sequence[str], available: int, device: Mapping[str, Any]
) -> Request:
    """The request of `peers`. values: of the command's options (commands/peers.py), by their names.

    mistakes: those of single options. available: the number of cores that may be used. device: its facts (device.py),
    whose platform decides which rows there are. Raises RequestError with all mistakes at once.
    """
    mistakes, platform = list(mistakes), device["backend"]
    names, measures = values["only"], values["measures"]
    cores = values["cores"] or tuple(sorted({1, available}))
    if cores[-1] > available:
        mistakes.append(f"--cores {cores[-1]}: only {available} may be used here")
    cases = [
        case
        for row in ROWS
        if row.platform == platform and row.name in names and row.measure in measures
        for case in row.cases(values["contexts" if row.measure in CONTEXT_MEASURES else "lengths"], cores)
    ]
    if not cases and not mistakes:
        mistakes.append(f"{', '.join(names)} has no measure {', '.join(measures)} on a {platform.upper()}")
    needed = {name for case in cases for name in find(case).contenders}
    absent = sorted(name for name in needed if contenders.version(name) is None and contenders.is_in_extra(name))
    if values["publish"] and absent:
        mistakes.append(f"--publish: {', '.join(absent)} missing; LENGTHSCALE_EXTRAS=peers installs them")
    if mistakes:
        raise RequestError(mistakes)
    # The cases of a row at one number of cores follow each other, so that its children start only once.
    cases.sort(key=lambda case: (NAMES.index(case.row), case.cores))
    settings = Settings() if platform == "cpu" else Settings(device="cuda", memory_bytes=MEMORY_BYTES)
    settings = dataclasses.replace(settings, samples=values["samples"] or settings.samples)
    return Request(tuple(cases), settings, values["out"], values["publish"], device)


def run_peers(request: Request, console: Console, only_list: bool = False) -> int:
    """Run or list the cases. Returns the exit code: 0, or 3 where an implementation of ours failed."""
    if only_list:
        for case in request.cases:
            console.print(case.label(), highlight=False)
        return 0
    return 0 if run_request(request, console) else 3


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
