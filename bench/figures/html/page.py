"""Makes the page: one file with its style, its scripts and its data.

All text from the data is escaped. The security policy in the head of the page allows nothing to be loaded and only two
scripts to run, which it identifies by their hashes. Therefore a script inside an error message never runs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from plotly.offline import get_plotlyjs

from lengthscale.bench.analysis.answer import device_name
from lengthscale.bench.figures.catalog import GROUPS
from lengthscale.bench.figures.html import about, sections
from lengthscale.bench.figures.html.comparison import Comparison
from lengthscale.bench.figures.html.payload import failure_texts, look, payload
from lengthscale.bench.figures.html.rows import Measurements, Table
from lengthscale.bench.figures.html.sections import Part
from lengthscale.bench.figures.spec import Figure
from lengthscale.bench.figures.style import DARK, LIGHT, Theme

FIRST = ("train-time", "forward-time", "decode-time")  # the first of these that exists is shown next to the answer
_SCRIPTS = ("charts.js", "tables.js", "report.js")


@dataclass(frozen=True)
class Page:
    """The contents of the page."""

    parts: list[Part]  # for each run, one or two
    figures: list[Figure]
    measured: Measurements
    tables: list[Table]  # all tables except that of the measurements
    comparison: Comparison | None = None


def html_of(page: Page) -> str:
    """The text of the page's file. The same page gives the same bytes."""
    plotly, ours = _plotly(), "\n".join(_asset(name) for name in _SCRIPTS)
    named = [figure for name in FIRST for figure in page.figures if figure.place.name == name]
    first = next(iter([*named, *page.figures]), None)
    rest = [figure for figure in page.figures if figure is not first]
    return Template(_asset("report.html")).substitute(
        policy=_policy([plotly, ours]),
        title=escape(_title(page)),
        style=f"{_theme_css()}\n{_asset('report.css')}",
        heading=_heading(page),
        nav=_nav(page),
        answer=_answer(page),
        first=_plot(first, "h3") if first else '<p class="note">No figure can be drawn from this folder.</p>',
        verdicts=_chips(page),
        groups="".join(_group(name, [figure for figure in rest if figure.place.group == name]) for name in GROUPS),
        comparison=_comparison(page.comparison) if page.comparison else "",
        claims=_claims(page),
        missing="".join(sections.missing(part, letter) for part, letter in _lettered(page)),
        environment=_environment(page),
        reproduce="".join(sections.reproduce(part, letter) for part, letter in _lettered(page)),
        data=json_of(_data(page)),
        plotly=plotly,
        script=ours,
    )


