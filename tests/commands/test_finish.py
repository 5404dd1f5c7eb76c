"""The end of a run: a step that fails costs its own output, but not the others or the exit code's meaning."""

import csv
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from rich.console import Console

from lengthscale.bench.__main__ import main
from lengthscale.bench.commands import finish
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.codec import read_journal
from lengthscale.bench.results.result import results_of
from tests.helpers.reports import page_of
from tests.helpers.runs import CELL, finished_run, made

BROKEN = {
    "summary": ("lengthscale.bench.analysis.summary.summarise", "run --resume"),
    "fits": ("lengthscale.bench.analysis.fit.write_fits", "fit"),
    "plots": ("lengthscale.bench.figures.mpl.plot_folder", "plot"),
    "report": ("lengthscale.bench.figures.html.write_report", "report"),
}


def break_it(monkeypatch, *names):
    def fails(*arguments, **named):
        raise ZeroDivisionError("of [this] step")

    for name in names:
        monkeypatch.setattr(BROKEN[name][0], fails)


@pytest.fixture
def drawn(monkeypatch):
    """Which of the slow steps were done; they are tested elsewhere."""
    done = []
    monkeypatch.setattr(BROKEN["plots"][0], lambda run: done.append("plots"))
    monkeypatch.setattr(BROKEN["report"][0], lambda run: done.append("report") or run.folder / "report.html")
    return done


@pytest.mark.parametrize("name", [*BROKEN, "all"])
def test_a_step_that_fails_is_one_line_and_the_others_are_done(name, tmp_path, monkeypatch, capsys, drawn):
    folder = finished_run(tmp_path / "a run")
    names = list(BROKEN) if name == "all" else [name]
    break_it(monkeypatch, *names)
    finish.finish(folder, results_of(read_journal(folder / "journal.jsonl")), Console(width=300))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("no ")] == [
        f"no {each}: ZeroDivisionError: of [this] step (lengthscale {BROKEN[each][1]} '{folder}' tries again)"
        for each in names
    ]
    assert (folder / "summary.md").exists() == ("summary" not in names)
    assert (folder / "fits.csv").exists() == ("fits" not in names)
    assert drawn == [each for each in ("plots", "report") if each not in names]
    assert f"results: {folder}" in lines
    assert (lines[-1] == f"report: {folder / 'report.html'}") == ("report" not in names)


def test_the_first_picture_is_the_report_and_its_failure_is_one_line(tmp_path, monkeypatch, capsys):
    folder = finished_run(tmp_path / "run")
    results = results_of(read_journal(folder / "journal.jsonl"))
    monkeypatch.setattr(BROKEN["plots"][0], None)  # it draws no files
    finish.first_picture(folder, results, Console(width=300))
    path = folder / "report.html"
    assert len(page_of(path).table("measurements")["rows"]) == len(results)
    assert capsys.readouterr().out.startswith(f"report of the first replicates: {path}; it is written again at the end")
    break_it(monkeypatch, "report")
    finish.first_picture(folder, results, Console(width=300))
    assert capsys.readouterr().out == "no report of the first replicates: ZeroDivisionError: of [this] step\n"


def test_what_was_measured_is_shown_where_it_cannot_be_fitted(tmp_path, monkeypatch, capsys):
    folder = finished_run(tmp_path / "run")
    records = read_journal(folder / "journal.jsonl")
    runs = []
    monkeypatch.setattr(BROKEN["plots"][0], runs.append)

    def fails(records):
        raise ZeroDivisionError("of [this] fit")

    monkeypatch.setattr("lengthscale.bench.analysis.fit.fit_results", fails)
    finish.finish(folder, results_of(records), Console(width=300))
    failed = [line.split(":")[0] for line in capsys.readouterr().out.splitlines() if line.startswith("no ")]
    assert failed == ["no fits"]
    assert (folder / "summary.md").exists()
    page = page_of(folder / "report.html")
    assert len(page.table("measurements")["rows"]) == len(records)
    assert page.table("fits")["rows"] == []
    [run] = runs
    assert [row.text("model") for row in run.rows["train"]] == [record.cell.model for record in records]
    assert run.fits == run.crossings == []


@pytest.mark.parametrize(
    ("statuses", "interrupted", "code"),
    [(["ok"], False, 0), (["ok", "oom"], False, 3), (["ok"], True, 130), ([], True, 130)],
)
def test_the_exit_code_is_that_of_the_measurements(statuses, interrupted, code, tmp_path, monkeypatch, capsys, drawn):
    break_it(monkeypatch, *BROKEN)
    cells = [replace(CELL, length=length) for length in (64, 128)]
    results = results_of(made(cell, status) for cell, status in zip(cells, statuses, strict=False))
    request = SimpleNamespace(cells=cells, settings=Settings(replicates=1), minutes=math.inf)
    monkeypatch.setattr("lengthscale.bench.host.request.make_request", lambda given: request)
    monkeypatch.setattr(
        "lengthscale.bench.host.sweep.run_sweep",
        lambda request, console, deadline, on_first: (tmp_path, results, interrupted),
    )
    assert main(["run", "--suite", "quick"]) == code
    printed = capsys.readouterr().out
    assert printed.count("tries again") == (4 if results else 0)
    assert (f"interrupted; replicates left: {2 - len(statuses)}; run --resume {tmp_path}" in printed) == interrupted


def test_seeds_of_one_run_are_series_of_their_own(tmp_path, drawn):
    """They differ in nothing but the seed; of two at one length no slope can be taken."""
    cells = [replace(CELL, length=length, seed=seed) for length in (64, 128) for seed in (0, 1)]
    folder = finished_run(tmp_path / "run", cells)
    paper = Console(width=200, record=True)
    finish.finish(folder, results_of(read_journal(folder / "journal.jsonl")), paper)
    assert "tries again" not in paper.export_text()
    rows = (folder / "summary.md").read_text().splitlines()[2:]
    assert [row.split(" | ")[1] for row in rows] == ["rnn tiny, seed 0", "rnn tiny, seed 1"]
    with open(folder / "fits.csv") as file:
        fits = {(row["seed"], row["quantity"]): row["n_points"] for row in csv.DictReader(file)}
    assert fits["0", "time_ms"] == fits["1", "time_ms"] == "2"
    assert drawn == ["plots", "report"]
