"""`validate DIR`: is a results folder complete, do its files agree, are its values possible?"""

from __future__ import annotations

import csv
import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console

from lengthscale.bench.plan.measures import MEASURES, SPEEDS
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.codec import csv_of, read_journal
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.record import SCHEMA, Record, Row
from lengthscale.bench.results.result import MEASURED, results_of

POSITIVE = (
    *("time_median_ms", "time_p10_ms", "time_p90_ms", "time_low_ms", "time_high_ms", "tokens_per_s", "n_samples"),
    *("mem_planned_bytes", "mem_peak_bytes", "n_params", "steps", "train_tokens", "learning_rate", "n_sequences"),
    *("ttft_ms", "tpot_ms", "new_tokens", "weights_bytes", "mem_peak_low_bytes", "mem_peak_high_bytes"),
    *("longest_tokens", "too_long_tokens", "largest_batch", "too_large_batch", "memory_limit_bytes", "traced_ms"),
    "operand_bytes",
    *("cores", "one_core_ms", "all_cores_ms", "speedup"),
    *SPEEDS,
)
NOT_NEGATIVE = (
    *("trace_s", "lower_s", "compile_s", "flops", "flops_per_s", "bytes_per_s", "state_bytes"),
    *("loss", "train_loss", "grad_norm", "max_difference", "largest_logit", "context", "part_ms", "activation_bytes"),
    "depth",
)
HIGHEST_SHARE = 1.3  # of the measured GEMM rate: it is measured once, and the clock rate of a CPU changes
SHARES = ("accuracy", "accuracy_low", "accuracy_high", "chance_accuracy", "part_share")
ORDERED = (
    ("time_p10_ms", "time_median_ms", "time_p90_ms"),
    ("time_low_ms", "time_median_ms", "time_high_ms"),
    *((low, name, high) for name, (low, high) in MEASURED.items()),
    ("loss_low", "loss", "loss_high"),
    ("accuracy_low", "accuracy", "accuracy_high"),
    ("grad_norm_p10", "grad_norm", "grad_norm_p90"),
)
ROUNDING = 1e-4  # relative: journals store samples to a nanosecond, CSVs have 6 digits


def validate(folder: Path) -> tuple[list[str], list[str]]:
    """(mistakes, notes) on a results folder, each a line. Notes do not make it invalid."""
    wrong, notes = [], []
    run = RunFolder(folder)
    try:
        records, facts, suite = read_journal(run.journal), run.read_environment(), run.read_suite()
    except (JournalError, OSError) as error:
        return [str(error)], []
    if not records:
        wrong.append(f"{folder} holds no {run.journal.name}, or one without a record")
    files = {run.environment: facts, run.suite: suite}
    wrong += [f"there is no {path.name}" for path, content in files.items() if content is None]
    for number, record in enumerate(records, start=1):
        wrong += [f"{run.journal.name}, line {number}: {each}" for each in _record(record, facts)]
    old = sum(record.schema != SCHEMA for record in records)
    if old:
        notes.append(
            f"{old} records are of an older schema, whose samples and CSVs are not checked: compare and plot read "
            "them, run does not add to them"
        )
    if not wrong:
        wrong += _cells(records, suite or {}, notes)
    if not wrong and not old:  # a wrong journal makes the CSVs differ, too: one mistake would be shown twice
        wrong += _tables(run, records)
    return wrong, notes


def _record(record: Record, facts: dict | None) -> list[str]:
    cell = record.cell
    if cell.measure not in MEASURES:
        return [f"unknown measure {cell.measure!r}"]
    sizes = {"length": cell.length, "batch": cell.batch}
    wrong = [f"{name} is {value!r}, not a positive number" for name, value in sizes.items() if value <= 0]
    if record.status == Status.OK and not record.rows:
        wrong.append("its status is ok, and it has no row")
    known = {*MEASURES[cell.measure].columns, "n_params"}
    for row in record.rows:
        wrong += [f"{cell.measure} has no column {name!r}" for name in row.columns() if name not in known]
        wrong += _row(row, facts)
    if record.status == Status.OK and record.rows and not wrong and record.schema == SCHEMA:
        wrong += _samples(record)
        wrong += _place_losses(record)
    return wrong


def _row(row: Row, facts: dict | None) -> list[str]:
    """Mistakes: values of a row that are impossible. A blank is never wrong."""
    wrong = []
    for name, value in row.columns().items():
        if isinstance(value, str):
            continue
        if name in POSITIVE and value <= 0:
            wrong.append(f"{name} is {value:g}, not positive")
        elif name in NOT_NEGATIVE and value < 0:
            wrong.append(f"{name} is {value:g}, negative")
        elif name in SHARES and not 0 <= value <= 1:
            wrong.append(f"{name} is {value:g}, not between 0 and 1")
    for names in ORDERED:
        values = [value for name in names if (value := getattr(row, name)) is not None]
        if any(a > b * (1 + ROUNDING) + 1e-12 for a, b in itertools.pairwise(values)):
            wrong.append(f"{' <= '.join(names)} does not hold: {', '.join(f'{value:g}' for value in values)}")
    if (row.gemm_share or 0) > HIGHEST_SHARE:
        wrong.append(f"gemm_share is {row.gemm_share:g}: more than the machine can do")
    available = (facts or {}).get("device_memory_bytes") or (facts or {}).get("memory_bytes")
    if available and (row.mem_peak_bytes or 0) > available:
        wrong.append(f"mem_peak_bytes is {row.mem_peak_bytes:g}, more than the device's {available:g}")
    return wrong


