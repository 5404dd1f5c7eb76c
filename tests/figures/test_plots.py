"""Pictures say what the CSVs say: values, bands, failures; one look a model; nothing written upon something else."""

import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from lengthscale.bench.__main__ import main
from lengthscale.bench.figures import catalog, pareto, surface
from lengthscale.bench.figures.mpl import command, plot_folder
from lengthscale.bench.figures.mpl.axes import draw
from lengthscale.bench.figures.mpl.labels import spread
from lengthscale.bench.figures.mpl.sheet import render
from lengthscale.bench.figures.mpl.theme import applied, look, plt
from lengthscale.bench.figures.mpl.ticks import at_round_numbers
from lengthscale.bench.figures.run import read_run
from lengthscale.bench.figures.style import DARK, LIGHT, THEMES
from lengthscale.bench.results.codec import csv_of
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.result import results_of
from lengthscale.models import MODELS
from tests.helpers.drawings import BANDS, LENGTHS, record, step_ms, timed, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("drawn"))


def figure_of(run, figures, theme=LIGHT):
    with applied(theme):
        return render(catalog.sheet_of(run, figures), theme)


@pytest.fixture(scope="module")
def figures(folder):
    """Every picture of the set, as a figure."""
    run = read_run(folder)
    made = {name: figure_of(run, mine) for name, mine in catalog.files_of(catalog.figures_of(run)).items()}
    yield made
    for figure in made.values():
        plt.close(figure)


def lines_of(figure, model, theme=LIGHT):
    """(x, y) of the curves in a model's colour and at its marker's full size."""
    its = look(theme, model)
    lines = [line for axes in figure.axes for line in axes.lines if len(line.get_xdata()) > 1]
    mine = [line for line in lines if (line.get_color(), line.get_marker()) == (its["color"], its["marker"])]
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in mine if line.get_markersize() == its["ms"]]


def texts_of(figure):
    """All that is drawn: an axis also has labels of ticks beyond its ends."""
    axis_of = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]
    ticks = [(tick, sorted(axis.get_view_interval())) for axis in axis_of for tick in axis.get_major_ticks()]
    hidden = {tick.label1 for tick, (low, high) in ticks if not low <= tick.get_loc() <= high}
    return [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and t not in hidden]


def test_the_set_is_what_the_folder_allows(figures):
    assert set(figures) == {
        *("train_time", "train_throughput", "train_memory", "decode_latency", "decode_state", "decode_ratio"),
        *("generate_first_token", "generate_token", "generate_memory"),
        *("compile_time", "machine_share", "quality_loss", "quality_beyond", "quality_cost", "gradients", "overview"),
    }


@pytest.mark.parametrize(
    ("picture", "value"),
    [
        ("train_time", lambda length: step_ms("gru", length)),
        ("train_throughput", lambda length: 1e3 * length / step_ms("gru", length)),
        ("train_memory", lambda length: 3 * length),
    ],
)
def test_values_are_those_of_the_csv(figures, picture, value):
    [(x, y)] = lines_of(figures[picture], "gru")
    assert x == LENGTHS
    assert y == pytest.approx([value(length) for length in LENGTHS], rel=1e-5)


def test_the_labels_of_generation_say_what_was_generated(folder):
    run = read_run(folder)
    labels = {}
    for y in ("time", "ttft", "tpot"):
        [figure] = catalog.select(catalog.figures_of(run), "generate", y)
        labels[y] = figure.y.label
        assert figure.x.label == "prompt (tokens)"
    assert labels == {
        "time": "time of a prompt and 64 new tokens (ms)",
        "ttft": "time to the first token (ms)",
        "tpot": "time of each further token (ms)",
    }


