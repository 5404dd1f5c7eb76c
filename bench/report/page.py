"""The page as one file: its sections, its scripts and style, and a policy that lets it load nothing. No jax here."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from plotly.offline import get_plotlyjs

from bench.journal import replace_file
from bench.plots.style import THEMES, Theme
from bench.report import about, answer, look, table
from bench.report.groups import Group, groups
from bench.report.markup import Markup, element, json_block, section, text_of
from bench.report.source import Source, read_source

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("rows.js", "plots.js", "table.js")
NAMES = {  # of sections, in the page's navigation
    "answer": "Answer",
    "pairs": "B over A",
    "claims": "Claims",
    "plots": "Plots",
    "fits": "Exponents",
    "table": "All rows",
    "failures": "Failures",
    "environment": "Environment",
    "reproduce": "Reproduce",
}


def write_report(
    folder: Path, beside: Path | None = None, *, out: Path | None = None, claims: Path | None = None
) -> Path:
    """The file written: <folder>/report.html, or report-vs-<beside's name>.html of two. Fits that are missing are made.

    claims: the folder of claims.csv, if it is another one. Raises JournalError where a folder holds no results.
    """
    sources = [read_source(folder, claims, "A" if beside else "")]
    if beside:
        sources.append(read_source(beside, label="B", first=len(sources[0].rows)))
    name = f"report-vs-{beside.resolve().name}.html" if beside else "report.html"
    path = out or folder / name
    replace_file(path, _page(sources))
    return path


def _page(sources: list[Source]) -> str:
    plots = groups(sources)
    every, tables = table.full(sources)
    sections = [answer.answers(sources)]
    if len(sources) == 2:
        compared, more = table.beside(*sources)
        sections, tables = [*sections, compared], {**tables, **more}
    sections += [answer.claims(sources), _plots(plots), answer.fits(sources), every]
    sections += [about.failures(sources), about.environment(sources), about.reproduce(sources)]
    data = {"tables": tables, "plots": _plots_data(plots), "templates": look.templates()}
    body = text_of(
        element("a", "Skip to the answer", class_="skip", href="#answer"),
        _header(sources, [name for name in NAMES if name != "pairs" or len(sources) == 2]),
        element("main", *sections),
        element("footer", "Made by lengthscale: ", element("code", "./run_bench.sh report")),
        element("div", id="row", role="tooltip", hidden=True),
        element("p", id="said", class_="hidden", aria_live="polite"),
        json_block("page-data", data),
    )
    title = " beside ".join(source.device for source in sources)
    return _document(f"What length costs: {title}", body)


def _document(title: str, body: Markup) -> str:
    scripts = [get_plotlyjs(), "".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS)]
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in scripts)
    policy = f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:"
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    head = text_of(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        Markup(f"<style>{_variables()}{style}</style>"),
    )
    ran = Markup("".join(f"<script>{script}</script>" for script in scripts))
    html = element("html", element("head", head), element("body", body, ran), lang="en")
    return f"<!doctype html>\n{html}\n"


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _variables() -> str:
    """The house style's colours for the style sheet; paper is light."""

    def of(theme: Theme) -> str:
        return "".join(f"--{name}:{getattr(theme, name)};" for name in ("background", "text", "muted", "grid"))

    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{of(THEMES['dark'])}}}}}"
    return f":root{{{of(THEMES['light'])}}}{dark}"


def _header(sources: list[Source], names: list[str]) -> Markup:
    links = [element("a", NAMES[name], href=f"#{name}") for name in names]
    if len(sources) == 2:
        title = text_of("What length costs: ", element("span", "A", class_="run"), " beside ")
        heading = element("h1", title, element("span", "B", class_="run"))
    else:
        heading = element("h1", f"What length costs on {sources[0].device}")
    lines = []
    for source in sources:
        run = element("span", source.label, class_="run") if source.label else None
        lines.append(element("p", run, f" {source.name} · {source.about}", class_="muted"))
    return element("header", heading, *lines, element("nav", *links, aria_label="Sections"))


def _plots(made: list[Group]) -> Markup | None:
    said = "A name hides and shows its curves in all plots. A point shows its row; the arrow keys walk the points."
    script = element("noscript", element("p", "The plots need JavaScript; plots/ beside this file has them as images."))
    parts = [element("p", said, class_="muted screen"), script]
    for group in made:
        plots = [_plot(f"{group.name}-{at}", group, at) for at in range(len(group.plots))]
        heading = element("h3", group.title)
        parts.append(element("div", heading, _legend(group), element("div", *plots, class_="plots"), class_="group"))
    return section("plots", "Plots", *parts) if made else None


def _legend(group: Group) -> Markup:
    labels = {trace.meta["source"] for plot in group.plots for trace in plot.figure.data}
    keys = [
        element("button", look.swatch(None, label == "B"), f" {label}", type="button", data_source=label, aria_pressed="true")
        for label in sorted(labels)
        if label
    ]
    keys += [
        element("button", look.swatch(model), f" {name}", type="button", data_name=name, aria_pressed="true")
        for name, model in group.legend.items()
    ]
    return element("div", *keys, class_="legend", role="group", aria_label=f"{group.title}: curves shown")


def _plot(name: str, group: Group, at: int) -> Markup:
    plot = group.plots[at]
    switches = [
        element("button", f"log {axis}", type="button", data_axis=axis, aria_pressed=str(on).lower())
        for axis, on in zip("xy", plot.log, strict=True)
    ]
    top = element("div", element("h4", plot.title, id=f"{name}-title"), element("div", *switches, class_="switches"), class_="top")
    about = f"{group.title}: {plot.title}. Arrow keys walk the points; the table of all rows holds the same."
    canvas = element("div", class_="canvas", id=name, tabindex="0", role="application", aria_label=about)
    caption = element("figcaption", *(element("p", note) for note in plot.notes))
    return element("figure", top, canvas, caption)


def _plots_data(made: list[Group]) -> dict:
    return {
        f"{group.name}-{at}": {"figure": json.loads(plot.figure.to_json()), "ticks": plot.ticks, "log": plot.log}
        for group in made
        for at, plot in enumerate(group.plots)
    }
