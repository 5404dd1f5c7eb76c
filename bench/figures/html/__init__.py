"""Writes the report of a run, or of two: report.html, one file that opens offline and loads nothing.

payload.py     a figure as JSON for charts.js          rows.py    the rows of the CSVs, as tables
comparison.py  the ratios of the cells of two runs     hover.py   the description of a row
claims.py      the verdicts and their origin           about.py   environment, noise, failures, how to reproduce
sections.py    the sections about one run, as HTML     page.py    the whole report, as one file
command.py     the command `report` and its checks
assets/        the template, the style, and the scripts for the browser: charts.js, tables.js, report.js
"""

from lengthscale.bench.figures.html.command import read_folders, write_report

__all__ = ["read_folders", "write_report"]
