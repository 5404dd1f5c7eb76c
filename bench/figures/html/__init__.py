"""Descriptions of figures and a run's rows in, one page out: report.html, which opens offline and loads nothing.

payload.py     a figure -> JSON for charts.js         rows.py    the CSVs' rows, as tables
comparison.py  two runs: ratios of what they share    hover.py   a row in words
claims.py      verdicts, where they are from          about.py   environment, noise, what failed, how to reproduce
sections.py    what is about one run -> HTML          page.py    all of it -> one file
command.py     `report`, and what it refuses
assets/        template, style, and what runs in the browser: charts.js, tables.js, report.js
"""

from lengthscale.bench.figures.html.command import read_folders, write_report

__all__ = ["read_folders", "write_report"]
