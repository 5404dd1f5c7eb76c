"""One description of a figure: both renderers show its values, a run is read once, and describing draws nothing."""

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from rich.console import Console

from lengthscale.bench.analysis import fit
from lengthscale.bench.commands import finish
from lengthscale.bench.figures import catalog, compared, html, mpl, run
from lengthscale.bench.figures.html.payload import payload
from lengthscale.bench.figures.mpl.axes import draw
from lengthscale.bench.figures.mpl.theme import plt
from lengthscale.bench.figures.spec import Cross, DrawnCrossing, Extrapolated, Failure, Failures
from lengthscale.bench.figures.style import LIGHT
from lengthscale.bench.peers import plot
from lengthscale.bench.results.csv_table import read_table
from lengthscale.bench.results.folder import RunFolder
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


@pytest.fixture
def counted(monkeypatch):
    """Which files are read and how often records are fitted; pictures are not written."""
    counts, read_table, fit_results = Counter(), run.read_table, fit.fit_results
    for module in (run, fit):
        monkeypatch.setattr(module, "read_table", lambda path: counts.update([path.name]) or read_table(path))
    monkeypatch.setattr(fit, "fit_results", lambda results: counts.update(["fitted"]) or fit_results(results))
    monkeypatch.setattr("lengthscale.bench.figures.mpl.gallery.write", lambda *_: [])
    return counts


def test_a_folder_is_read_once_and_fitted_once(tmp_path, counted):
    folder = first_run(tmp_path / "run")
    [loaded] = html.read_folders(folder)
    html.write_report(loaded)
    assert counted == {"train.csv": 1, "decode.csv": 1, "quality.csv": 1, "fitted": 1}
    counted.clear()
    mpl.plot_folder(run.read_run(folder))
    assert counted == dict.fromkeys(("train.csv", "decode.csv", "quality.csv", "fits.csv", "crossovers.csv"), 1)


def test_a_run_that_ends_reads_nothing_and_is_fitted_once(tmp_path, counted, capsys):
    folder = first_run(tmp_path / "run")
    finish.finish(folder, RunFolder(folder).results(), Console())
    assert "tries again" not in capsys.readouterr().out
    assert counted == {"fitted": 1}


def test_a_run_is_the_same_from_its_records_and_from_its_files(tmp_path):
    folder = first_run(tmp_path / "run")
    assert run.run_of(folder, RunFolder(folder).results()) == run.read_rows(folder)


def test_two_runs_in_one_figure_keep_curves_and_failures_apart(described):
    [time] = [each for each in compared.merged(described, described) if each.place.name == "train-time"]
    assert Counter(curve.run for curve in time.curves) == {0: 5, 1: 5}
    assert {curve.name[-2:] for curve in time.curves} == {" A", " B"}
    assert not [mark for mark in time.marks if isinstance(mark, DrawnCrossing | Extrapolated)]
    assert {failures.run for failures in time.failures} == {0, 1}


def test_failures_in_words():
    at = (Failure(512, "oom", 0), Failure(1024, "oom", 1), Failure(2048, "oom", 2), Failure(8192, "timeout", 4))
    assert str(Failures("gru", "gru", at, (512, 1024, 2048, 4096, 8192))) == "gru: oom at 512 to 2k; timeout at 8k"


def test_the_picture_of_peers(tmp_path):
    columns = "row,measure,length,batch,cores,ratio,ratio_low,ratio_high,git_sha"
    lines = ["lstm,train,512,1,1,2,1.9,2.1,abc", "lstm,train,2048,1,1,,,,abc", "mamba,forward,512,8,1,3,2.5,3.5,012"]
    (tmp_path / "peers.csv").write_text("\n".join([columns, *lines]) + "\n")
    facts = {"backend": "cpu", "cpu_model": "Some CPU", "git_dirty": False, "peers": {"torch": "2.0", "mambapy": None}}
    (tmp_path / "peers.json").write_text(json.dumps(facts))
    forward, train = plot.figures_of(read_table(tmp_path / "peers.csv").text_rows())
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
