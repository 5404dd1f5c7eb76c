"""One page that says what a run found: a single HTML file that opens offline. No jax here.

command.py   `report DIR`, `report A B`, and what they refuse     source.py    all that a folder holds, read once
page.py      the file: sections, scripts, what it may load        markup.py    elements, their text escaped
answer.py    the answer, the figures behind it, the claims        about.py     failures, environment, how to reproduce
groups.py    which plots there are: costs.py, learned.py          trace.py     what they are made of; look.py, its looks
table.py     the full table, and two runs cell by cell            assets/      what runs in the browser
"""

from __future__ import annotations

from pathlib import Path


def write_report(folder: Path, beside: Path | None = None) -> Path:
    """The file written; see bench/report/page.py. Loads plotly."""
    from bench.report import page

    return page.write_report(folder, beside)
