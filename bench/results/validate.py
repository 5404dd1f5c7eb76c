"""`validate DIR`: is a results folder whole, do its files agree, is what they say possible?"""

from __future__ import annotations

import csv
import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console

from lengthscale.bench.plan.cell import IDENTITY, Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.results import resume
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.journal import SCHEMA, STATUSES, csv_text, read_journal

POSITIVE = (
    *("time_median_ms", "time_p10_ms", "time_p90_ms", "time_low_ms", "time_high_ms", "tokens_per_s", "n_samples"),
    *("mem_planned_bytes", "mem_peak_bytes", "n_params", "steps", "train_tokens", "learning_rate", "n_sequences"),
)
NOT_NEGATIVE = (
    *("trace_s", "lower_s", "compile_s", "flops", "flops_per_s", "bytes_per_s", "state_bytes"),
    *("loss", "train_loss", "grad_norm", "max_difference", "largest_logit", "context"),
)
HIGHEST_SHARE = 1.3  # of the measured GEMM rate: peaks are measured once, and clocks change
SHARES = ("accuracy", "accuracy_low", "accuracy_high", "chance_accuracy")
ORDERED = (
    ("time_p10_ms", "time_median_ms", "time_p90_ms"),
    ("time_low_ms", "time_median_ms", "time_high_ms"),
    ("loss_low", "loss", "loss_high"),
    ("accuracy_low", "accuracy", "accuracy_high"),
    ("grad_norm_p10", "grad_norm", "grad_norm_p90"),
)
ROUNDING = 1e-4  # relative: samples are kept to a nanosecond, CSVs to 6 digits


def validate(folder: Path) -> tuple[list[str], list[str]]:
    """(what is wrong, what is worth knowing), a line each."""
    wrong, notes = [], []
    try:
        records = read_journal(folder / "journal.jsonl")
        facts = resume.read(folder / resume.ENVIRONMENT)
        suite = resume.read(folder / resume.CONFIGURATION)
    except (JournalError, OSError) as error:
        return [str(error)], []
    if not records:
        wrong.append(f"{folder} holds no journal.jsonl, or one without a record")
    files = {resume.ENVIRONMENT: facts, resume.CONFIGURATION: suite}
    wrong += [f"there is no {name}" for name, held in files.items() if held is None]
    for number, record in enumerate(records, start=1):
        wrong += [f"journal.jsonl, line {number}: {each}" for each in _record(record, facts)]
    old = sum(record.get("schema", 1) != SCHEMA for record in records)
    if old:
        notes.append(
            f"{old} records are of an older schema, whose samples and CSVs are not looked at: compare and plot read "
            "them, run does not add to them"
        )
    if not wrong:
        wrong += _cells(records, suite or {}, notes)
    if not wrong and not old:  # a CSV's difference would only say the same again
        wrong += _tables(folder, records)
    return wrong, notes


def _record(record: dict, facts: dict | None) -> list[str]:
    cell, status, rows = record["cell"], record["status"], record["rows"]
    if not isinstance(cell, dict) or set(cell) != set(IDENTITY):
        return [f"its cell is not one of {', '.join(IDENTITY)}"]
    if cell["measure"] not in MEASURES:
        return [f"unknown measure {cell['measure']!r}"]
    wrong = [f"{name} is {cell[name]!r}, not a positive number" for name in ("length", "batch") if not _is(cell[name])]
    if status not in STATUSES:
        wrong.append(f"unknown status {status!r}")
    if status == "ok" and not rows:
        wrong.append("it is ok and has no row")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return [*wrong, "its rows are no list of rows"]
    known = {*MEASURES[cell["measure"]].columns, "n_params"}
    for row in rows:
        wrong += [f"unknown column {name!r}" for name in row if name not in known]
        wrong += _row(row, facts)
    if status == "ok" and rows and not wrong and record.get("schema") == SCHEMA:
        wrong += _samples(record, rows[0])
        wrong += _window_losses(record.get("window_losses"), rows)
    return wrong


def _is(value) -> bool:
    return isinstance(value, int) and value > 0


def _row(row: dict, facts: dict | None) -> list[str]:
    """Values that cannot be. A blank says nothing, and so is never wrong."""
    wrong = []
    for name, value in row.items():
        if value is None or isinstance(value, str):
            continue
        if not isinstance(value, int | float) or not math.isfinite(value):
            wrong.append(f"{name} is {value!r}")
        elif name in POSITIVE and value <= 0:
            wrong.append(f"{name} is {value:g}, not positive")
        elif name in NOT_NEGATIVE and value < 0:
            wrong.append(f"{name} is {value:g}, negative")
        elif name in SHARES and not 0 <= value <= 1:
            wrong.append(f"{name} is {value:g}, not between 0 and 1")
    for names in ORDERED:
        values = [row[name] for name in names if row.get(name) is not None]
        if any(a > b * (1 + ROUNDING) + 1e-12 for a, b in itertools.pairwise(values)):
            wrong.append(f"{' <= '.join(names)} does not hold: {', '.join(f'{value:g}' for value in values)}")
    if (row.get("gemm_share") or 0) > HIGHEST_SHARE:
        wrong.append(f"gemm_share is {row['gemm_share']:g}: more than the machine can do")
    held = (facts or {}).get("device_memory_bytes") or (facts or {}).get("memory_bytes")
    if held and (row.get("mem_peak_bytes") or 0) > held:
        wrong.append(f"mem_peak_bytes is {row['mem_peak_bytes']:g}, more than the device's {held:g}")
    return wrong


