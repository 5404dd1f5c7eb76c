"""A dry run: every cell is planned (compiled, not run) and its time predicted.

The smallest programs are run twice to learn the machine's speed in each series; a longer cell's time follows from its
FLOPs, which are exact, at the speed of the longest one tried.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.request import Request


def list_cells(request: Request, console: Console) -> None:
    """--list: the cells, nothing started."""
    for cell in request.cells:
        console.print(cell.key(), highlight=False, soft_wrap=True, markup=False)
    console.print(f"{len(request.cells)} cells")


def dry_run(request: Request, console: Console) -> None:
    runner = Runner(request.settings)
    table = Table(title="Planned (nothing is written)")
    for column in ("cell", "planned MB", "GFLOP a step", "predicted s a step", "predicted s", "note"):
        table.add_column(column, justify="left" if column in ("cell", "note") else "right")
    speeds: dict = {}  # FLOP/s of each series, at its longest cell that was tried
    total = 0.0
    for number, cell in enumerate(request.cells, start=1):
        if cell in request.unsupported:
            table.add_row(cell.label(), "", "", "", "", f"unsupported: {request.unsupported[cell]}")
            continue
        console.print(f"[{number}/{len(request.cells)}] planning {cell.label()}", highlight=False, markup=False)
        record = runner.plan(cell)
        if record["status"] != "ok":
            table.add_row(cell.label(), "", "", "", "", f"{record['status']}: {record['message']}")
            continue
        row = record["rows"][0]
        if row["step_s"] and row["flops"]:
            speeds[cell.series()] = row["flops"] / row["step_s"]
        speed = speeds.get(cell.series())
        step_s = row["step_s"] or (row["flops"] / speed if row["flops"] and speed else None)
        seconds = _cell_seconds(row, step_s, request.settings)
        total += seconds or 0
        late = seconds is not None and seconds > request.settings.timeout_s
        table.add_row(
            cell.label(),
            _shown(row["mem_planned_bytes"], 1e-6, ".1f"),
            _shown(row["flops"], 1e-9, ".3g"),
            _shown(step_s, 1, ".3g"),
            _shown(seconds, 1, ".1f"),
            f"over the deadline of {request.settings.timeout_s:g} s" if late else "",
        )
    console.print(table)
    console.print(f"predicted: {total / 60:.1f} minutes in all, where a prediction could be made")


def _cell_seconds(row: dict, step_s: float | None, settings) -> float | None:
    """Compiling, a warm-up and the samples; for quality its training steps."""
    if step_s is None:
        return None
    slow = step_s > settings.slow_step_s
    samples = max(settings.min_samples, min(settings.min_seconds / step_s, settings.max_samples))
    if slow:
        samples = 2 if 2 * step_s >= settings.max_seconds else settings.min_samples_slow
    calls = row["calls"] or 1 + samples
    return row["trace_s"] + row["lower_s"] + row["compile_s"] + calls * step_s


def _shown(value: float | None, scale: float, form: str) -> str:
    return "" if value is None else format(value * scale, form)
