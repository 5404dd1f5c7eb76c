"""The sections of the page that are about one run, as HTML. All text from the data is escaped.

The argument `letter` is "A" or "B" if two runs are compared, else "".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

from lengthscale.bench.analysis.fit import Fit
from lengthscale.bench.analysis.text import exponent
from lengthscale.bench.figures.costs import STEPS
from lengthscale.bench.figures.html import about
from lengthscale.bench.figures.html.claims import COMMAND, Verdicts
from lengthscale.bench.figures.run import Run
from lengthscale.bench.results import verdicts as claims_table

_SIGNS = {"holds": "✓", "fails": "✕", "not decided": "?", "reported": "·"}
_EXPONENT = "Exponent of the length over the last three lengths [95% interval]: 1 linear, 2 quadratic."
# A number that is followed by a unit or an interval.
_NUMBER = re.compile(r"(?<![\w.])(?:\d[\d,.]*\d|\d)(?= (?:s|ms|MB)\b|(?: tokens)? \[)")


@dataclass(frozen=True)
class Part:
    """The facts about one run that the page shows in words and tables."""

    run: Run
    sentences: list[str]
    verdicts: Verdicts
    missing: list[about.Missing]
    reproduction: about.Reproduction


def growth(part: Part, letter: str) -> str:
    """A table of the exponents of time, with a row for each model.

    It has the fits that share the size, batch, dtype and seed of the first one.
    """
    fits = [fit for fit in part.run.fits if fit.quantity == "time_ms" and fit.slope]
    if not fits:
        return ""
    fits = [fit for fit in fits if _kind(fit) == _kind(fits[0])]
    measures = [measure for measure in STEPS if any(fit.series.measure == measure for fit in fits)]
    by_model: dict[str, dict[str, Fit]] = {}
    for fit in fits:
        by_model.setdefault(fit.series.name, {})[fit.series.measure] = fit
    lines = []
    for name, mine in by_model.items():
        cells = (exponent(slope) if (slope := mine[each].slope if each in mine else None) else "" for each in measures)
        shown = "".join(f"<td>{with_bold_numbers(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{shown}</tr>')
    box = table(("", *(STEPS[measure] for measure in measures)), lines, "How time grows with length")
    return f'<h3>{badge(letter)}How time grows</h3>{box}<p class="note">{_EXPONENT}</p>'


def _kind(fit: Fit) -> tuple:
    series = fit.series
    return series.size, series.batch, series.dtype, series.seed


def no_claims() -> str:
    """The note that replaces the verdicts if no claim was tested on this device."""
    return f'<p class="note">Not tested on this device yet. That takes 20 minutes or more: <code>{COMMAND}</code></p>'


def source(part: Part) -> str:
    """A note that names the run that the verdicts are from, if it is another run; else ""."""
    home = part.verdicts.folder
    if home is None or home == part.run.folder:
        return ""
    shas = ", ".join(dict.fromkeys(row["git_sha"] for row in part.verdicts.rows))
    return f'<p class="note">From {escape(home.name)}, another run on this device (commit {escape(shas)}).</p>'


def verdict(verdict: str) -> str:
    """A verdict with its sign."""
    kind = verdict.replace(" ", "-") if verdict in _SIGNS else "not-decided"
    sign = _SIGNS.get(verdict, "?")
    return f'<span class="verdict {kind}"><span aria-hidden="true">{sign}</span> {escape(verdict)}</span>'


def verdicts_table(part: Part, letter: str) -> str:
    """A table of all findings of all claims."""
    lines, seen = [], set()
    for row in part.verdicts.rows:
        number, first = row["claim"], row["claim"] not in seen
        seen.add(number)
        head = f"<b>{escape(number)}. {escape(row['statement'])}</b>" if first else ""
        found = "; ".join(each for each in (row["finding"], row["measured"]) if each)
        place = f' id="claim-{letter}{escape(number)}" class="overall"' if first else ""
        lengths = " to ".join(dict.fromkeys(each for each in (row["length_min"], row["length_max"]) if each))
        cells = (escape(found), escape(claims_table.estimate_text(row)), verdict(row["verdict"]))
        rest = "".join(f"<td>{escape(each)}</td>" for each in (row["decided_by"], lengths, row["note"]))
        main = "".join(f"<td>{each}</td>" for each in cells)
        lines.append(f'<tr{place}><th scope="row">{head}</th>{main}{rest}</tr>')
    columns = ("claim", "measured", "estimate [interval]", "verdict", "decided by", "lengths", "note")
    article = f'<p class="note">The article is {escape(claims_table.ARTICLE)}.</p>'
    return article + table(columns, lines, "The article's claims, tested")


def missing(part: Part, letter: str) -> str:
    """A table of what was not measured, and why."""
    head = f"<h3>{badge(letter)}{escape(name_of(part))}</h3>" if letter else ""
    if not part.missing:
        return f"{head}<p>Nothing: every cell of this run is ok.</p>"
    lines = [
        "<tr>"
        + "".join(f"<td>{escape(text)}</td>" for text in (each.measure, each.name, each.status, each.where, each.stage))
        + f'<td class="message">{escape(each.message)}</td></tr>'
        for each in part.missing
    ]
    columns = ("measure", "model", "status", "at lengths", "stage", "why")
    return head + table(columns, lines, "What was skipped or failed, and why")


def reproduce(part: Part, letter: str) -> str:
    """The commands and notes that reproduce the run, and its settings."""
    head = f"<h3>{badge(letter)}{escape(name_of(part))}</h3>" if letter else ""
    lines = escape("\n".join(part.reproduction.lines))
    notes = "".join(f"<li>{escape(note)}</li>" for note in part.reproduction.notes)
    settings = escape(about.settings_of(part.run))
    return (
        f'{head}<pre class="box" tabindex="0"><code>{lines}</code></pre>'
        + (f"<ul>{notes}</ul>" if notes else "")
        + f'<details><summary>{badge(letter)}Settings of the run (suite.json)</summary><pre class="box" tabindex="0">'
        f"{settings}</pre></details>"
    )


def with_bold_numbers(sentence: str) -> str:
    """The sentence as HTML, with its numbers in bold."""
    made, at = [], 0
    for match in _NUMBER.finditer(sentence):
        made.append(escape(sentence[at : match.start()]))
        made.append(f"<b>{escape(match[0])}</b>")
        at = match.end()
    return "".join([*made, escape(sentence[at:])])


def badge(letter: str) -> str:
    """The letter of a run as HTML; "" if the page is about one run."""
    return f'<b class="letter">{letter}</b> ' if letter else ""


def name_of(part: Part) -> str:
    """The name of the run's folder."""
    return part.run.folder.resolve().name


def table(columns: Iterable[str], lines: Iterable[str], label: str) -> str:
    """A table in a box that scrolls, also by keyboard, so that the page itself need not scroll sideways.

    columns: names. lines: rows as HTML. label: the name of the table for screen readers.
    """
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    return (
        f'<div class="box" tabindex="0" role="region" aria-label="{escape(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )
