"""The frontier in words and pictures: each answer is told as it is known, and file and page show the same points."""

from dataclasses import replace

import numpy as np
import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.analysis import frontier, summary
from lengthscale.bench.commands import finish
from lengthscale.bench.commands.console import Console
from lengthscale.bench.figures import catalog
from lengthscale.bench.figures.html import hover
from lengthscale.bench.figures.html.payload import payload
from lengthscale.bench.figures.mpl.axes import draw
from lengthscale.bench.figures.mpl.theme import plt
from lengthscale.bench.figures.run import run_of
from lengthscale.bench.figures.spec import Reference
from lengthscale.bench.figures.style import LIGHT
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.results.codec import table_of_results
from lengthscale.bench.results.record import Row
from lengthscale.bench.results.result import results_of
from lengthscale.bench.results.validate import validate
from tests.helpers.runs import made, written_run

K = 1024
CELL = Cell("frontier", "transformer", "small", "auto", 4 * K, 1, "float32", 0, "text", 0)
UNLIMITED, CONFIRMED, PLANNED = "not limited by memory", "confirmed", "planned"


def record(cell, limit, **modes):
    """modes: (longest tokens, how, largest batch, how)."""
    rows = []
    for mode, (tokens, how, batch, batch_how) in modes.items():
        rows.append(
            Row(
                n_params=7,
                mode=mode,
                longest_tokens=tokens,
                longest_how=how,
                too_long_tokens=tokens + K if how in (CONFIRMED, PLANNED) else None,
                mem_planned_bytes=limit - 5,
                largest_batch=batch,
                largest_batch_how=batch_how,
                too_large_batch=batch + 1,
                batch_planned_bytes=limit - 6,
                memory_limit_bytes=limit,
            )
        )
    return made(cell, rows=tuple(rows))


GIB = 2**30
RECORDS = [
    record(
        CELL,
        24 * GIB,
        forward=(61 * K, CONFIRMED, 12, PLANNED),
        train=(20 * K, PLANNED, 3, CONFIRMED),
        decode=(300 * K, CONFIRMED, 90, CONFIRMED),
    ),
    record(
        replace(CELL, model="mamba"),
        24 * GIB,
        forward=(1_992_704, PLANNED, 20, PLANNED),
        train=(210 * K, PLANNED, 50, PLANNED),
        decode=(None, UNLIMITED, 4000, PLANNED),
    ),
    record(
        replace(CELL, model="mamba", length=64 * K, chunk=4 * K),
        25 * GIB,
        forward=(None, UNLIMITED, 70, PLANNED),
        train=(2**24, "over the cap", 9, PLANNED),
        decode=(None, UNLIMITED, 4000, PLANNED),
    ),
    made(replace(CELL, model="gru"), "timeout", message="passed the deadline"),
]


RESULTS = results_of(RECORDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return written_run(tmp_path_factory.mktemp("some-cpu-2cpu") / "long-1", RECORDS)


def test_the_sentences():
    assert frontier.sentences_of(RESULTS) == [
        "In 24 GiB to 25 GiB (small, float32, batch 1), the longest sequences of prefill are: transformer 61k tokens, "
        "mamba 1.9M tokens (planned), mamba in chunks of 4096 any length.",
        "In 24 GiB to 25 GiB (small, float32, batch 1), the longest sequences of training are: transformer 20k tokens "
        "(planned), mamba 210k tokens (planned), mamba in chunks of 4096 16M tokens or more.",
        "In 24 GiB (small, float32, batch 1), the longest sequences of decoding are: transformer 300k tokens, mamba "
        "any length.",
    ]
    assert frontier.sentences_of(results_of(RECORDS[-1:])) == frontier.sentences_of([]) == []


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (Row(longest_how="deadline"), "not found before the deadline"),
        (Row(longest_how="does not fit", too_long_tokens=1024), "none, 1k tokens do not fit"),
        (Row(longest_how=PLANNED, longest_tokens=784), "784 tokens (planned)"),
    ],
)
def test_what_was_not_found_is_told(row, words):
    (text,) = table_of_results(results_of([made(CELL, rows=(row,))])).text_rows()
    assert frontier.length_of(text) == words


