"""A dry run: every cell is planned (compiled, not run), and its time is predicted.

The smallest programs are run twice to measure the machine's speed in each series. The time of a longer cell follows
from its FLOPs, which are exact, at the speed of the longest cell that was run. With --on, programs are compiled for a
device that need not be here; none runs, and times are predicted from below (bench/device/roofline.py).
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.cell import IDENTITY, Cell
from lengthscale.bench.plan.devices import DEVICES
from lengthscale.bench.plan.request import Request
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.csv_table import table_of
from lengthscale.bench.results.files import replace_file
from lengthscale.bench.results.messages import Planned

COLUMNS = (
    *("device", *IDENTITY, "status", "message", "precision", "remat"),
    *("mem_planned_bytes", "flops", "kernels", "moved_bytes", "step_ms", "calls"),
)

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
    """Print the planned memory, FLOPs and predicted time of each cell, for --dry-run; write them where asked (--table).

    Raises OSError where the table cannot be written.
    """
    on = request.settings.on
    if on:
        os.environ |= _WITHOUT_DEVICE
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_UNTUNED}".strip()
    plans = _plans(request, console)
    table = Table(title=f"Planned{f' for {DEVICES[on].kind}' if on else ''}")
    for column in ("cell", "planned MB", "GFLOP a step", "predicted s a step", "predicted s", "note"):
        table.add_column(column, justify="left" if column in ("cell", "note") else "right", overflow="fold")
    for each in plans:
        table.add_row(
            each.cell.label(),
            _shown(each.columns.get("mem_planned_bytes"), 1e-6, ".1f"),
            _shown(each.columns.get("flops"), 1e-9, ".3g"),
            _shown(each.step_s, 1, ".3g"),
            _shown(each.cell_s, 1, ".1f"),
            "; ".join(each.notes(request.settings)),
        )
    console.print(table)
    if request.table:
        replace_file(request.table, table_of(COLUMNS, (each.row(on) for each in plans)).text)
    if on:
        console.print(f"a step takes at least as long as predicted; rates: {DEVICES[on].source}", soft_wrap=True)
        return
    total = sum(each.cell_s or 0 for each in plans)
    console.print(f"predicted: {total / 60:.1f} minutes for all cells that have a prediction")


@dataclass(frozen=True)
class _Plan:
    """What is known of one cell before it is run."""

    cell: Cell
    status: str
    message: str = ""
    planned: Planned | None = None
    step_s: float | None = None
    cell_s: float | None = None

    @property
    def columns(self) -> dict[str, Any]:
        return self.planned.columns if self.planned else {}

    def notes(self, settings: Settings) -> list[str]:
        if self.planned is None:
            return [f"{self.status}: {self.message}"]
        limit = settings.of(self.cell.measure, self.cell.size).timeout_s
        late = self.cell_s is not None and self.cell_s > limit and not settings.on
        notes = [f"over the deadline of {limit:g} s"] if late else []
        notes += [f"remat {self.columns['remat']}"] if self.columns.get("remat", "none") != "none" else []
        return notes + ([f"calls {', '.join(self.planned.calls_of)}"] if self.planned.calls_of else [])

    def row(self, on: str) -> dict[str, Any]:
        """Its row in the table."""
        known = {name: self.columns.get(name) for name in ("precision", "remat", "mem_planned_bytes", "flops")}
        known |= {"step_ms": self.step_s * 1e3} if self.step_s is not None else {}
        if self.planned:
            kernels = {"kernels": self.planned.n_kernels, "moved_bytes": self.planned.moved_bytes}
            known |= {**kernels, "calls": " ".join(self.planned.calls_of)}
        return {**asdict(self.cell), "device": on, "status": self.status, "message": self.message, **known}


def _plans(request: Request, console: Console) -> list[_Plan]:
    """The plan of each cell, in the request's order."""
    runner = Runner(request.settings)
    speeds: dict = {}  # FLOP/s of each series, at its longest cell that was run
    plans = []
    for number, cell in enumerate(request.cells, start=1):
        if cell in request.unsupported:
            plans.append(_Plan(cell, Status.UNSUPPORTED, request.unsupported[cell]))
            continue
        console.print(f"[{number}/{len(request.cells)}] planning {cell.label()}", highlight=False, markup=False)
        done = runner.plan(cell)
        if not isinstance(done.content, Planned):
            plans.append(_Plan(cell, done.status, done.message))
            continue
        step_s, flops = done.content.step_s, done.content.columns["flops"]
        if step_s and flops:
            speeds[cell.series()] = flops / step_s
        speed = speeds.get(cell.series())
        step_s = step_s or (flops / speed if flops and speed else None)
        settings = request.settings.of(cell.measure, cell.size)
        plans.append(_Plan(cell, Status.OK, "", done.content, step_s, _cell_seconds(done.content, step_s, settings)))
    return plans


def _cell_seconds(planned: Planned, step_s: float | None, settings: Settings) -> float | None:
    """The predicted seconds of a cell: compiling, a warm-up and the samples, or all training steps."""
    if step_s is None:
        return None
    calls = planned.calls or 1 + settings.samples(step_s)
    return sum(planned.columns[name] for name in ("trace_s", "lower_s", "compile_s")) + calls * step_s


def _shown(value: float | None, scale: float, form: str) -> str:
    return "" if value is None else format(value * scale, form)
