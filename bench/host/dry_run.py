"""A dry run: every cell is planned (compiled, not run), and its time is predicted.

The smallest programs are run twice to measure the machine's speed in each series. The time of a longer cell follows
from its FLOPs, which are exact, at the speed of the longest cell that was run. With --on, programs are compiled for a
device that need not be here; none runs, and times are predicted from below (bench/device/roofline.py).
"""

from __future__ import annotations

import os

from rich.console import Console
from rich.table import Table

from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.devices import DEVICES
from lengthscale.bench.plan.request import Request
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Planned

# Children compile for a device that is not here: jax's packages for it must not look for one, nor may XLA try kernels.
_WITHOUT_DEVICE = {
    "JAX_PLATFORMS": "cpu",
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}
_UNTUNED = "--xla_gpu_autotune_level=0"


def list_cells(request: Request, console: Console) -> None:
    """Print the cells of a request, for --list. Nothing is started."""
    for cell in request.cells:
        console.print(cell.key(), highlight=False, soft_wrap=True, markup=False)
    console.print(f"{len(request.cells)} cells")


def dry_run(request: Request, console: Console) -> None:
    """Print the planned memory, FLOPs and predicted time of each cell, for --dry-run. Nothing is written."""
    on = request.settings.on
    if on:
        os.environ |= _WITHOUT_DEVICE
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_UNTUNED}".strip()
    runner = Runner(request.settings)
    table = Table(title=f"Planned{f' for {DEVICES[on].kind}' if on else ''} (nothing is written)")
    for column in ("cell", "planned MB", "GFLOP a step", "predicted s a step", "predicted s", "note"):
        table.add_column(column, justify="left" if column in ("cell", "note") else "right", overflow="fold")
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
        notes = [f"over the deadline of {request.settings.timeout_s:g} s"] if late and not on else []
        notes += [f"remat {columns['remat']}"] if columns.get("remat", "none") != "none" else []
        notes += [f"calls {', '.join(done.content.calls_of)}"] if done.content.calls_of else []
        table.add_row(
            cell.label(),
            _shown(columns["mem_planned_bytes"], 1e-6, ".1f"),
            _shown(flops, 1e-9, ".3g"),
            _shown(step_s, 1, ".3g"),
            _shown(seconds, 1, ".1f"),
            "; ".join(notes),
        )
    console.print(table)
    if on:
        console.print(f"a step takes at least as long as predicted; rates: {DEVICES[on].source}", soft_wrap=True)
        return
    console.print(f"predicted: {total / 60:.1f} minutes for all cells that have a prediction")


def _cell_seconds(planned: Planned, step_s: float | None, settings: Settings) -> float | None:
    """The predicted seconds of a cell: compiling, a warm-up and the samples, or all training steps."""
    if step_s is None:
        return None
    calls = planned.calls or 1 + settings.samples(step_s)
    return sum(planned.columns[name] for name in ("trace_s", "lower_s", "compile_s")) + calls * step_s


def _shown(value: float | None, scale: float, form: str) -> str:
    return "" if value is None else format(value * scale, form)
