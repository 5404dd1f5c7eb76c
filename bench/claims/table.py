"""claims.csv, and the verdicts on the screen and in claims.md. No jax here."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from bench.claims.claim import HOLDS, NOT_DECIDED, Claim, Finding
from bench.journal import replace_file

COLUMNS = (
    *("claim", "name", "statement", "measured", "figure", "low", "high", "unit", "verdict", "decided_by"),
    *("length_min", "length_max", "device", "git_sha", "command", "note"),
)
FILE, VERDICTS = "claims.csv", "claims.md"
_COLOURS = {HOLDS: "green", NOT_DECIDED: "yellow"}


def rows_of_claim(claim: Claim, findings: list[Finding], **about: str | None) -> list[dict]:
    """Rows of COLUMNS. about: device, git_sha, command."""
    assert findings, f"claim {claim.name} found nothing"
    known = {"claim": claim.number, "name": claim.name, "statement": claim.statement, **about}
    return [known | {key: getattr(each, key) for key in COLUMNS if hasattr(each, key)} for each in findings]


def update(folder: Path, rows: list[dict]) -> list[dict]:
    """Put the rows of some claims into the folder's file, in place of those it has of them: all of its rows now."""
    mine = {str(row["claim"]) for row in rows}
    plain = [{key: _plain(row[key]) for key in COLUMNS} for row in rows]
    all_rows = [row for row in read(folder) if row["claim"] not in mine] + plain
    all_rows.sort(key=lambda row: int(row["claim"]))  # stable: a claim's first row stays its first
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(all_rows)
    replace_file(folder / FILE, text.getvalue())
    replace_file(folder / VERDICTS, markdown(all_rows))
    return all_rows


def read(folder: Path) -> list[dict]:
    """The rows of the folder's file, all as text; none where there is no such file."""
    path = folder / FILE
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def print_verdicts(rows: list[dict], console: Console) -> None:
    """The claims that rows (as `read` gives them) are of, each with its overall verdict and the figure beside it."""
    table = Table(title="The article's claims", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("claim", "verdict", "figure [95% interval]", "measured", "note"):
        table.add_column(column)
    for row in overall(rows):
        verdict = f"[{_COLOURS.get(row['verdict'], 'red')}]{row['verdict']}[/]"
        texts = (f"{row['claim']}. {row['statement']}", figure_text(row), row["measured"], row["note"])
        statement, figure, measured, note = (text.replace("[", r"\[") for text in texts)
        table.add_row(statement, verdict, figure, measured, note)
    console.print(table)


def markdown(rows: list[dict]) -> str:
    """The verdicts as a table, such as the README's; where there is none, with the reason."""
    lines = ["| claim | verdict | figure [95% interval] | measured |", "| --- | --- | --- | --- |"]
    for row in overall(rows):
        verdict = row["verdict"]
        if verdict == NOT_DECIDED and row["note"]:
            verdict += f" ({row['note']})"
        cells = (f"{row['claim']}. {row['statement']}", verdict, figure_text(row), row["measured"])
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def overall(rows: list[dict]) -> list[dict]:
    """Of each claim the row that is its verdict: its first."""
    firsts: dict[str, dict] = {}
    for row in rows:
        firsts.setdefault(row["claim"], row)
    return list(firsts.values())


def figure_text(row: dict) -> str:
    """Such as "4.9x [4.7, 5.2]" or "1,300 tokens [1,100, 1,500]", of a row of text."""
    if not row["figure"]:
        return ""
    unit = row["unit"] if row["unit"] in ("", "x", "%") else f" {row['unit']}"
    interval = f" [{_short(row['low'])}, {_short(row['high'])}]" if row["low"] and row["high"] else ""
    return f"{_short(row['figure'])}{unit}{interval}"


def _short(text: str) -> str:
    value = float(text)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _plain(value) -> str:
    """Floats to 6 digits; None is a blank: there is no such figure."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
