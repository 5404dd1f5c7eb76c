"""The top of the page: the answer, the figures behind it, where curves cross, the claims. No jax here."""

from __future__ import annotations

import base64
from pathlib import Path

from bench.answer import number, tokens
from bench.claims.table import figure_text
from bench.crossover import CROSSES
from bench.curves import FEWEST, NOT_ENOUGH
from bench.report.look import swatch
from bench.report.markup import Markup, details, element, section, table, text_of
from bench.report.source import Source
from bench.summary import size_name

FIGURES = {
    ("train", "time_ms"): "Training step",
    ("train", "memory_bytes"): "Memory, training",
    ("forward", "time_ms"): "Prefill",
    ("forward", "memory_bytes"): "Memory, prefill",
    ("decode", "time_ms"): "Decoding a token",
    ("decode", "memory_bytes"): "Memory, decoding",
    ("decode", "state_bytes"): "State",
}
AT_A_GLANCE = [key for key in FIGURES if key != ("decode", "memory_bytes")]
LARGEST = 400_000  # bytes of a claim's picture that is put into the page
SIGNS = {"holds": "✓", "fails": "✗", "not decided": "?"}


def answers(sources: list[Source]) -> Markup:
    parts = []
    for source in sources:
        heading = element("h3", run_name(source)) if source.label else None
        parts.append(element("div", heading, *(element("p", sentence) for sentence in source.sentences)))
    return section("answer", "The answer", element("div", *parts, class_="answer plots"), glance(sources))


def run_name(source: Source) -> Markup:
    badge = element("span", source.label, class_="run")
    return text_of(badge, f" {source.device}, commit {source.facts.get('git_sha')}")


def glance(sources: list[Source]) -> Markup | None:
    """A row for each model of each run: what it takes at its longest length, and the exponent."""
    every = [row for source in sources for row in source.fits]
    keys = [key for key in AT_A_GLANCE if any((row["measure"], row["quantity"]) == key for row in every)]
    if not keys:
        return None
    by_model: dict[tuple[str, str], dict[str, dict[tuple[str, str], dict]]] = {}
    for source in sources:
        for row in source.fits:
            runs = by_model.setdefault((_name(row, every), row["model"]), {})
            runs.setdefault(source.label, {})[row["measure"], row["quantity"]] = row
    fitted = {(row["measure"], row["quantity"]) for row in every if row["status"] == "ok"}
    body = [
        [_model(name, model, label), *(_cell(figures.get(key), key in fitted) for key in keys)]
        for (name, model), runs in by_model.items()
        for label, figures in runs.items()
    ]
    caption = (
        "Each model's longest length, the figure there, and the exponent of its growth with a 95% interval "
        f"(0 constant, 1 linear, 2 quadratic; under {FEWEST} lengths: {NOT_ENOUGH})"
    )
    return table(caption, ["model", *(FIGURES[key] for key in keys)], body, figures=len(keys), class_="glance")


def _name(row: dict, among: list[dict]) -> str:
    """The model's, with what else tells it from its neighbours."""
    name = row["model"] if row["method"] == "auto" else f"{row['model']} [{row['method']}]"
    words = {"size": size_name(str(row["size"])), "dtype": row["dtype"]}
    words |= {"batch": f"batch {row['batch']}", "seed": f"seed {row['seed']}"}
    return ", ".join([name, *(word for key, word in words.items() if len({each[key] for each in among}) > 1)])


def _model(name: str, model: str, label: str) -> Markup:
    run = element("span", label, class_="run") if label else None
    return text_of(run, swatch(model, hollow=label == "B"), f" {name}")


def _cell(row: dict | None, fitted: bool) -> Markup | str:
    """fitted: whether any figure of its column has an exponent."""
    if row is None:
        return ""
    at = element("span", f" at {tokens(row['length_max'])}", class_="muted")
    exponent = element("small", slope(row) if row["status"] == "ok" else row["status"]) if fitted else None
    return text_of(amount(row["quantity"], row["figure"]), at, exponent)


def slope(row: dict) -> str:
    if row["slope"] is None:
        return ""
    if row["slope_low"] is None:
        return f"{row['slope']:.2f}"
    return f"{row['slope']:.2f} [{row['slope_low']:.2f}, {row['slope_high']:.2f}]"