def _rounded(value: object) -> object:
    """The value with 9 digits of each float in it: those beyond are rounding, which differs between CPUs."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


def json_of(value: object) -> str:
    """The value as JSON that is safe inside <script>: nothing in it can end the script or begin a comment."""
    text = json.dumps(_rounded(value), allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _data(page: Page) -> dict:
    order = _order(page)
    return {
        "models": {model: look(model) for model in sorted(order)},
        "order": order,
        "figures": [payload(figure, page.measured.place_in(figure.place.measure)) for figure in page.figures],
        "tables": [asdict(table) for table in (page.measured.table, *page.tables)],
        "hovers": page.measured.hovers,
    }


def _order(page: Page) -> list[str]:
    """The models in the order in which they first appear, which is that of MODELS."""
    failed = [[each for each in figure.failures if each.on_axis] for figure in page.figures]
    shown = zip(page.figures, failed, strict=True)
    models = [[*figure.models().values(), *(each.model for each in bad)] for figure, bad in shown]
    return list(dict.fromkeys(model for mine in models for model in mine))


def _asset(name: str) -> str:
    return (files("lengthscale.bench.figures.html") / "assets" / name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    return get_plotlyjs().replace("\r\n", "\n")  # an HTML parser does this too, and the hash must be of its result


def _policy(scripts: Iterable[str]) -> str:
    hashes = (base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"


def _theme_css() -> str:
    dark = f"@media screen and (prefers-color-scheme: dark) {{ {_colours(DARK)} }}"
    return f"{_colours(LIGHT)}\n{dark}"


def _colours(theme: Theme) -> str:
    names = ("background", "text", "muted", "grid")
    colours = "; ".join(f"--{name}: {getattr(theme, name)}" for name in names)
    return f":root {{ color-scheme: {theme.name}; {colours}; --quiet: {theme.readable(theme.muted)} }}"


def _lettered(page: Page) -> list[tuple[Part, str]]:
    return [(part, letter if len(page.parts) == 2 else "") for part, letter in zip(page.parts, "AB", strict=False)]


def _title(page: Page) -> str:
    devices = dict.fromkeys(device_name(part.run.environment) for part in page.parts)
    return f"lengthscale: {' and '.join(devices)} ({' and '.join(map(sections.name_of, page.parts))})"


def _heading(page: Page) -> str:
    devices = list(dict.fromkeys(device_name(part.run.environment) for part in page.parts))
    where = " and ".join(escape(device) for device in devices)
    lines = [f"<h1>What does a longer sequence cost, and what does it buy? <span>{where}</span></h1>"]
    for part, letter in _lettered(page):
        facts = part.run.environment
        jax = (facts.get("packages") or {}).get("jax")
        device = [device_name(facts)] if letter else []
        shown = [sections.name_of(part), *device, f"jax {jax}", f"commit {about.commit(facts)}"]
        lines.append(f'<p class="facts">{sections.badge(letter)}{escape(" · ".join(shown))}</p>')
    return "\n".join(lines)


def _nav(page: Page) -> str:
    links = [("answer", "Answer"), ("plots", "Plots"), ("claims", "Claims"), ("table", "Table")]
    links += [("missing", "Not measured"), ("environment", "Environment"), ("reproduce", "Reproduce")]
    links[1:1] = [("comparison", "A compared with B")] if page.comparison else []
    return "".join(f'<a href="#{name}">{text}</a>' for name, text in links)


def _answer(page: Page) -> str:
    lists = []
    for part, letter in _lettered(page):
        items = "".join(f"<li>{sections.with_bold_numbers(sentence)}</li>" for sentence in part.sentences)
        head = f"<h3>{sections.badge(letter)}{escape(device_name(part.run.environment))}</h3>" if letter else ""
        lists.append(f'<div>{head}<ul class="answer">{items}</ul></div>')
    lines = "".join(f"<li>{escape(line)}</li>" for line in page.comparison.sentences) if page.comparison else ""
    both = f'<ul class="answer short">{lines}</ul>' if lines else ""
    return f'{both}<div class="answers">{"".join(lists)}</div>'


def _plot(figure: Figure, heading: str) -> str:
    models = ", ".join(figure.models())
    label = f"{figure.title}: {figure.y.label} against {figure.x.label}, of {models}. Its rows are in the table."
    failed = "".join(f"<li>{escape(each)}</li>" for each in failure_texts(figure))
    caption = " · ".join([*figure.about, *figure.notes])
    return (
        f'<figure class="plot" id="plot-{figure.place.name}"><{heading}>{escape(figure.title)}</{heading}>'
        f'<div class="canvas" role="img" aria-label="{escape(label)}"></div>'
        + (f'<ul class="failed">{failed}</ul>' if failed else "")
        + f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _group(name: str, figures: list[Figure]) -> str:
    if not figures:
        return ""
    plots = "".join(_plot(figure, "h4") for figure in figures)
    return f'<section class="group"><h3>{escape(GROUPS[name])}</h3><div class="plots">{plots}</div></section>'


def _chips(page: Page) -> str:
    """The HTML next to the first plot: the verdicts, if there are any, and the exponents."""
    growth = [sections.growth(part, letter) for part, letter in _lettered(page)]
    made = []
    for part, letter in _lettered(page):
        head = f"<h3>{sections.badge(letter)}The article's claims</h3>"
        rows = "".join(
            f'<li><a href="#claim-{letter}{escape(row["claim"])}">{sections.verdict(row["verdict"])}'
            f"<span>{escape(row['statement'])}</span></a></li>"
            for row in part.verdicts.overall
        )
        body = f'<ul class="chips">{rows}</ul>' if rows else sections.no_claims()
        made.append(f"{head}{body}{sections.source(part)}")
    tested = any(part.verdicts.rows for part in page.parts)
    return "".join([*made, *growth] if tested else [*growth, *made])


def _claims(page: Page) -> str:
    made = []
    for part, letter in _lettered(page):
        if letter:
            made.append(f"<h3>{sections.badge(letter)}{escape(sections.name_of(part))}</h3>")
        made.append(
            (sections.verdicts_table(part, letter) if part.verdicts.rows else sections.no_claims())
            + sections.source(part)
        )
    return "".join(made)


def _comparison(comparison: Comparison) -> str:
    lines = [*comparison.sentences, *(f"Different: {each}." for each in comparison.differing)]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return (
        '<section id="comparison" aria-labelledby="comparison-title"><h2 id="comparison-title">A compared with B</h2>'
        f"<ul>{items}</ul>"
        '<div class="table-tool" data-tables="ratios"></div></section>'
    )


def _environment(page: Page) -> str:
    facts = [dict(about.facts_of(part.run)) for part in page.parts]
    names = dict.fromkeys(name for each in facts for name in each)
    lines = []
    for name in names:
        values = [each.get(name, "") for each in facts]
        kind = ' class="differs"' if len(set(values)) > 1 else ""
        cells = "".join(f"<td>{escape(value)}</td>" for value in values)
        lines.append(f'<tr{kind}><th scope="row">{escape(name)}</th>{cells}</tr>')
    columns = ("", "A", "B") if len(page.parts) == 2 else ("", "value")
    made = [sections.table(columns, lines, "Environment")]
    for part, letter in _lettered(page):
        noise = "".join(f"<li>{escape(line)}</li>" for line in about.noise(part.run))
        made.append(f"<h3>{sections.badge(letter)}Noise</h3><ul>{noise}</ul>")
        packages = ", ".join(about.packages_of(part.run))
        if packages:
            made.append(
                f"<details><summary>{sections.badge(letter)}Every package</summary><p>{escape(packages)}</p></details>"
            )
    return "".join(made)


def name_of_file(a: Path, b: Path | None) -> str:
    """The name of the report's file: report.html, or for two runs a name that contains that of b."""
    if b is None:
        return "report.html"
    other = b.resolve()
    name = other.name if other.parent == a.resolve().parent else f"{other.parent.name}-{other.name}"
    return f"report-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}.html"