def test_other_values_are_those_of_the_csv(figures):
    assert lines_of(figures["quality_loss"], "gru") == [([1, 16, 256], pytest.approx([2.4, 2.37227, 2.34455]))]
    assert lines_of(figures["quality_beyond"], "gru") == [([256, 1024], [0.4, 0.4])]
    norms = [line.get_xydata().tolist() for axes in figures["gradients"].axes for line in axes.lines]
    assert norms == 4 * [[[1, 1], [2, 0.5], [3, 0.25], [5, 0.0625]]]  # of two models, trained and not
    assert lines_of(figures["machine_share"], "gru") == [(LENGTHS, [25.0] * 8)]
    assert lines_of(figures["compile_time"], "gru") == [(LENGTHS, [0.5] * 8)]
    states = [y for _, y in lines_of(figures["decode_state"], "transformer")]
    assert states == [pytest.approx([1.024, 16.384]), pytest.approx([32.768])] or states == [
        pytest.approx([1.024, 16.384])
    ]
    first, each = (lines_of(figures[name], "mamba") for name in ("generate_first_token", "generate_token"))
    prompts = [1024, 4096, 16384]
    assert first == [(prompts, pytest.approx([step_ms("mamba", length) for length in prompts], rel=1e-5))]
    assert each == [(prompts, [0.5] * 3)]
    planned = [line.get_ydata() for line in figures["train_memory"].axes[0].lines if line.get_markersize() == 2.5]
    assert any(list(y) == pytest.approx([2 * length for length in LENGTHS]) for y in planned)


def test_bands_are_the_intervals_of_the_csv(figures):
    [axes] = figures["train_time"].axes
    at = {round(step_ms("rnn", 512) * factor, 3) for factor in BANDS.values()}
    ends = {round(float(y), 3) for band in axes.collections for x, y in band.get_paths()[0].vertices if x == 512}
    assert at - {round(step_ms("rnn", 512), 3)} <= ends
    [caption_text] = [text.get_text() for text in texts_of(figures["train_time"]) if "commit" in text.get_text()]
    assert "95% interval of the median" in caption_text
    assert "p10 to p90" in caption_text
    assert re.match(r"Some CPU, 2 cores · jax 0\.10\.2 · small, float32, batch 1 · commit abc", caption_text)


def test_failures_are_marked_with_status_and_length(figures):
    for picture in ("train_time", "train_memory", "machine_share", "overview"):
        said = {text.get_text() for text in texts_of(figures[picture])}
        assert "transformer: timeout at 16k; oom at 32k, 64k" in said
        assert "vit: unsupported at 512 to 64k" in said
    crosses = [line for line in figures["train_time"].axes[0].lines if line.get_marker() == "x"]
    places = {(line.get_color(), int(line.get_xdata()[0])) for line in crosses}
    assert places == {(LIGHT.colour("transformer"), n) for n in LENGTHS[-3:]} | {
        (LIGHT.colour("vit"), n) for n in LENGTHS
    }
    assert "lstm: nan at 256" in {text.get_text() for text in texts_of(figures["quality_loss"])}
    [(x, _)] = lines_of(figures["train_time"], "transformer")
    assert x == LENGTHS[:-3]


def test_one_look_a_model_in_every_picture(folder):
    alone = read_run(folder).only(["gru"])
    for theme in THEMES.values():
        for described in catalog.figures_of(alone):
            figure, axes = plt.subplots()
            ends = draw(axes, described, theme)
            looks = {(line.get_color(), line.get_marker()) for line in axes.lines if line.get_marker() != "None"}
            assert looks == {(theme.colour("gru"), "^")} == {(end.colour, end.marker) for end in ends}
            plt.close(figure)


def test_no_text_lies_on_another_or_leaves_the_picture(figures):
    for name, figure in figures.items():
        boxes = [(text.get_text(), Text.get_window_extent(text)) for text in texts_of(figure)]
        for text, box in boxes:
            within = Bbox.intersection(box, figure.bbox)
            assert within is not None, (name, text)
            assert within.size == pytest.approx(box.size, abs=1), (name, text)
        crosses = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "x"]
        for x, y in (line.get_transform().transform(line.get_xydata()[0]) for line in crosses):
            assert not [text for text, box in boxes if box.padded(3).contains(x, y)], name
        for (one, a), (other, b) in combinations(boxes, 2):
            assert not a.padded(-1).overlaps(b.padded(-1)), (name, one, other)


def test_names_stand_at_the_ends_in_the_order_of_the_curves(figures):
    figure = figures["train_time"]
    assert not figure.legends
    labels = {text.get_text(): text.get_window_extent().y0 for text in texts_of(figure)}
    assert labels["rnn"] > labels["mamba"] > labels["lstm"]  # the first one is extrapolated


