"""The tables that the page sorts, filters and gives as CSV: all rows, and two runs cell by cell. No jax here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from bench import compare
from bench.cell import IDENTITY
from bench.journal import JournalError
from bench.report.markup import Markup, element, section, text_of
from bench.report.source import Source

MAIN = (  # shown at first, where there are such figures
    *("run", "measure", "model", "length", "context", "eval_length", "trained", "distance", "status"),
    *("time_median_ms", "time_low_ms", "time_high_ms", "tokens_per_s", "gemm_share", "mem_peak_bytes"),
    *("state_bytes", "loss", "accuracy", "grad_norm", "max_difference", "flags", "message"),
)
TEXTS = ("git_sha", "jax_version", "seed")  # that may be of digits alone


def all_rows(sources: list[Source]) -> dict:
    """Rows of text as they stand in the CSVs, and how they are shown."""
    rows = [{"run": source.label, **row} for source in sources for row in source.rows]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    present = [name for name in columns if any(row.get(name) for row in rows)]
    varying = [name for name in IDENTITY if name in present and len({row.get(name) for row in rows}) > 1]
    main = [name for name in present if name in MAIN or name in varying]
    return _table(present, main, [[row.get(name) or "" for name in present] for row in rows])


def pairs(a: Source, b: Source) -> tuple[dict, list[str]]:
    """The cells that both runs have, and what is to be said of them. Raises JournalError without journals."""
    found, only_a, only_b = compare.compare(a.run.folder, b.run.folder)
    columns = ["measure", "model", "length", "verdict", "ratio", "low", "high", "A_ms", "B_ms", "memory_ratio"]
    rows = []
    for pair in found:
        cell = pair.cell
        name = cell.model if cell.method == "auto" else f"{cell.model} [{cell.method}]"
        figures = (pair.ratio, pair.low, pair.high, *pair.medians_ms, pair.memory_ratio)
        written = ["" if figure is None else f"{figure:.4g}" for figure in figures]
        rows.append([cell.measure, name, str(cell.length), pair.verdict, *written])
    counts = ", ".join(f"{count} {verdict}" for verdict, count in Counter(p.verdict for p in found).most_common())
    said = [f"B beside A, cell by cell: {counts}." if found else "The two runs have no cell in common."]
    ratios = [pair.ratio for pair in found if pair.ratio is not None]
    if ratios:
        said.append(
            f"The median of all ratios of times, B over A, is {np.median(ratios):.3g}. "
            "Runs at different times are no interleaved comparison: where most cells moved alike, the machine may have."
        )
    alone = [f"{len(cells)} in {name} alone" for name, cells in (("A", only_a), ("B", only_b)) if cells]
    if alone:
        said.append(f"Cells that have no partner: {', '.join(alone)}.")
    return _table(columns, columns, rows), said


def beside(a: Source, b: Source) -> tuple[Markup, dict]:
    """The section of two runs cell by cell, and the tables it needs."""
    try:
        table, said = pairs(a, b)
    except JournalError as error:
        return section("pairs", "B over A", element("p", f"Cells cannot be compared one by one: {error}.")), {}
    parts = [element("p", sentence) for sentence in said]
    if table["rows"]:
        caption = "Ratio of medians, B over A (over 1: B is slower), with its 95% interval"
        parts.append(shell("pairs", caption, ["measure", "model", "verdict"]))
    return section("pairs", "B over A", *parts), {"pairs": table} if table["rows"] else {}


def _table(columns: list[str], main: list[str], rows: list[list[str]]) -> dict:
    numeric = [name not in TEXTS and _is_numeric(row[at] for row in rows) for at, name in enumerate(columns)]
    return {"columns": columns, "main": [columns.index(name) for name in main], "numeric": numeric, "rows": rows}


def _is_numeric(values) -> bool:
    try:
        return bool([float(value) for value in values if value])
    except ValueError:
        return False


def shell(name: str, caption: str, filters: list[str]) -> Markup:
    """What assets/table.js fills from the page's data."""
    box = element("input", type="search", id=f"{name}-filter", placeholder="such as mamba train", autocomplete="off")
    controls = [element("label", "Filter ", box)]
    for column in filters:
        choice = element("select", element("option", "all", value=""), data_column=column)
        controls.append(element("label", f"{column} ", choice))
    every = element("input", type="checkbox", class_="every")
    controls.append(element("label", every, " all columns"))
    controls.append(element("button", "Download CSV", type="button", class_="download"))
    inner = element("table", element("caption", element("span", caption)), element("thead"), element("tbody"))
    scroll = element("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)
    pages = element(
        "div",
        element("output", class_="count", aria_live="polite"),
        element("button", "Previous", type="button", class_="previous"),
        element("button", "Next", type="button", class_="next"),
        class_="pages",
    )
    script = element("noscript", element("p", "The table needs JavaScript; the CSVs beside this file hold the same."))
    form = element("form", *controls, class_="controls", aria_label=f"Filter: {caption}")
    return element("div", script, form, pages, scroll, class_="data", data_table=name)


def full(sources: list[Source]) -> tuple[Markup, dict]:
    """The section of all rows, and the tables it needs."""
    table = all_rows(sources)
    filters = [name for name in ("run", "measure", "model", "status") if name in table["columns"]]
    caption = "All rows, as the CSVs have them; a blank was not measured"
    intro = text_of("A click on a column's name sorts by it.")
    body = shell("rows", caption, filters)
    return section("table", "All rows", element("p", intro, class_="muted"), body), {"rows": table}