def amount(quantity: str, value: float) -> str:
    """Such as "15 s", "0.966 ms", "537 MB"."""
    if quantity == "time_ms":
        return f"{number(value / 1e3)} s" if value >= 1e3 else f"{number(value)} ms"
    factor, unit = next(((f, u) for f, u in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")) if value >= f), (1, "bytes"))
    return f"{number(value / factor)} {unit}"


def fits(sources: list[Source]) -> Markup:
    """Where curves cross, and all fits."""
    parts: list[Markup] = []
    for source in sources:
        crossing = [row for row in source.crossovers if row["status"] == CROSSES]
        if crossing:
            parts.append(_crossings(source, crossing, "Where one model becomes cheaper than another"))
        else:
            none = "No two curves cross within the lengths measured" if source.crossovers else "No crossings were looked for"
            parts.append(element("p", _labelled(source, f"{none}.")))
        others = [row for row in source.crossovers if row["status"] != CROSSES]
        if others:
            title = _labelled(source, f"{len(others)} pairs without a crossing, and why")
            parts.append(details(title, _crossings(source, others, title)))
        if source.fits:
            title = _labelled(source, f"{len(source.fits)} fits: exponents, terms and predictions")
            parts.append(details(title, _fits(source, title)))
    return section("fits", "Exponents and crossings", *parts)


def _crossings(source: Source, rows: list[dict], caption: str) -> Markup:
    body = []
    for row in rows:
        found = row["status"] == CROSSES
        interval = [number(row[key]) if row[key] else "?" for key in ("length_low", "length_high")]
        where = f"{number(row['length'])} [{', '.join(interval)}]" if found else ""
        range_of = f"{tokens(row['range_min'])} to {tokens(row['range_max'])}" if row["range_min"] else ""
        farther = f"extrapolated: at {number(row['extrapolated_length'])}" if row["extrapolated_length"] else ""
        quantity = FIGURES.get((row["measure"], row["quantity"]), f"{row['measure']} {row['quantity']}")
        said = "; ".join(text for text in ("" if found else row["status"], farther, row["note"]) if text)
        body.append([quantity, row["model_short"], row["model_long"], said, range_of, where])
    head = ["of", "cheaper before", "cheaper beyond", "note", "lengths measured", "at length [95%]"]
    if not any(row[3] for row in body):
        head, body = head[:3] + head[4:], [row[:3] + row[4:] for row in body]
    return table(_labelled(source, caption), head, body, figures=2)


def _fits(source: Source, caption: str) -> Markup:
    body = []
    for row in source.fits:
        quantity = FIGURES.get((row["measure"], row["quantity"]), f"{row['measure']} {row['quantity']}")
        shares = [row[name] for name in ("share_a", "share_b", "share_c")]
        terms = " : ".join(f"{share:.0%}" for share in shares) if None not in shares else ""
        error = f"{row['left_out_error']:+.0%}" if row["left_out_error"] is not None else ""
        foretold = ""
        if row["predicted"] is not None:
            foretold = f"{amount(row['quantity'], row['predicted'])} at {tokens(row['predicted_length'])}"
        said = "; ".join(text for text in ("" if row["status"] == "ok" else row["status"], row["note"]) if text)
        measured = f"{tokens(row['length_min'])} to {tokens(row['length_max'])}"
        body.append([quantity, _name(row, source.fits), said, measured, slope(row), terms, error, foretold])
    head = ["of", "model", "note", "lengths", "exponent [95%]", "a : b L : c L²", "missed the longest by", "foretold"]
    return table(caption, head, body, figures=5)


def _labelled(source: Source, text: str) -> str:
    return f"{source.label}: {text}" if source.label else text


def claims(sources: list[Source]) -> Markup | None:
    parts: list[Markup] = []
    for source in sources:
        if source.claims:
            parts += _claims(source)
    if not parts:
        command = element("code", "./run_bench.sh claims")
        again = element("code", "report DIR --claims CLAIMS_DIR")
        said = text_of("The article's claims were not tested in this run. ", command, " tests them, and ", again)
        parts.append(element("p", text_of(said, " puts their verdicts here."), class_="muted"))
    return section("claims", "The article's claims", *parts)


def _claims(source: Source) -> list[Markup]:
    groups: dict[str, list[dict]] = {}
    for row in source.claims:
        groups.setdefault(row["claim"], []).append(row)
    body = []
    for mine in groups.values():
        row = mine[0]
        measured = text_of(row["measured"], element("small", row["note"]) if row.get("note") else None)
        title = f"{row['claim']}. {row['statement']}"
        body.append([title, verdict(row["verdict"]), figure_text(row), _lengths(row), measured])
    head = ["claim", "verdict", "figure [95%]", "lengths", "measured"]
    devices = ", ".join(dict.fromkeys(f"{row['device']}, commit {row['git_sha'] or 'unknown'}" for row in source.claims))
    verdicts = table(_labelled(source, f"Verdicts ({devices})"), head, body, class_="claims")
    return [verdicts, element("div", *(_claim(source, mine) for mine in groups.values()), class_="plots")]


def _claim(source: Source, rows: list[dict]) -> Markup:
    """Its picture; folded, all that was found, how it was decided and how to measure it again."""
    first = rows[0]
    body = [
        [row["measured"], verdict(row["verdict"]), row["decided_by"], row.get("note") or "", _lengths(row), figure_text(row)]
        for row in rows[1:] or rows
    ]
    head = ["measured", "verdict", "decided by", "note", "lengths", "figure [95%]"]
    again = element("p", "Decided by: ", first["decided_by"], ". Measure it again: ", element("code", first["command"]))
    findings = f"{len(body)} finding{'s' if len(body) > 1 else ''}"
    caption = _labelled(source, f"Claim {first['claim']}: {findings} and how they were decided")
    picture = _picture(source.claims_folder / "claims", first)
    return element("figure", picture, details(caption, table(caption, head, body, figures=2), again))


def verdict(text: str) -> Markup:
    kind = text.replace(" ", "-") if text in SIGNS else "not-decided"
    return element("span", f"{SIGNS.get(text, '?')} {text}", class_=f"verdict {kind}")


def _lengths(row: dict) -> str:
    ends = [row[key] for key in ("length_min", "length_max") if row[key]]
    return " to ".join(dict.fromkeys(tokens(int(end)) if end.isdigit() else end for end in ends))


def _picture(home: Path, row: dict) -> Markup:
    """The claim's plot, as an image, in which nothing can run."""
    name = Path(row["name"]).name
    light, dark = home / f"{name}.svg", home / f"{name}-dark.svg"
    if not light.exists():
        return element("p", f"There is no picture {light.name} beside the table.", class_="muted")
    if light.stat().st_size > LARGEST:
        return element("p", f"The picture is too large for this page: {light}", class_="muted")
    sources = []
    if dark.exists() and dark.stat().st_size <= LARGEST:
        sources.append(element("source", media="screen and (prefers-color-scheme: dark)", srcset=_inline(dark)))
    image = element("img", src=_inline(light), alt=f"Plot of claim {row['claim']}: {row['measured']}")
    return element("picture", *sources, image)


def _inline(path: Path) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"