def test_the_figures(folder):
    figures = catalog.figures_of(run_of(folder, RESULTS))
    assert [figure.place.name for figure in figures] == ["frontier-longest", "frontier-batch-4k", "frontier-batch-64k"]
    longest, at_4k, _ = figures
    assert longest.x.ticks == ((0.0, "prefill"), (1.0, "training"), (2.0, "decoding"))
    curves = {curve.name: curve for curve in longest.curves}
    assert list(curves) == ["transformer", "mamba", "mamba in chunks of 4096"]
    assert curves["transformer"].y == (61 * K, 20 * K, 300 * K)
    assert curves["mamba"].y == (1_992_704, 210 * K, 2**24)
    assert curves["mamba in chunks of 4096"].y == (2**24, 2**24)
    assert [curve.hollow for curve in longest.curves] == [False, True, True]
    assert [np.round(curve.x).tolist() for curve in longest.curves] == [[0, 1, 2], [0, 1, 2], [0, 1]]
    assert len({x for curve in longest.curves for x in curve.x}) == 8  # no point covers another one
    assert curves["mamba"].rows == (4, 5, 6)
    (line,) = longest.marks
    assert isinstance(line, Reference)
    assert (line.name, line.y) == ("16M or more", (2**24, 2**24))
    assert [str(each) for each in longest.failures] == ["gru: timeout at 4k"]
    assert at_4k.title == "The largest batch that fits at 4k tokens"
    assert [curve.y for curve in at_4k.curves] == [(12, 3, 90), (20, 50, 4000)]
    assert at_4k.marks == ()
    assert longest.notes[-1] == "memory: 24 GiB to 25 GiB"


def test_file_and_page_show_the_same_points(folder):
    for figure in catalog.figures_of(run_of(folder, RESULTS)):
        picture, axes = plt.subplots()
        draw(axes, figure, LIGHT)
        lines = [(np.ravel(line.get_xdata()).tolist(), np.ravel(line.get_ydata()).tolist()) for line in axes.lines]
        ticks = [label.get_text() for label in axes.get_xticklabels()]
        plt.close(picture)
        page = payload(figure, lambda _: 0)
        assert all((curve["x"], curve["y"]) in lines for curve in page["curves"])
        assert [curve.get("hollow", False) for curve in page["curves"]] == [curve.hollow for curve in figure.curves]
        assert [name for _, name in page["ticks"]] == ticks == ["prefill", "training", "decoding"]


def test_a_hover_tells_both_answers():
    row = table_of_results(RESULTS).dicts()[4]
    said = hover.text_of("frontier", row)
    assert "forward: longest: 1,992,704 tokens (planned); largest batch: 20 sequences (planned)" in said
    decoding = hover.text_of("frontier", table_of_results(RESULTS).dicts()[6])
    assert "decode: longest (not limited by memory); largest batch: 4,000 sequences (planned)" in decoding


def test_a_run_ends_with_its_sentences_in_every_place(folder, capsys):
    finish.finish(folder, RESULTS, Console())
    said = capsys.readouterr().out
    assert "tries again" not in said
    sentences = frontier.sentences_of(RESULTS)
    assert all(sentence in said for sentence in sentences)
    written = (folder / "summary.md").read_text()
    assert written.splitlines()[-5::2] == sentences
    assert [row["model"] for row in summary.summarise(RESULTS, [])] == ["gru small"]
    assert (folder / "plots" / "frontier.png").exists()
    page = " ".join((folder / "report.html").read_text().split())
    assert "the longest sequences of training are" in page
    assert "The largest batch that fits at 64k tokens" in page
    assert validate(folder) == ([], [])
    assert main(["fit", str(folder)]) == 0
    assert sentences[0] in " ".join(capsys.readouterr().out.split())
    assert main(["plot", str(folder), "--y", "batch", "--out", str(folder / "plots" / "one.png")]) == 0
