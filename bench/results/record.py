"""The record of a cell. A record has rows, a row has columns; only codec.py writes and reads them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.disturbance import OTHER_CORES, usable

# Of records. Schema 1 had no field for it, no samples by rounds and no shares of the machine's rates; schema 2 had one
# record for each cell, whose samples were taken in rounds by one process.
SCHEMA = 3


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The numbers that a cell gives. Units are in the names; None means "not measured".

    bench/plan/measures.py lists the columns of each measure. A cell that gives several points (quality: one for each
    context) has several rows.
    """

    n_params: int | None = None
    # time of a call
    time_median_ms: float | None = None
    time_p10_ms: float | None = None
    time_p90_ms: float | None = None
    time_low_ms: float | None = None
    time_high_ms: float | None = None
    time_all_ms: float | None = None
    n_samples: int | None = None
    n_disturbed: int | None = None
    n_replicates: int | None = None
    tokens_per_s: float | None = None
    flags: str | None = None
    # the program
    trace_s: float | None = None
    lower_s: float | None = None
    compile_s: float | None = None
    flops: int | None = None
    precision: str | None = None
    flops_per_s: float | None = None
    gemm_share: float | None = None
    bytes_per_s: float | None = None
    mem_planned_bytes: int | None = None
    mem_peak_bytes: int | None = None
    mem_peak_low_bytes: float | None = None
    mem_peak_high_bytes: float | None = None
    mem_source: str | None = None
    joules_per_token: float | None = None
    joules_per_token_low: float | None = None
    joules_per_token_high: float | None = None
    energy_source: str | None = None
    sm_clock_mhz: float | None = None
    throttle_reasons: str | None = None
    state_bytes: int | None = None
    # generation
    ttft_ms: float | None = None
    ttft_low_ms: float | None = None
    ttft_high_ms: float | None = None
    tpot_ms: float | None = None
    tpot_low_ms: float | None = None
    tpot_high_ms: float | None = None
    new_tokens: int | None = None
    weights_bytes: int | None = None
    activation_bytes: int | None = None
    # the operator alone
    operand_bytes: int | None = None
    calls: str | None = None
    # training
    remat: str | None = None
    train_loss: float | None = None
    train_tokens: int | None = None
    steps: int | None = None
    learning_rate: float | None = None
    warmup: float | None = None
    recipe: str | None = None
    seen_tokens: int | None = None
    seen_s: float | None = None
    seen_loss: float | None = None
    # held-out data
    context: int | None = None
    control: str | None = None
    n_items: int | None = None
    eval_length: int | None = None
    loss: float | None = None
    loss_low: float | None = None
    loss_high: float | None = None
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    chance_loss: float | None = None
    chance_accuracy: float | None = None
    n_sequences: int | None = None
    n_targets: int | None = None
    gain_from: int | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    # gradients
    trained: int | None = None
    distance: int | None = None
    grad_norm: float | None = None
    grad_norm_p10: float | None = None
    grad_norm_p90: float | None = None
    # agreement
    max_difference: float | None = None
    largest_logit: float | None = None
    # discretisation
    dt: float | None = None
    largest_z: float | None = None
    transition_error: float | None = None
    held_error: float | None = None
    ramp_error: float | None = None
    # resampling
    rate: float | None = None
    dt_factor: float | None = None
    dt_p10: float | None = None
    dt_median: float | None = None
    dt_p90: float | None = None
    # breakdown
    mode: str | None = None
    part: str | None = None
    part_ms: float | None = None
    part_share: float | None = None
    traced_ms: float | None = None
    profiler_ms: float | None = None
    untraced_ms: float | None = None
    traced_steps: int | None = None
    breakdown_source: str | None = None
    # the frontier; its mode is above
    longest_tokens: int | None = None
    longest_how: str | None = None
    too_long_tokens: int | None = None
    largest_batch: int | None = None
    largest_batch_how: str | None = None
    longest_tokens_per_s: float | None = None
    batch_tokens_per_s: float | None = None
    too_large_batch: int | None = None
    batch_planned_bytes: int | None = None
    memory_limit_bytes: int | None = None
    # depth; its mode is above
    depth: int | None = None
    # speedup
    cores: int | None = None
    one_core_ms: float | None = None
    all_cores_ms: float | None = None
    speedup: float | None = None

    def number(self, name: str) -> float:
        """The value of a column. Raises ValueError where it was not measured."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"{name} was not measured")
        return value

    def columns(self) -> dict[str, Any]:
        """The columns that were measured, by their names."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}


def row_of(columns: dict[str, Any]) -> Row:
    """A row with these columns. NaN and infinity become blanks, since they are not measured values.

    Raises TypeError for an unknown column.
    """
    return Row(**{name: None if _not_finite(value) else value for name, value in columns.items()})


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


class Conditions(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a row was measured on: the part of the environment that every row repeats."""

    device_kind: str | None = None
    platform: str | None = None
    n_devices: int | None = None
    n_cpus: int | None = None
    jax_version: str | None = None
    git_sha: str | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The outcome of one replicate of a cell: a line of the journal. results/result.py combines a cell's replicates."""

    schema: int = 1
    cell: Cell
    replicate: int = 0  # counted from 0; each is a process of its own
    status: Status
    stage: str = ""  # where a cell that is not ok ended
    message: str = ""
    rows: tuple[Row, ...]  # empty for a cell that failed; its CSV has a row for it nevertheless
    # Raw samples, in the order in which they were taken. The others are empty where the system does not tell.
    samples_ms: tuple[float, ...] = ()
    waited_ms: tuple[float, ...] = ()  # the time for which the process's threads together waited for a core
    stolen_ms: tuple[float, ...] = ()  # the time that the host of a virtual machine took away
    switches: tuple[int, ...] = ()  # how often a thread was made to leave its core; at the last sample of a burst
    throttled: tuple[str, ...] = ()  # why the GPU was slowed down; "" where it was not
    other_cores: float | None = None  # that other processes used meanwhile, on average
    # On a stream: for each row, the mean loss of each place (data/targets.py; None: not finite), so that rows can be
    # compared in pairs; empty for a row without places. Journals call it by its former name.
    place_losses: tuple[tuple[float | None, ...], ...] | None = msgspec.field(default=None, name="window_losses")
    wall_s: float | None = None
    stages_s: dict[str, float] = {}  # of it, the seconds of each stage
    load_before: float | None = None  # of the machine, when the cell began
    load_after: float | None = None
    environment: Conditions | None = None

    @property
    def row(self) -> Row:
        """The first row; an empty one where the cell failed."""
        return self.rows[0] if self.rows else Row()

    def median_ms(self) -> float | None:
        """The median of the usable samples (results/disturbance.py); None where there are none."""
        return float(np.median(self._usable[0])) if self.samples_ms else None

    @property
    def is_disturbed(self) -> bool:
        """Whether the median includes disturbed samples, or other processes were busy."""
        return self._usable[1] or (self.other_cores or 0.0) > OTHER_CORES

    @property
    def _usable(self) -> tuple[list[float], bool]:
        return usable(self)


def not_run(cell: Cell, status: Status, reason: str, stage: str = "plan") -> Record:
    """The record of a cell for which no child was started, which has no other replicate. reason: its message."""
    return Record(schema=SCHEMA, cell=cell, status=status, stage=stage, message=reason, rows=())