def test_many_curves_have_a_legend(tmp_path):
    models = [name for name in MODELS if MODELS[name].kind == "sequence"]
    records = [record("train", m, n, [timed(n / 10 + i, n)]) for i, m in enumerate(models) for n in (64, 128)]
    (tmp_path / "train.csv").write_text(csv_of(results_of(records)))
    run = read_run(tmp_path)
    figure = figure_of(run, catalog.select(catalog.figures_of(run), "train", "time"))
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(reversed(models))
    assert "bar: 95% interval of the median" in " ".join(text.get_text() for text in texts_of(figure))
    plt.close(figure)


def test_centres_are_pushed_apart_as_little_as_possible():
    assert spread([10, 50, 90], 10, 0, 100) == [10, 50, 90]
    assert spread([50, 50], 10, 0, 100) == [45, 55]
    assert spread([52, 50, 90], 10, 0, 100) == [56, 46, 90]
    assert spread([0, 0, 0], 10, 0, 100) == [5, 15, 25]
    assert spread([100, 99], 10, 0, 100) == [95, 85]
    assert spread([1, 2, 3], 40, 0, 100) is None
    wanted = np.random.default_rng(0).uniform(0, 100, 9).tolist()
    centres = spread(wanted, 10, 0, 100)
    assert centres is not None
    assert np.diff(sorted(centres)).min() >= 10 - 1e-9


def test_a_fit_is_followed_where_it_can_be_trusted(figures, folder, tmp_path):
    lines = figures["train_time"].axes[0].lines
    beyond = {line.get_color(): line for line in lines if line.get_xdata()[-1] > LENGTHS[-1]}
    assert set(beyond) == {LIGHT.colour("rnn")}
    [line] = beyond.values()
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (65536, pytest.approx(131072))
    assert line.get_ydata()[-1] == pytest.approx(13107.2)
    said = " ".join(text.get_text() for text in texts_of(figures["train_time"]))
    assert "extrapolated" in said
    assert "mamba passes transformer at 2,520 [2,000, ?]" in said
    assert "gru passes" not in said
    assert "extrapolated" not in " ".join(text.get_text() for text in texts_of(figures["decode_latency"]))


def test_the_front_is_what_nothing_else_beats(folder):
    points = pareto.points_of(read_run(folder).rows["quality"], "seconds")
    assert {point.row.text("model"): point.cost for point in points} == pytest.approx(
        {"rnn": 0.5, "gru": 0.6, "transformer": 0.7}
    )
    assert [point.loss for point in points] == pytest.approx([2.44455, 2.34455, 2.24455])  # at 256, the longest context
    assert [point.row.text("model") for point in pareto.front(points)] == ["rnn", "gru", "transformer"]
    assert [
        point.loss for point in pareto.front([points[0], replace(points[0], cost=0.6), points[2]])
    ] == pytest.approx([2.44455, 2.24455])


def test_the_surface_holds_ratios_and_failures(folder, figures):
    found = surface.ratios(read_run(folder).cells("decode"), "transformer")
    assert found[1, 1024] == pytest.approx(1.01024, rel=1e-5)
    assert found[32, 1024] == pytest.approx(1.32768, rel=1e-5)
    assert found[32, 16384] == "transformer\noom"
    said = {text.get_text() for text in texts_of(figures["decode_ratio"])}
    assert {"1.01x", "1.33x", "1.16x", "transformer\noom"} <= said


def test_ticks_are_round_numbers():
    figure, axes = plt.subplots()
    axes.set_yscale("log")
    for limits, ticks in (
        ((0.5, 2000), [1, 10, 100, 1000]),
        ((8, 400), [10, 30, 100, 300]),
        ((90, 1100), [100, 300, 1000]),
        ((1.9, 3.2), [2.0, 2.4, 2.8, 3.2]),
    ):
        axes.set_ylim(limits)
        at_round_numbers(axes.yaxis)
        assert list(axes.get_yticks()) == pytest.approx(ticks)
    plt.close(figure)


