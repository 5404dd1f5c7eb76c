"""Two runs compared, where a report is written, and what is refused before anything is."""

import json

import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.analysis import answer, compare, fit
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.folder import RunFolder
from tests.helpers.reports import first_run, flowing, page_of, report_of, second_run, verdicts
from tests.helpers.runs import finished_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return first_run(tmp_path_factory.mktemp("some-cpu-2cpu") / "default-1")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return second_run(tmp_path_factory.mktemp("another-cpu-4cpu") / "default-2")


@pytest.fixture(scope="module")
def both(folder, other):
    return page_of(report_of(folder, other))


def test_two_runs_compared(folder, other, both):
    pairs, _, _ = compare.compare([folder], [other])
    rows = both.table("ratios")
    at = {name: rows["columns"].index(name) for name in ("ratio", "verdict", "length")}
    assert [row[at["ratio"]] for row in rows["rows"]] == [
        "" if p.ratio is None else f"{p.ratio.value:.4g}" for p in pairs
    ]
    timed = [row for row in rows["rows"] if row[at["ratio"]]]
    assert len(timed) == 17 + 8 + 3
    assert (
        "A was measured on Some CPU, 2 cores, B on Another <b>CPU</b>, 4 cores: the ratios compare devices."
        in both.text
    )
    for run in (folder, other):
        facts = json.loads((run / "environment.json").read_text())
        for sentence in answer.sentences(*fit.fit_results(RunFolder(run).results()), facts):
            assert flowing(sentence) in flowing(both.text)
    curve = both.curve("ratio-train", "mamba")
    assert curve["y"] == pytest.approx([2] * 6, rel=0.05)
    assert all(low < ratio < high for low, ratio, high in zip(curve["low"], curve["y"], curve["high"], strict=True))
    assert "code: abc -&gt; other" in (folder / report_of(folder, other).name).read_text()


def test_the_second_run_is_dashed_and_keeps_its_rows(both):
    a, b = both.curve("train-time", "gru A"), both.curve("train-time", "gru B")
    assert (a["run"], a["dash"], b["run"], b["dash"]) == (0, "solid", 1, "dash")
    assert b["y"] == pytest.approx([2 * y for y in a["y"]], rel=1e-5)
    columns, rows = both.table("measurements")["columns"], both.table("measurements")["rows"]
    for letter, curve in (("A", a), ("B", b)):
        for number, figure in zip(curve["rows"], curve["y"], strict=True):
            row = dict(zip(columns, rows[number], strict=True))
            assert (row["run"], row["measure"], row["model"]) == (letter, "train", "gru")
            assert float(row["time_median_ms"]) == pytest.approx(figure, rel=1e-5)
    figure = both.figure("train-time")
    assert {each["name"] for each in figure["failed"]} == {"transformer A", "transformer B"}
    assert "A: transformer: oom at 8k B: transformer: oom at 8k" in both.text
    assert figure["crossing"] is None
    assert not any(curve["beyond"] for curve in figure["curves"])


def test_cells_of_one_run_alone_are_counted(tmp_path, folder):
    alone = finished_run(tmp_path / "run")
    page = page_of(report_of(folder, alone, out=tmp_path / "both.html"))
    assert "No cell is in both." in page.text
    assert "29 cells are only in A." in page.text
    assert "4 cells are only in B." in page.text


def test_where_it_is_written(tmp_path, folder, other, capsys):
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out.split() == [str(folder / "report.html")]
    assert report_of(folder, other).name == f"report-{other.parent.name}-default-2.html"
    sibling = finished_run(folder.parent / "again")
    assert report_of(folder, sibling).name == "report-again.html"
    assert main(["report", str(folder), str(other), "--out", str(tmp_path / "x.html")]) == 0
    assert "B over A" in (tmp_path / "x.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{tmp}/nowhere"], "'{tmp}/nowhere': there is no such folder"),
        (["{run}", "{tmp}/nowhere"], "'{tmp}/nowhere': there is no such folder"),
        (["{run}", "{run}/"], "A and B are both '{run}'"),
        (["{run}", "{run}", "{run}"], "report takes one folder or two, got 3"),
        (["{tmp}"], "{tmp} holds no CSV of forward, train"),
        (["{run}", "--out", "{tmp}/nowhere/x.html"], "there is no folder '{tmp}/nowhere'"),
        (["{run}", "--out", "{tmp}"], "is a folder; name a file in it"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(tmp_path, capsys, arguments, said):
    run = finished_run(tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    assert main(["report", *(each.format(tmp=tmp_path, run=run) for each in arguments)]) == 2
    assert said.format(tmp=tmp_path, run=run) in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_folders_without_rows_or_environment_are_refused(tmp_path):
    folder = finished_run(tmp_path / "run")
    text = (folder / "train.csv").read_text()
    (folder / "train.csv").write_text(text.splitlines()[0] + "\n")
    with pytest.raises(JournalError, match="its CSVs have no rows"):
        report_of(folder)
    (folder / "train.csv").write_text("")
    with pytest.raises(JournalError, match="cannot be read"):
        report_of(folder)
    (folder / "train.csv").write_text(text)
    (folder / "environment.json").write_text("{}")
    with pytest.raises(JournalError, match=r"no environment\.json that says"):
        report_of(folder)
    home = tmp_path / "claims-1"
    verdicts(home, "holds")
    with pytest.raises(RequestError, match="no such folder"):
        report_of(tmp_path / "claims-2")
    with pytest.raises(JournalError, match="a folder of claims: its runs are below it"):
        report_of(home)
