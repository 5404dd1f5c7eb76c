"""One description of a figure: both renderers show its values, a run is read once, and describing draws nothing."""

import json
import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from lengthscale.bench.analysis import fit
from lengthscale.bench.figures import catalog, compared, html, mpl, run
from lengthscale.bench.figures.html.payload import payload
from lengthscale.bench.figures.mpl.axes import draw
from lengthscale.bench.figures.mpl.theme import plt
from lengthscale.bench.figures.spec import Cross, Crossing, Extrapolated, Failure, Failures
from lengthscale.bench.figures.style import LIGHT
from lengthscale.bench.peers import plot
from lengthscale.bench.results.errors import JournalError
from tests.helpers.drawings import write_folder
from tests.helpers.reports import first_run


@pytest.fixture(scope="module")
def described(tmp_path_factory):
    return catalog.figures_of(run.read_run(write_folder(tmp_path_factory.mktemp("described"))))


def test_figures_are_described_without_what_draws_them():
    modules = "figures.catalog, figures.compared, claims, peers.plot".split(", ")
    imports = ", ".join(f"lengthscale.bench.{name}" for name in modules)
    code = f"import sys, {imports}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"matplotlib", "plotly", "pandas"} & {*loaded}


def test_file_and_page_show_the_same_values(described):
    for figure in (each for each in described if each.place.group):
        picture, axes = plt.subplots()
        draw(axes, figure, LIGHT)
        lines = [(np.ravel(line.get_xdata()).tolist(), np.ravel(line.get_ydata()).tolist()) for line in axes.lines]
        curves = payload(figure, lambda _: 0)["curves"]
        assert curves
        assert all((curve["x"], curve["y"]) in lines for curve in curves), figure.title
        plt.close(picture)


def test_a_page_can_be_written_of_any_figure(described):
    for figure in described:
        json.dumps(payload(figure, lambda _: 0), allow_nan=False)


def test_every_figure_has_a_name_of_its_own_and_a_group_that_the_page_has(described):
    names = [figure.place.name for figure in described]
    assert len(set(names)) == len(names)
    assert {figure.place.group for figure in described} - {""} <= set(catalog.GROUPS)
    assert all(figure.place.y in catalog.SINGLE for figure in described)


def test_points_know_their_rows(described):
    [time] = catalog.select(described, "train", "time")
    [gru] = [curve for curve in time.curves if curve.model == "gru"]
    assert gru.rows == tuple(range(16, 24))  # after rnn's and lstm's 8 each
    assert [each["rows"] for each in payload(time, lambda _: 100)["curves"]][2] == list(range(116, 124))


def test_a_run_is_read_once_for_files_and_page(tmp_path, monkeypatch):
    folder = first_run(tmp_path / "run")
    read, fitted = Counter(), Counter()
    csv_of, fit_records = run.csv_of, fit.fit_records
    monkeypatch.setattr(run, "csv_of", lambda path: read.update([path.name]) or csv_of(path))
    monkeypatch.setattr(fit, "fit_records", lambda records: fitted.update(["fits"]) or fit_records(records))
    monkeypatch.setattr("lengthscale.bench.figures.mpl.gallery.write", lambda *_: [])
    loaded = run.read_run(folder, fit.fit_folder(folder))
    mpl.plot_folder(loaded)
    html.write_report(loaded)
    names = ("train.csv", "decode.csv", "quality.csv", "fits.csv", "crossovers.csv")
    assert (read, fitted) == (dict.fromkeys(names, 1), {"fits": 1})


def test_fits_that_are_read_are_those_that_were_made(tmp_path):
    folder = first_run(tmp_path / "run")
    fits, crossovers = fit.fit_folder(folder)
    loaded = run.read_run(folder)
    for made, found in ((fits, loaded.fits), (crossovers, loaded.crossovers)):
        assert len(made) == len(found) > 0
        for one, other in zip(made, found, strict=True):
            numbers = {key: value for key, value in one.items() if isinstance(value, float)}
            assert {key: other[key] for key in numbers} == pytest.approx(numbers, rel=1e-5)
            words = {key: value for key, value in one.items() if key not in numbers}
            assert {key: other[key] for key in words} == {key: None if v == "" else v for key, v in words.items()}


def test_two_runs_in_one_figure_keep_curves_and_failures_apart(described):
    [time] = [each for each in compared.in_one(described, described) if each.place.name == "train-time"]
    assert Counter(curve.run for curve in time.curves) == {0: 5, 1: 5}
    assert {curve.name[-2:] for curve in time.curves} == {" A", " B"}
    assert not [mark for mark in time.marks if isinstance(mark, Crossing | Extrapolated)]
    assert {failures.run for failures in time.failures} == {0, 1}


def test_failures_in_words():
    at = (Failure(512, "oom", 0), Failure(1024, "oom", 1), Failure(2048, "oom", 2), Failure(8192, "timeout", 4))
    assert str(Failures("gru", "gru", at, (512, 1024, 2048, 4096, 8192))) == "gru: oom at 512 to 2k; timeout at 8k"


def test_a_cell_that_is_no_number_is_refused_by_name():
    row = run.Row(0, {"length": "many", "loss": ""})
    assert math.isnan(row.number("loss"))
    assert math.isnan(row.number("accuracy"))
    with pytest.raises(JournalError, match="a CSV's length must be a number, got 'many'"):
        row.number("length")


def test_the_picture_of_peers(tmp_path):
    columns = "row,measure,length,batch,cores,ratio,ratio_low,ratio_high,git_sha"
    lines = ["lstm,train,512,1,1,2,1.9,2.1,abc", "lstm,train,2048,1,1,,,,abc", "mamba,forward,512,8,1,3,2.5,3.5,012"]
    (tmp_path / "peers.csv").write_text("\n".join([columns, *lines]) + "\n")
    facts = {"cpu_model": "Some CPU", "git_dirty": False, "peers": {"torch": "2.0", "mambapy": None}}
    (tmp_path / "peers.json").write_text(json.dumps(facts))
    rows = [run.Row(number, cells) for number, cells in enumerate(run.csv_of(tmp_path / "peers.csv").dicts())]
    forward, train = plot.figures_of(rows)
    assert (forward.title, train.title) == ("Forward, 1 core", "Forward + backward, 1 core")
    [curve] = train.curves
    assert (curve.model, curve.x, curve.y, curve.dash) == ("lstm", (512,), (2,), 0)
    assert [(mark.x, mark.y) for mark in train.marks if isinstance(mark, Cross)] == [(2048, 1)]
    assert [(curve.name, curve.dash) for curve in forward.curves] == [("mamba, batch 8", 1)]
    assert plot.plot_peers(tmp_path) == [tmp_path / "peers.png", tmp_path / "peers.svg"]
    text = (tmp_path / "peers.svg").read_text()
    assert "Some CPU · torch 2.0 · float32 · commit 012, abc" in text
    (tmp_path / "peers.csv").write_text("\n".join([columns, lines[1]]) + "\n")
    assert plot.plot_peers(tmp_path) == []