def test_light_and_dark_are_both_made_and_the_same_each_time(folder, tmp_path):
    (tmp_path / "gradients.csv").write_text((folder / "gradients.csv").read_text())
    written = plot_folder(read_run(tmp_path))
    assert [path.name for path in written] == [
        f"gradients{dark}.{kind}" for dark in ("", "-dark") for kind in ("png", "svg")
    ]
    before = [path.read_bytes() for path in written]
    assert plot_folder(read_run(tmp_path)) == written
    assert [path.read_bytes() for path in written] == before
    for theme, (png, svg) in zip(THEMES.values(), (written[:2], written[2:]), strict=True):
        assert to_hex(plt.imread(png)[0, 0]) == theme.background
        assert f"fill: {theme.background}" in svg.read_text()


def test_a_single_picture_of_chosen_models(folder, tmp_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(plt, "close", drawn.append)
    out = tmp_path / "mine.svg"
    wish = "--models gru,transformer --measure train --y memory --theme dark".split()
    assert main(["plot", str(folder), *wish, "--out", str(out)]) == 0
    assert capsys.readouterr().out.split() == [str(out)]
    assert out.exists()
    [figure] = drawn
    assert lines_of(figure, "gru", DARK) == [(LENGTHS, pytest.approx([3 * length for length in LENGTHS]))]
    assert lines_of(figure, "rnn", DARK) == []
    assert {"gru", "transformer", "Training step: memory"} <= {text.get_text() for text in texts_of(figure)}
    monkeypatch.undo()
    plt.close(figure)


def test_models_are_chosen_by_their_present_names(tmp_path):
    records = [record("train", m, 64, [timed(1.0, 64)]) for m in ("s4d", "s4d-bilinear", "mamba:rule=zoh")]
    (tmp_path / "train.csv").write_text(csv_of(results_of(records)))
    chosen = read_run(tmp_path).only(["s4d:rule=bilinear", "mamba:rule=zoh"])
    assert [row.text("model") for row in chosen.rows["train"]] == ["s4d-bilinear", "mamba:rule=zoh"]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("--models s4d-bilinear", "model 's4d-bilinear' is now called 's4d:rule=bilinear'"),
        ("--models gruu", "unknown model 'gruu'; did you mean 'gru'?"),
        ("--measure trian", "unknown measure 'trian'; did you mean 'train'? (known: train, forward, operator"),
        ("--y memmory", "unknown y 'memmory'; did you mean 'memory'? (known: time, throughput, memory"),
        ("--y time --theme darc", "unknown theme 'darc'; did you mean 'dark'? (known: light, dark)"),
        (
            "--y loss --x contxt",
            "unknown x of loss 'contxt'; did you mean 'context'? (known: context, length, trained, cost, ",
        ),
        ("--y ttft --measure decode", "unknown measure of ttft 'decode' (known: generate)"),
        (
            "--y loss --measure train",
            "unknown measure of loss 'train'; did you mean 'tracking'? (known: quality, recall, tracking)",
        ),
        ("--y time --out there.jpg", "--out must end in .png, .svg, .pdf, got 'there.jpg'"),
        ("--y time --out nowhere/there.png", "there is no folder 'nowhere'"),
        ("--theme dark", "--theme is for a single picture"),
        ("--models , --y time", "--models names no model"),
        ("--y time --models s4d", "train.csv has no model 's4d' (it has: rnn, lstm, gru, transformer, mamba, vit)"),
        (
            "--y time --measure forward",
            "holds no forward.csv (it has: train.csv, decode.csv, generate.csv, quality.csv",
        ),
        ("--y state --models vit --measure forward", "holds no forward.csv"),
        ("--y time --models vit", "train.csv has no time of vit to draw"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_drawn(folder, wish, message, capsys, monkeypatch):
    monkeypatch.setattr(command, "write_one", lambda *_: pytest.fail("something is drawn"))
    assert main(["plot", str(folder), *wish.split()]) == 2
    assert message in capsys.readouterr().err


def test_the_help_lists_what_can_be_drawn(capsys):
    assert main(["plot", "--help"]) == 0
    said = capsys.readouterr().out
    measures = {measure for single in catalog.SINGLE.values() for measure in single.measures}
    assert all(re.search(rf"\b{name}\b", said) for name in (*catalog.SINGLE, *THEMES, *measures))
    assert all(x in said for single in catalog.SINGLE.values() for x in single.by_x if x not in ("lag", "batch"))


def test_a_folder_without_a_csv_is_refused(tmp_path):
    with pytest.raises(JournalError, match="holds no CSV of forward, train"):
        plot_folder(read_run(tmp_path))
