"""The figures of where the time goes: the shares of the CSV, stacked, in files and on the page."""

import json

import pytest

from lengthscale.bench.figures import catalog, compared, html
from lengthscale.bench.figures.html.hover import text_of
from lengthscale.bench.figures.html.payload import payload
from lengthscale.bench.figures.mpl.sheet import render
from lengthscale.bench.figures.mpl.theme import applied, plt
from lengthscale.bench.figures.run import read_run
from lengthscale.bench.figures.spec import Failure
from lengthscale.bench.figures.style import LIGHT, PART_COLOURS
from lengthscale.bench.results.codec import csv_of
from lengthscale.bench.results.result import results_of
from tests.helpers.browsing import BROWSER, QUIET, opened, redrawn
from tests.helpers.drawings import record
from tests.helpers.runs import FACTS

PARTS = ("matrix products", "scan or attention", "idle")
SHARES = {("gru", 256): (0.5, 0.3, 0.2), ("gru", 1024): (0.5, 0.4, 0.1), ("mamba", 256): (0.25, 0.5, 0.25)}


def rows_of(model, length):
    for mode in ("forward", "train"):
        for part, share in zip(PARTS, SHARES[model, length], strict=True):
            flags = "perturbed" if (mode, model, length) == ("train", "gru", 256) else None
            yield {"mode": mode, "part": part, "part_ms": 8 * share, "part_share": share, "flags": flags}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("parts")
    records = [record("breakdown", *key, list(rows_of(*key))) for key in SHARES]
    records.append(record("breakdown", "rwkv4", 256, status="unsupported"))
    (home / "breakdown.csv").write_text(csv_of(results_of(records)))
    (home / "environment.json").write_text(json.dumps(FACTS))
    return read_run(home)


def test_a_bar_for_each_model_and_length(run):
    figures = catalog.figures_of(run)
    assert [(each.title, each.place.file) for each in figures] == [
        ("Training step: where the time goes", "train_parts"),
        ("Prefill: where the time goes", "forward_parts"),
    ]
    assert catalog.select(figures, "breakdown", "parts") == figures
    [train, forward] = [figure.bars for figure in figures]
    assert train.parts == PARTS
    assert {(bar.model, bar.label.rstrip("*")): bar.heights for bar in train.bars} == {
        (model, {256: "256", 1024: "1k"}[length]): shares for (model, length), shares in SHARES.items()
    }
    assert [(bar.group, bar.label) for bar in train.bars] == [("gru", "256*"), ("gru", "1k"), ("mamba", "256")]
    assert [bar.label for bar in forward.bars] == ["256", "1k", "256"]
    assert [bar.rows for bar in train.bars] == [(3, 4, 5), (9, 10, 11), (15, 16, 17)]
    assert "15%" in figures[0].notes[-1]
    assert figures[1].notes == ("measured with jax's profiler",)
    assert [each.at for each in figures[0].failures] == [(Failure(256, "unsupported", 18),)]


def test_the_picture_and_the_page_show_the_shares(run):
    figure = catalog.figures_of(run)[0]
    with applied(LIGHT):
        picture = render(catalog.sheet_of(run, [figure]), LIGHT)
    [axes] = picture.axes
    drawn = {stack.get_label(): [bar.get_height() for bar in stack] for stack in axes.containers}
    assert drawn == {part: pytest.approx([shares[i] for shares in SHARES.values()]) for i, part in enumerate(PARTS)}
    tops = [bar.get_y() + bar.get_height() for bar in axes.containers[-1]]
    assert tops == pytest.approx([1, 1, 1])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["256*", "1k", "256"]
    plt.close(picture)
    bars = payload(figure, lambda run: 100)["bars"]
    assert [part["name"] for part in bars["parts"]] == list(PARTS)
    assert [part["colour"] for part in bars["parts"]] == list(PART_COLOURS[:3])
    assert [tuple(bar["heights"]) for bar in bars["bars"]] == list(SHARES.values())
    assert bars["bars"][0]["rows"] == [103, 104, 105]


def test_two_runs_stand_side_by_side(run):
    figures = catalog.figures_of(run)
    both = compared.merged(figures, figures)[0]
    assert [bar.group for bar in both.bars.bars] == ["gru A", "gru A", "mamba A", "gru B", "gru B", "mamba B"]
    assert [bar.run for bar in both.bars.bars] == [0, 0, 0, 1, 1, 1]
    assert not any("dashed" in note for note in both.notes)


def test_the_page_names_the_models_and_describes_a_part(run):
    text = html.write_report(run).read_text()
    assert "of gru, mamba. Its rows are in the table" in text
    first = run.tables["breakdown"].dicts()[3]
    assert "matrix products: 4 ms, 50% of a training step" in text_of("breakdown", first)


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium, such as Debian's package chromium")
def test_bars_in_a_browser(run):
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright: LENGTHSCALE_EXTRAS=browser installs it")
    said, bars = [], "document.querySelector('#plot-train-parts .canvas').data.map(t => [t.type, t.name, t.x[0], t.y])"
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=[f"--{each}" for each in QUIET.split()])
        page = opened(browser, html.write_report(run), said)
        heights = [[shares[i] for shares in SHARES.values()] for i in range(3)]
        names = ["gru", "gru", "mamba"]
        assert page.evaluate(bars) == [["bar", part, names, y] for part, y in zip(PARTS, heights, strict=True)]
        redrawn(page, page.locator("#toolbar [data-model=gru]").click)
        assert [(x, y) for *_, x, y in page.evaluate(bars)] == [(["mamba"], y[2:]) for y in heights]
        browser.close()
    assert said == []
