"""A run in one table: the longest length of each series, the cost there, and how the cost grows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from lengthscale.bench.analysis import text
from lengthscale.bench.analysis.crossover import Crossing
from lengthscale.bench.analysis.fit import Fit
from lengthscale.bench.analysis.learned import LEARNED
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.series import SeriesKey, distinctions, size_name
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.files import replace_file
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.result import Result

COLUMNS = (
    "measure",
    "model",
    "L",
    "ms",
    "95%",
    "TTFT ms",
    "TPOT ms",
    "tokens/s",
    "growth",
    "FLOPs",
    "peak MB",
    "state KB",
    "loss",
    "accuracy",
    "flags",
    "not ok",
)
WIDE = 110  # characters of a console


def summarise(results: list[Result], fits: list[Fit]) -> list[dict[str, Any]]:
    """A row of COLUMNS for each series, at its longest length L. TTFT, TPOT: time to first token, per output token.

    Where models learn, L is the training length with the lowest training loss. accuracy: on a task, at L.
    growth, FLOPs: the exponents of its time and of its FLOPs in fits.csv. flags: those of the cell. A measure without
    times, whose numbers have no column here, has a row only where a cell is not ok.
    """
    series: dict[SeriesKey, list[Result]] = {}
    for result in results:
        series.setdefault(result.cell.series(), []).append(result)
    words = distinctions(series)
    times = {fit.series: fit for fit in fits if fit.quantity == "time_ms"}
    rows = [_row(key, words[key], mine, times.get(key)) for key, mine in series.items()]
    return [row for row in rows if "time_median_ms" in MEASURES[row["measure"]].columns or row["not ok"]]


def _row(key: SeriesKey, distinction: str, results: list[Result], fit: Fit | None) -> dict[str, Any]:
    """The row of one series. distinction: from others of its model and size, as of `distinctions`."""
    good = sorted((each for each in results if each.status == Status.OK), key=lambda each: each.cell.length)
    bad = {str(each.status) for each in results if each.status != Status.OK}
    name = f"{key.name} {size_name(key.size)}" + (f", {distinction}" if distinction else "")
    columns = dict.fromkeys(COLUMNS) | {"measure": key.measure, "model": name, "not ok": ", ".join(sorted(bad))}
    if good:
        shown = min(good, key=lambda each: each.row.train_loss or math.inf) if key.measure in LEARNED else good[-1]
        rows = shown.rows
        scored = [row for row in rows if row.seen_tokens is None and row.n_items is None] or list(rows)
        at_length = scored[0] if MEASURES[key.measure].on_tasks else scored[-1]
        row = next((row for row in reversed(scored) if row.context and not row.control), at_length)
        columns |= {
            "L": shown.cell.length,
            "ms": _number(row.time_median_ms),
            "TTFT ms": _number(row.ttft_ms),
            "TPOT ms": _number(row.tpot_ms),
            "tokens/s": _number(row.tokens_per_s),
            "95%": _interval(row.time_low_ms, row.time_high_ms),
            "growth": text.slope(fit.slope.value) if fit and fit.slope else None,
            "FLOPs": text.slope(fit.flops_slope) if fit and fit.flops_slope is not None else None,
            "flags": row.flags,
            "peak MB": _number(row.mem_peak_bytes and row.mem_peak_bytes / 1e6),
            "state KB": _number(row.state_bytes and row.state_bytes / 1e3),
            "loss": _number(row.loss) if key.measure in LEARNED else None,
            "accuracy": _accuracy(shown) if MEASURES[key.measure].on_tasks else None,
        }
    return columns


def _accuracy(result: Result) -> str | None:
    """The accuracy at the training length."""
    at = (row for row in result.rows if row.eval_length == result.cell.length and row.n_items is None)
    accuracy = next((row.accuracy for row in at), None)
    return None if accuracy is None else f"{accuracy:.0%}"


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{text.number(low)} to {text.number(high)}"


def _number(value: float | None) -> str | None:
    return None if value is None else text.number(value)


def _columns_of(rows: list[dict[str, Any]]) -> list[str]:
    """The columns in which a row has something, and those that name a row."""
    return [c for c in COLUMNS if c in ("measure", "model", "L") or any(row[c] not in (None, "") for row in rows)]


def print_summary(rows: list[dict[str, Any]], console: Console) -> None:
    """Print a table for each measure, with the columns that it has. rows: of `summarise`.

    The intervals are shown where the console is wide enough; summary.md has them.
    """
    if not rows:
        return
    console.print(
        "At each series' longest length L (growth, FLOPs: the exponents of time and work over its last three lengths)"
    )
    for measure, group in groupby(rows, key=lambda row: row["measure"]):
        mine = list(group)
        columns = [column for column in _columns_of(mine)[1:] if column != "95%" or console.width >= WIDE]
        table = Table(title=measure, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in columns:
            table.add_column(column, justify="left" if column in ("model", "not ok") else "right", no_wrap=True)
        for row in mine:
            table.add_row(*("" if row[column] is None else str(row[column]) for column in columns))
        console.print(table)


def print_fits(fits: list[Fit], crossings: list[Crossing], console: Console) -> None:
    """Print how each quantity grows, and where the times of two models cross."""
    words = distinctions(fit.series for fit in fits)
    for (measure, quantity), group in groupby(sorted(fits, key=_quantity), key=_quantity):
        table = _table(f"{measure}: {quantity}", ("model",), ("exponent", "95%", "a : b L : c L²", "points", "to L"))
        for fit in group:
            series = fit.series
            method = "" if series.method == "auto" else f" [{series.method}]"
            name = f"{series.model} {size_name(series.size)}{method}"
            name += f", {words[series]}" if words[series] else ""
            estimates = [text.slope(fit.slope.value) if fit.slope else fit.status, "", ""]
            if fit.slope and fit.slope.interval:
                estimates[1] = " to ".join(map(text.slope, fit.slope.interval))
            if fit.shares:
                estimates[2] = " : ".join(f"{share:.0%}" for share in fit.shares)
            table.add_row(name, *estimates, str(fit.n_points), str(fit.length_max))
        console.print(table)
    table = _table("where times cross", ("measure", "cheaper before", "and beyond", ""), ("at L", "95%"))
    for crossing in crossings:
        if crossing.quantity == "time_ms":
            at = crossing.length
            interval = " to ".join(_number(end) or "?" for end in (at.low, at.high)) if at else ""
            names = (crossing.series.measure, crossing.model_short, crossing.model_long)
            table.add_row(*names, crossing.status, _number(at.value) if at else "", interval)
    console.print(table)


def _quantity(fit: Fit) -> tuple[str, str]:
    return fit.series.measure, fit.quantity


def _table(title: str, names: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in names:
        table.add_column(column, no_wrap=True)
    for column in numbers:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def write_summary(rows: list[dict[str, Any]], folder: Path, below: Iterable[str] = ()) -> None:
    """Write summary.md. rows: of `summarise`. below: what has no column, paragraphs below the table."""
    columns = _columns_of(rows)
    table = text.table(columns, ([row[column] for column in columns] for row in rows))
    replace_file(RunFolder(folder).summary, table + "".join(f"\n{paragraph}\n" for paragraph in below))
