"""A dry run: every cell is planned (compiled, not run), and its time is predicted.

The smallest programs are run twice to measure the machine's speed in each series. The time of a longer cell follows
from its FLOPs, which are exact, at the speed of the longest cell that was run.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.request import Request
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Planned


def list_cells(request: Request, console: Console) -> None:
    """Print the cells of a request, for --list. Nothing is started."""
    for cell in request.cells:
        console.print(cell.key(), highlight=False, soft_wrap=True, markup=False)
    console.print(f"{len(request.cells)} cells")


def dry_run(request: Request, console: Console) -> None:
    """Print the planned memory, FLOPs and predicted time of each cell, for --dry-run. Nothing is written."""
    runner = Runner(request.settings)
    table = Table(title="Planned (nothing is written)")
    for column in ("cell", "planned MB", "GFLOP a step", "predicted s a step", "predicted s", "note"):
        table.add_column(column, justify="left" if column in ("cell", "note") else "right")
    speeds: dict = {}  # FLOP/s of each series, at its longest cell that was run
    total = 0.0
    for number, cell in enumerate(request.cells, start=1):
        if cell in request.unsupported:
            table.add_row(cell.label(), "", "", "", "", f"unsupported: {request.unsupported[cell]}")
            continue
        console.print(f"[{number}/{len(request.cells)}] planning {cell.label()}", highlight=False, markup=False)
        done = runner.plan(cell)
        if not isinstance(done.content, Planned):
            table.add_row(cell.label(), "", "", "", "", f"{done.status}: {done.message}")
            continue
        columns, step_s, flops = done.content.columns, done.content.step_s, done.content.columns["flops"]
        if step_s and flops:
            speeds[cell.series()] = flops / step_s
        speed = speeds.get(cell.series())
        step_s = step_s or (flops / speed if flops and speed else None)
        seconds = _cell_seconds(done.content, step_s, request.settings)
        total += seconds or 0
        late = seconds is not None and seconds > request.settings.timeout_s
        table.add_row(
            cell.label(),
            _shown(columns["mem_planned_bytes"], 1e-6, ".1f"),
            _shown(flops, 1e-9, ".3g"),
            _shown(step_s, 1, ".3g"),
            _shown(seconds, 1, ".1f"),
            f"over the deadline of {request.settings.timeout_s:g} s" if late else "",
        )
    console.print(table)
    console.print(f"predicted: {total / 60:.1f} minutes for all cells that have a prediction")


def _cell_seconds(planned: Planned, step_s: float | None, settings: Settings) -> float | None:
    """The predicted seconds of a cell: compiling, a warm-up and the samples, or all training steps."""
    if step_s is None:
        return None
    calls = planned.calls or 1 + settings.samples(step_s)
    return sum(planned.columns[name] for name in ("trace_s", "lower_s", "compile_s")) + calls * step_s


def _shown(value: float | None, scale: float, form: str) -> str:
    return "" if value is None else format(value * scale, form)