def _samples(record: dict, row: dict) -> list[str]:
    """The row's figures against the raw samples, and against each other."""
    wrong, samples = [], record.get("samples_ms")
    if samples is not None and row.get("n_samples") is not None:
        if len(samples) != row["n_samples"]:
            wrong.append(f"n_samples is {row['n_samples']}, and there are {len(samples)} samples")
        elif samples and not math.isclose(np.median(samples), row["time_median_ms"], rel_tol=ROUNDING):
            wrong.append(f"time_median_ms is {row['time_median_ms']:g}, the samples' median {np.median(samples):g}")
    tokens = {"forward": record["cell"]["length"], "train": record["cell"]["length"], "decode": 1}
    per_call = tokens.get(record["cell"]["measure"])
    if per_call and row.get("tokens_per_s"):
        expected = per_call * record["cell"]["batch"] / row["time_median_ms"] * 1e3
        if not math.isclose(expected, row["tokens_per_s"], rel_tol=ROUNDING):
            wrong.append(f"tokens_per_s is {row['tokens_per_s']:g}, tokens over time_median_ms {expected:g}")
    return wrong


def _window_losses(losses, rows: list[dict]) -> list[str]:
    """Each row's raw losses, where there are any, against its mean."""
    if losses is None:
        return []
    if not isinstance(losses, list) or len(losses) != len(rows):
        return ["its window_losses are no list for each row"]
    wrong = []
    for mine, row in zip(losses, rows, strict=True):
        if not isinstance(mine, list) or not all(value is None or _is_number(value) for value in mine):
            wrong.append("its window_losses are no numbers")
        elif len(mine) != row.get("n_sequences"):
            wrong.append(f"n_sequences is {row.get('n_sequences')}, and there are {len(mine)} window_losses")
        elif (None in mine) != (row.get("loss") is None):
            wrong.append("a loss is blank where, and only where, one of its window_losses is not finite")
        elif None not in mine and not math.isclose(np.mean(mine), row["loss"], rel_tol=ROUNDING, abs_tol=1e-6):
            wrong.append(f"loss is {row['loss']:g}, the mean of its window_losses {np.mean(mine):g}")
    return wrong


def _is_number(value) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _cells(records: list[dict], suite: dict, notes: list[str]) -> list[str]:
    """No cell twice, none that the run does not have."""
    keys = [Cell(**record["cell"]).key() for record in records]
    wrong = [f"journal.jsonl: {key} is there {n} times" for key, n in Counter(keys).items() if n > 1]
    planned = set(suite.get("cells", []))
    wrong += [f"journal.jsonl: {key} is no cell of {resume.CONFIGURATION}" for key in keys if key not in planned]
    missing = len(planned - set(keys))
    if missing:
        notes.append(f"{missing} of {len(planned)} cells have not been run; run --resume goes on")
    return wrong


def _tables(folder: Path, records: list[dict]) -> list[str]:
    """Each CSV is what the journal gives."""
    wrong = []
    for name in MEASURES:
        mine, path = [record for record in records if record["cell"]["measure"] == name], folder / f"{name}.csv"
        if not mine or not path.exists():
            wrong += [f"{path.name}: {'is missing' if mine else 'the journal has no such cells'}"] * (
                bool(mine) != path.exists()
            )
            continue
        expected = csv_text(name, mine)
        if path.stat().st_size > 2 * len(expected) + 1000:
            wrong.append(f"{path.name}: {path.stat().st_size} bytes, and {len(expected)} by the journal")
            continue
        wrong += _first_difference(path, expected)
    return wrong


def _first_difference(path: Path, expected: str) -> list[str]:
    try:
        text = path.read_text()
    except UnicodeDecodeError as error:
        return [f"{path.name}: not text ({error})"]
    if text == expected:
        return []
    ours, theirs = (list(csv.reader(each.splitlines())) for each in (expected, text))
    for number, (want, have) in enumerate(zip(ours, theirs, strict=False), start=1):
        for column, (should, is_) in enumerate(zip(want, have, strict=False)):
            if should != is_:
                return [f"{path.name}, line {number}, {ours[0][column]}: {is_!r}, and {should!r} by the journal"]
    return [f"{path.name}: {len(theirs)} lines, and {len(ours)} by the journal"]


def run_validate(folder: Path, console: Console) -> int:
    """The command: what is wrong, a line each; 1 if anything is."""
    wrong, notes = validate(folder)
    for line in (*wrong, *(f"note: {note}" for note in notes)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    n_records = 0 if wrong else len(read_journal(folder / "journal.jsonl"))
    verdict = f"{len(wrong)} problems" if wrong else f"valid, {n_records} cells"
    console.print(f"{folder}: {verdict}", highlight=False, markup=False, soft_wrap=True)
    return 1 if wrong else 0
