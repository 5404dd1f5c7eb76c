"""CSVs in, one page out: report.html, which opens offline and asks no server for anything.

figure.py   what a plot is made of                    rows.py    the CSVs' rows, as tables
costs.py    cost against length                       hover.py   a row in words
learned.py  what length buys                          beside.py  two runs: ratios of the cells they share
claims.py   verdicts, where they are from             about.py   environment, noise, what failed, how to reproduce
sections.py what is about one run -> HTML             page.py    all of it -> one file
command.py  `report`, and what it refuses
assets/     template, style, and what runs in the browser: charts.js, tables.js, report.js
"""

from lengthscale.bench.figures.html.command import write_report

__all__ = ["write_report"]
