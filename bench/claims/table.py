"""claims.csv, and the verdicts on the screen and in claims.md."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from lengthscale.bench.analysis import text
from lengthscale.bench.claims.claim import HOLDS, NOT_DECIDED, Claim, Finding, joined
from lengthscale.bench.results.csv_table import table_of
from lengthscale.bench.results.files import replace_file
from lengthscale.bench.results.verdicts import COLUMNS, FILE, VERDICTS, estimate_text, overall, read

_COLOURS = {HOLDS: "green", NOT_DECIDED: "yellow"}


def rows_of_claim(claim: Claim, findings: list[Finding], **about: str | None) -> list[dict]:
    """Rows of COLUMNS. about: device, git_sha, command."""
    assert findings, f"claim {claim.name} found nothing"
    known = {name: getattr(claim, name) for name in ("name", "statement", "published")}
    known |= {"claim": claim.number, **about}
    return [known | finding.columns() for finding in findings]


def update(folder: Path, rows: list[dict]) -> list[dict]:
    """Put the rows of some claims into the folder's file, in place of those it has of them: all of its rows now."""
    mine = {str(row["claim"]) for row in rows}
    texts = table_of(COLUMNS, ({key: row[key] for key in COLUMNS} for row in rows)).dicts()
    all_rows = [row for row in read(folder) if row["claim"] not in mine] + texts
    all_rows.sort(key=lambda row: int(row["claim"]))  # stable: a claim's first row stays its first
    replace_file(folder / FILE, table_of(COLUMNS, all_rows).text)
    replace_file(folder / VERDICTS, markdown(all_rows))
    return all_rows


def print_verdicts(rows: list[dict], console: Console) -> None:
    """Print the claims of the rows (as `read` gives them), each with its overall verdict and its estimate."""
    table = Table(title="The article's claims", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("claim", "verdict", "found", "figure [interval]", "note"):
        table.add_column(column)
    for row in overall(rows):
        verdict = f"[{_COLOURS.get(row['verdict'], 'red')}]{row['verdict']}[/]"
        found = row["finding"] or row["measured"]
        texts = (f"{row['claim']}. {row['statement']}", found, estimate_text(row), row["note"])
        statement, found, figure, note = (each.replace("[", r"\[") for each in texts)
        table.add_row(statement, verdict, found, figure, note)
    console.print(table)


def markdown(rows: list[dict]) -> str:
    """The verdicts as a table, such as the README's; where there is none, with the reason."""
    lines = []
    for row in overall(rows):
        verdict = row["verdict"]
        if verdict == NOT_DECIDED and row["note"]:
            verdict += f" ({row['note']})"
        ours = joined(row["finding"], estimate_text(row))
        lines.append((f"{row['claim']}. {row['statement']}", row["published"], ours, verdict))
    return text.table(("claim", "published", "ours", "verdict"), lines)
