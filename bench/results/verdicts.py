"""Reading claims.csv: the verdicts on the article's claims, a row for each finding."""

from __future__ import annotations

from pathlib import Path

from lengthscale.bench.results.csv_table import read_table

COLUMNS = (
    *("claim", "name", "statement", "published", "finding", "measured", "figure", "low", "high", "confidence", "n"),
    *("unit", "verdict", "decided_by", "length_min", "length_max", "device", "git_sha", "command", "note"),
)
LATER = ("published", "finding", "confidence", "n")  # columns that files of before November 2026 lack
ARTICLE = (
    "an introduction in Chinese that walks from RNN to Mamba (its sections: RNN, LSTM, GRU, Transformer, "
    "self-attention, Vision Transformer, Mamba)"
)
FILE, VERDICTS = "claims.csv", "claims.md"


def read(folder: Path) -> list[dict]:
    """The rows of the folder's file, all as text; none where there is no such file.

    A column that a file of an earlier version lacks is empty.
    """
    path = folder / FILE
    return [dict.fromkeys(LATER, "") | row for row in read_table(path).dicts()] if path.exists() else []


def overall(rows: list[dict]) -> list[dict]:
    """The first row of each claim, which is its verdict."""
    firsts: dict[str, dict] = {}
    for row in rows:
        firsts.setdefault(row["claim"], row)
    return list(firsts.values())


def estimate_text(row: dict) -> str:
    """A row's estimate as text, such as "4.9x [4.7, 5.2]" or "1,300 tokens [1,100, 1,500]".

    An interval without a width is that of an exact figure, and is not shown.
    """
    if not row["figure"]:
        return ""
    unit = row["unit"] if row["unit"] in ("", "x", "%") else f" {row['unit']}"
    interval = f" [{_short(row['low'])}, {_short(row['high'])}]" if _has_width(row) else ""
    return f"{_short(row['figure'])}{unit}{interval}"


def _has_width(row: dict) -> bool:
    return bool(row["low"] and row["high"]) and row["low"] != row["high"]


def _short(text: str) -> str:
    value = float(text)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
