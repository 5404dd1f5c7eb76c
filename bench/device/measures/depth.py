"""Depth: the longest chain of operations that need each other, in a prefill and in a training step.

Programs are traced at their shapes (bench/device/depth.py); nothing is compiled or run, and no array is allocated, so
that a long sequence takes as little as a short one. A cell has a row for each mode. Where a kernel hides its operations
the depth is blank and the message says which one; the plain forms (`--methods`) have none. Where the cell runs in
chunks, both modes do.
"""

from __future__ import annotations

from dataclasses import replace

from lengthscale.bench.device import flops
from lengthscale.bench.device.depth import UnknownDepthError, depth_of
from lengthscale.bench.device.program import Notifier, Program, measured
from lengthscale.bench.device.shapes import program_at
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done, Samples

MODES = ("forward", "train")


def make_program(cell: Cell, settings: Settings) -> Program:
    """The program of a training step, the larger one of the two."""
    return _program("train", cell, settings)


def _program(mode: str, cell: Cell, settings: Settings) -> Program:
    return program_at(mode, cell, cell.length, cell.batch, "none" if settings.remat == "auto" else settings.remat)


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell. Raises NotImplementedError where the model does not do this."""
    rows, messages = [], []
    for mode in MODES:
        notify("trace")
        program = _program(mode, cell, settings)
        traced = program.step.trace(*program.abstract_args)
        known = program.columns(traced.out_info)
        row = {"mode": mode, "flops": flops.flops_of(traced.jaxpr), "n_params": known["n_params"]}
        if mode == "train":
            row["remat"] = known["remat"]
        try:
            row["depth"] = depth_of(traced.jaxpr)
        except UnknownDepthError as reason:
            messages.append(f"{mode}: {reason}")
        rows.append(row)
    return replace(measured(rows, Samples()), message="; ".join(messages))
