"""A run in one table: how far each model came, what it took there, and how the cost grows."""

from __future__ import annotations

import math
from itertools import groupby
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from lengthscale.bench.results.journal import replace_file

COLUMNS = ("measure", "model", "L", "ms", "tokens/s", "growth", "peak MB", "state KB", "loss", "not ok")


def summarise(records: list[dict]) -> list[dict]:
    """A row for each curve. growth: the log-log slope between its last two lengths, 1 linear, 2 quadratic."""
    curves: dict[tuple, list[dict]] = {}
    for record in records:
        cell = record["cell"]
        name = cell["model"] + ("" if cell["method"] == "auto" else f" [{cell['method']}]")
        curves.setdefault((cell["measure"], f"{name} {size_name(cell['size'])}"), []).append(record)
    return [_curve(measure, name, mine) for (measure, name), mine in curves.items()]


def _curve(measure: str, name: str, records: list[dict]) -> dict:
    good = sorted((r for r in records if r["status"] == "ok"), key=lambda r: r["cell"]["length"])
    bad = [r for r in records if r["status"] != "ok"]
    table = dict.fromkeys(COLUMNS)
    table |= {"measure": measure, "model": name, "not ok": ", ".join(sorted({r["status"] for r in bad}))}
    if good:
        rows = good[-1]["rows"]
        row = next((row for row in reversed(rows) if row.get("context") and not row.get("control")), rows[-1])
        table |= {
            "L": good[-1]["cell"]["length"],
            "ms": _digits(row["time_median_ms"]),
            "tokens/s": _digits(row["tokens_per_s"]),
            "growth": _growth(good) if measure != "quality" else None,
            "peak MB": _digits((row["mem_peak_bytes"] or 0) / 1e6 or None),
            "state KB": _digits(row["state_bytes"] / 1e3) if row.get("state_bytes") else None,
            "loss": _digits(row["loss"]) if measure == "quality" else None,
        }
    return table


def size_name(size: str) -> str:
    """Of a checkpoint its folder's name."""
    return Path(size).name


def _growth(good: list[dict]) -> str | None:
    if len(good) < 2:
        return None
    (l1, t1), (l2, t2) = [(r["cell"]["length"], r["rows"][0]["time_median_ms"]) for r in good[-2:]]
    return f"{math.log(t2 / t1) / math.log(l2 / l1):.2f}"


def print_summary(rows: list[dict], console: Console) -> None:
    """A table for each measure, of the columns that it has."""
    console.print("At each curve's longest length L (growth: log-log slope over its last two lengths)")
    for measure, group in groupby(rows, key=lambda row: row["measure"]):
        mine = list(group)
        columns = [c for c in COLUMNS[1:] if c in ("model", "L") or any(row[c] not in (None, "") for row in mine)]
        table = Table(title=measure, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in columns:
            table.add_column(column, justify="left" if column in ("model", "not ok") else "right", no_wrap=True)
        for row in mine:
            table.add_row(*("" if row[column] is None else str(row[column]) for column in columns))
        console.print(table)


def print_fits(fits: list[dict], crossovers: list[dict], console: Console) -> None:
    """How each quantity grows, and where the times of two models cross."""
    for (measure, quantity), group in groupby(sorted(fits, key=_quantity), key=_quantity):
        table = _table(f"{measure}: {quantity}", ("model",), ("exponent", "95%", "a : b L : c L²", "points", "to L"))
        for row in group:
            name = f"{row['model']} {size_name(row['size'])}" + (
                "" if row["method"] == "auto" else f" [{row['method']}]"
            )
            figures = [f"{row['slope']:.2f}", "", ""] if row["status"] == "ok" else [row["status"], "", ""]
            if row["slope_low"] is not None:
                figures[1] = f"{row['slope_low']:.2f} to {row['slope_high']:.2f}"
            if row["share_a"] is not None:
                figures[2] = " : ".join(f"{row[share]:.0%}" for share in ("share_a", "share_b", "share_c"))
            table.add_row(name, *figures, str(row["n_points"]), str(row["length_max"]))
        console.print(table)
    table = _table("where times cross", ("measure", "cheaper before", "and beyond", ""), ("at L", "95%"))
    for row in crossovers:
        if row["quantity"] == "time_ms":
            interval = ""
            if row["status"] == "crosses":
                interval = " to ".join(_digits(row[key]) or "?" for key in ("length_low", "length_high"))
            names = (row["measure"], row["model_short"], row["model_long"])
            table.add_row(*names, row["status"], _digits(row["length"]) or "", interval)
    console.print(table)


def _quantity(row: dict) -> tuple[str, str]:
    return row["measure"], row["quantity"]


def _table(title: str, names: tuple[str, ...], figures: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in names:
        table.add_column(column, no_wrap=True)
    for column in figures:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def write_summary(rows: list[dict], folder: Path) -> None:
    """summary.md, for people and for the README."""
    lines = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    lines += [" | ".join("" if row[column] is None else str(row[column]) for column in COLUMNS) for row in rows]
    replace_file(folder / "summary.md", "".join(f"| {line} |\n" for line in lines))


def _digits(value: float | None) -> str | None:
    if value is None:
        return None
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