def _samples(record: Record) -> list[str]:
    """Mistakes: the first row's values do not agree with the raw samples, or with each other."""
    wrong, samples, row, cell = [], record.samples_ms, record.row, record.cell
    if samples and row.n_samples is not None:
        if len(samples) != row.n_samples:
            wrong.append(f"n_samples is {row.n_samples}, but there are {len(samples)} samples")
        elif row.time_median_ms and not math.isclose(record.median_ms() or 0, row.time_median_ms, rel_tol=ROUNDING):
            wrong.append(f"time_median_ms is {row.time_median_ms:g}, the samples' median {record.median_ms():g}")
    for name in ("waited_ms", "stolen_ms", "switches", "throttled"):
        count = len(getattr(record, name))
        if count not in (0, len(samples)):
            wrong.append(f"{name} has {count} values, for {len(samples)} samples")
    whole = dict.fromkeys(("forward", "train", "operator"), cell.length)
    tokens = {**whole, "decode": 1, "generate": row.new_tokens}.get(cell.measure)
    if tokens and row.tokens_per_s and row.time_median_ms:
        expected = tokens * cell.batch / row.time_median_ms * 1e3
        if not math.isclose(expected, row.tokens_per_s, rel_tol=ROUNDING):
            wrong.append(f"tokens_per_s is {row.tokens_per_s:g}, tokens over time_median_ms {expected:g}")
    return wrong


def _place_losses(record: Record) -> list[str]:
    """Mistakes: the losses of the places do not agree with a row's mean loss."""
    losses = record.place_losses
    if losses is None:
        return []
    if len(losses) != len(record.rows):
        return ["its place_losses do not have one list for each row"]
    wrong = []
    for mine, row in zip(losses, record.rows, strict=True):
        finite = [value for value in mine if value is not None]
        if not mine and row.n_targets is None:
            continue  # a row without places
        if len(mine) != row.n_sequences:
            wrong.append(f"n_sequences is {row.n_sequences}, but there are {len(mine)} place_losses")
        elif (len(finite) < len(mine)) != (row.loss is None):
            wrong.append("loss must be blank if, and only if, one of its place_losses is not finite")
        elif row.loss is not None and not math.isclose(np.mean(finite), row.loss, rel_tol=ROUNDING, abs_tol=1e-6):
            wrong.append(f"loss is {row.loss:g}, the mean of its place_losses {np.mean(finite):g}")
    return wrong


def _cells(records: list[Record], suite: dict, notes: list[str]) -> list[str]:
    """Mistakes: cells that the journal has twice, or that suite.json does not have. Adds a note on missing cells."""
    turns = Counter((record.cell.key(), record.replicate) for record in records)
    wrong = [
        f"journal.jsonl: {key}, replicate {replicate + 1} is there {n} times"
        for (key, replicate), n in turns.items()
        if n > 1
    ]
    keys = list(dict.fromkeys(record.cell.key() for record in records))
    planned = set(suite.get("cells", []))
    wrong += [f"journal.jsonl: {key} is not a cell of suite.json" for key in keys if key not in planned]
    missing = len(planned - set(keys))
    if missing:
        notes.append(f"{missing} of {len(planned)} cells have not been run; run --resume continues")
    return wrong


def _tables(run: RunFolder, records: list[Record]) -> list[str]:
    """Mistakes: a CSV is not what the journal gives."""
    wrong = []
    for name in MEASURES:
        mine, path = [record for record in records if record.cell.measure == name], run.csv(name)
        if not mine or not path.exists():
            wrong += [f"{path.name}: {'is missing' if mine else 'the journal has no such cells'}"] * (
                bool(mine) != path.exists()
            )
            continue
        expected = csv_of(results_of(mine))
        if path.stat().st_size > 2 * len(expected) + 1000:
            wrong.append(f"{path.name}: {path.stat().st_size} bytes, but {len(expected)} by the journal")
            continue
        wrong += _first_difference(path, expected)
    return wrong


def _first_difference(path: Path, expected: str) -> list[str]:
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        return [f"{path.name} is not text ({error})"]
    if text == expected:
        return []
    ours, theirs = (list(csv.reader(each.splitlines())) for each in (expected, text))
    for number, (want, have) in enumerate(zip(ours, theirs, strict=False), start=1):
        for column, (should, is_) in enumerate(zip(want, have, strict=False)):
            if should != is_:
                return [f"{path.name}, line {number}, {ours[0][column]}: {is_!r}, but {should!r} by the journal"]
    return [f"{path.name}: {len(theirs)} lines, but {len(ours)} by the journal"]


def run_validate(folder: Path, console: Console) -> int:
    """Print the mistakes and notes, a line each. Returns 1 if anything is wrong, else 0."""
    wrong, notes = validate(folder)
    for line in (*wrong, *(f"note: {note}" for note in notes)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    n_records = 0 if wrong else len(RunFolder(folder).results())
    verdict = f"{len(wrong)} problems" if wrong else f"valid, {n_records} cells"
    console.print(f"{folder}: {verdict}", highlight=False, markup=False, soft_wrap=True)
    return 1 if wrong else 0
