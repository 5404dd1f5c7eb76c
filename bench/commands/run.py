"""`run`: measure a suite, or a part of it."""

from __future__ import annotations

import shlex
import time
from typing import Any

from lengthscale.bench.commands.arguments import command
from lengthscale.bench.commands.console import Console
from lengthscale.bench.plan.options import from_arguments, in_full, to_arguments
from lengthscale.bench.plan.run_options import OPTIONS
from lengthscale.bench.plan.suites import SUITES

ABOUT = "\n\n".join(
    (
        "Measure a suite, or a part of it.",
        "Suites:",
        *(f"{name}: {suite.reproduces} ({suite.cost})" for name, suite in SUITES.items()),
    )
)
EXAMPLES = (
    "run --suite quick",
    "run --models mamba,transformer --measures train --lengths 512:64k:x2 --timeout 300",
    "run --data adding --models rnn,lstm,mamba --measures quality,gradients --lengths 128",
    "run --suite long --list",
    "run --suite paper --minutes 8",
    "run --resume results/DEVICE/RUN --minutes 8",
)


def main(**given: Any) -> int:
    """Run the command. Returns the exit code: 0, 3 where some cells failed, 130 where it was interrupted."""
    began = time.monotonic()
    from lengthscale.bench.commands.finish import finish, first_picture
    from lengthscale.bench.host.request import make_request
    from lengthscale.bench.host.sweep import run_sweep
    from lengthscale.bench.plan.status import FAILED
    from lengthscale.bench.results.resume import turns_left

    console = Console()
    if given.get("resume") is not None:
        given = _resumed(given)
    request = make_request(given)
    if given.get("list") or given.get("dry_run"):
        from lengthscale.bench.host.dry_run import dry_run, list_cells

        list_cells(request, console) if given.get("list") else dry_run(request, console)
        return 0
    folder, results, interrupted = run_sweep(
        request,
        console,
        began + 60 * request.minutes,
        on_first=lambda folder, results: first_picture(folder, results, console),
    )
    if results:
        finish(folder, results, console)
    if left := turns_left(request.cells, request.settings.replicates, results):
        why = "interrupted" if interrupted else f"after {request.minutes:g} minutes"
        again = "" if interrupted else f" --minutes {request.minutes:g}"
        line = f"{why}; replicates left: {left}; run --resume {shlex.quote(str(folder))}{again} continues"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if interrupted:
        return 130
    return 3 if any(result.status in FAILED for result in results) else 0


def _resumed(given: dict[str, Any]) -> dict[str, Any]:
    """The options of the run in the folder. Raises RequestError where options are given that would change the run."""
    from lengthscale.bench.plan import parse
    from lengthscale.bench.plan.errors import RequestError
    from lengthscale.bench.results import resume

    own = ("resume", "minutes", "rerun", "list", "dry_run", "on", "table")
    more = to_arguments(OPTIONS, {name: value for name, value in given.items() if name not in own})
    if more:
        raise RequestError([f"--resume continues what the folder's run was started with; leave out {' '.join(more)}"])
    try:
        folder = parse.path(given["resume"])
    except ValueError as error:
        raise RequestError([f"--resume: {error}"]) from None
    recorded = from_arguments(OPTIONS, in_full(OPTIONS, resume.arguments_of(folder)))
    return {**recorded, **{name: given.get(name) for name in own[1:]}, "out": str(folder)}


COMMAND = command("run", main, ABOUT, options=OPTIONS, examples=EXAMPLES)
