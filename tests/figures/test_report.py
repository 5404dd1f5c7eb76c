"""The report says what the CSVs say, of one run or two; it loads nothing, and runs no planted script."""

import csv
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from lengthscale.bench.analysis import answer, fit
from lengthscale.bench.commands import finish
from lengthscale.bench.figures.html import about, hover
from lengthscale.bench.figures.html.page import json_of
from lengthscale.bench.figures.run import read_run
from lengthscale.bench.figures.style import DARK, LIGHT, STYLE
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.folder import RunFolder
from tests.helpers.reports import (
    LENGTHS,
    PLANTED,
    first_run,
    flowing,
    page_of,
    record,
    report_of,
    step_ms,
    timed,
    verdicts,
)
from tests.helpers.runs import FACTS, finished_run, written_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return first_run(tmp_path_factory.mktemp("some-cpu-2cpu") / "default-1")


@pytest.fixture(scope="module")
def page(folder):
    return page_of(report_of(folder))


def test_the_answer_is_that_of_the_fits(folder, page):
    fits, crossovers = fit.fit_results(RunFolder(folder).results())
    sentences = answer.sentences(fits, crossovers, FACTS)
    assert len(sentences) == 3
    assert "mamba passes transformer at 2,4" in sentences[1] or "mamba passes transformer at 2,5" in sentences[1]
    for sentence in sentences:
        assert flowing(sentence) in flowing(page.text)


def test_every_row_of_every_csv_is_in_the_page(folder, page):
    measured = page.table("measurements")
    held = [{k: v for k, v in zip(measured["columns"], row, strict=True) if v} for row in measured["rows"]]
    wanted = []
    for measure in MEASURES:
        if (folder / f"{measure}.csv").exists():
            with open(folder / f"{measure}.csv", newline="") as file:
                wanted += [{"measure": measure, **{k: v for k, v in row.items() if v}} for row in csv.DictReader(file)]
    assert held == wanted
    assert len(wanted) == 6 * 3 + 4 * 2 + 3 * 3
    for name in ("fits", "crossovers"):
        with open(folder / f"{name}.csv", newline="") as file:
            columns, *rows = csv.reader(file)
        assert (page.table(name)["columns"], page.table(name)["rows"]) == (columns, rows)
        assert rows


LOW = 0.9755  # Student's t with 2 degrees of freedom: exp(-4.303 x 0.01 / sqrt(3))


def test_curves_are_those_of_the_csv(page):
    time = page.curve("train-time", "gru")
    assert time["x"] == LENGTHS
    assert time["y"] == pytest.approx([step_ms("gru", n) for n in LENGTHS], rel=1e-5)
    assert time["low"] == pytest.approx([LOW * step_ms("gru", n) for n in LENGTHS], rel=1e-3)
    assert time["p90"] == pytest.approx([1.06 * step_ms("gru", n) for n in LENGTHS], rel=1e-5)
    speed = page.curve("train-throughput", "gru")
    assert speed["y"] == pytest.approx([1e4] * 6, rel=1e-5)
    assert speed["high"] == pytest.approx([1e4 * LOW] * 6, rel=1e-3)
    memory = page.curve("train-memory", "gru")
    assert (memory["y"], memory["planned"]) == ([3 * n for n in LENGTHS], [2 * n for n in LENGTHS])
    assert page.curve("decode-state", "transformer")["y"] == [n / 1000 for n in LENGTHS[:4]]
    loss = page.curve("quality-loss-context-0", "mamba")
    assert loss["x"] == [1, 16, 256]
    assert loss["y"] == pytest.approx([2.3, 2.27227, 2.24455], rel=1e-5)
    assert page.curve("train-share", "gru")["y"] == [25] * 6
    assert page.curve("train-compile", "gru")["y"] == [0.5] * 6


def test_the_fit_goes_on_dashed_and_says_where_they_cross(page):
    lengths, figures = page.curve("train-time", "gru")["beyond"]
    assert (lengths[0], lengths[-1]) == (LENGTHS[-1], 2 * LENGTHS[-1])
    assert figures[-1] == pytest.approx(step_ms("gru", 2 * LENGTHS[-1]), rel=0.02)
    crossing = page.figure("train-time")["crossing"]
    assert crossing["length"] == pytest.approx(2500, rel=0.05)
    assert crossing["low"] < crossing["length"] < crossing["high"]
    assert page.figure("train-memory")["crossing"] is None


def test_a_model_looks_as_in_the_other_pictures(page):
    assert page.data["order"] == ["gru", "transformer", "mamba"]
    for model in page.data["order"]:
        look = page.data["models"][model]
        assert (look["light"][0], look["dark"][0]) == (LIGHT.colour(model), DARK.colour(model))
        assert look["symbol"] == STYLE[model][1]


def test_a_hover_is_the_row_in_words(page):
    curve = page.curve("train-time", "gru")
    said = page.data["hovers"][curve["rows"][1]]
    assert said.startswith("<b>gru</b><br>small, float32, batch 1<br>Training step, 512 tokens<br>status: ok<br>")
    assert "51.2 ms [49.9, 52.5]<br>p10 to p90 49.7 to 54.3 ms, 15 samples" in said
    assert "10,000 tokens/s, 25% of a matrix product's rate<br>peak 1,540 MB, planned 1,020 MB" in said
    noisy = page.curve("decode-time", "mamba")
    assert "15 samples, noisy" in page.data["hovers"][noisy["rows"][0]]
    assert "state 0.005 MB" in page.data["hovers"][noisy["rows"][0]]
    loss = page.curve("quality-loss-context-0", "gru")
    assert "loss 2.5 [2.3, 2.7], accuracy 0.3 at a context of 1" in page.data["hovers"][loss["rows"][0]]


def test_a_hover_tells_of_a_generation():
    row = {"model": "gru", "status": "ok", "length": "1024", "ttft_ms": "130.4", "tpot_ms": "0.51", "new_tokens": "64"}
    parts = {"weights_bytes": "14e6", "state_bytes": "1e6", "activation_bytes": "5e6"}
    said = hover.text_of("generate", {**row, **parts})
    assert "the first of 64 new tokens 130 ms, each other one 0.51 ms" in said
    assert "weights 14 MB, state 1 MB, activations 5 MB" in said


def test_what_failed_is_marked_and_told_with_its_reason(page):
    figure = page.figure("train-time")
    [failed] = figure["failed"]
    assert (failed["name"], failed["x"]) == ("transformer", [LENGTHS[-1]])
    assert "status: oom in compile<br>&lt;/script&gt;" in page.data["hovers"][failed["rows"][0]]
    assert "transformer: oom at 8k" in page.text
    assert flowing(f"train transformer oom 8k compile {PLANTED}") in flowing(page.text)


def test_a_planted_script_stays_text(folder, page):
    raw = (folder / "report.html").read_text()
    assert PLANTED not in raw
    assert "<script>alert" not in raw
    assert "onerror=alert(2)>" not in raw
    assert len(page.scripts) == 3
    at = page.table("measurements")["columns"].index("message")
    assert PLANTED in [row[at] for row in page.table("measurements")["rows"]]
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    text = json_of({"a": "</script><!--\u2028&"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--\u2028&"}


def test_nothing_is_loaded_from_anywhere(folder, page):
    links = [value for _, name, value in page.attributes if name in ("src", "href", "srcset", "data", "action")]
    assert links
    assert all(link.startswith("#") for link in links)
    [policy] = [value for tag, name, value in page.attributes if tag == "meta" and "default-src" in value]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert policy.count("sha256-") == 2
    assert "unsafe-inline" not in policy.partition("style-src")[0]
    anchors = {value for _, name, value in page.attributes if name == "id"}
    assert {link[1:] for link in links} <= anchors
    assert 4e6 < (folder / "report.html").stat().st_size < 6e6


def test_the_same_folder_gives_the_same_bytes(folder):
    first = report_of(folder).read_bytes()
    assert report_of(folder).read_bytes() == first


def test_stale_fits_are_made_anew(tmp_path):
    folder = first_run(tmp_path / "run")
    fits, _ = fit.fit_results(RunFolder(folder).results())
    (folder / "fits.csv").write_text("measure,quantity,model\ntrain,time_ms,stale\n")
    (folder / "crossovers.csv").write_text("quantity\nstale\n")
    page = page_of(report_of(folder))
    assert "stale" not in (folder / "fits.csv").read_text() + (folder / "crossovers.csv").read_text()
    shown = page.table("fits")
    assert [row[shown["columns"].index("model")] for row in shown["rows"]] == [each.series.model for each in fits]


def test_claims_are_the_folders_own_or_the_newest_beside_it_or_said_to_be_missing(tmp_path):
    folder = first_run(tmp_path / "run")
    page = page_of(report_of(folder))
    assert "./run_bench.sh claims" in page.text
    assert not re.search(r"\b(holds|fails)\b", page.text)
    claim = verdicts(tmp_path / "claims-20260101", "holds")
    verdicts(tmp_path / "claims-20260202", "fails")
    verdicts(tmp_path / "claims-20260303", "holds", device="another")
    page = page_of(report_of(folder))
    assert f"{claim.number}. {claim.statement}" in page.text
    assert "a <ratio> 4.9x [4.7, 5.2] ✕ fails over 4 256 to 4096 took long" in page.text
    assert "From claims-20260202, another run on this device (commit fed)." in page.text
    assert "holds" not in page.text
    verdicts(folder, "holds")
    page = page_of(report_of(folder))
    assert "✓ holds" in page.text
    assert "another run on this device" not in page.text


@pytest.mark.parametrize(
    ("text", "said"),
    [("claim,name\n1,x\n", "has no column statement"), (None, "a value that is not a number")],
)
def test_claims_that_cannot_be_read_are_no_claims_that_are_missing(tmp_path, text, said):
    folder = first_run(tmp_path / "run")
    verdicts(folder, "holds")
    file = folder / "claims.csv"
    file.write_text(text or file.read_text().replace("4.9", "many"))
    with pytest.raises(JournalError, match=said):
        report_of(folder)


def test_how_to_do_it_again(tmp_path, page):
    assert "git checkout abc ./run_bench.sh run --models gru,transformer,mamba ./run_bench.sh report" in page.text
    facts = {**FACTS, "git_dirty": True, "jax_flags": {"JAX_X": "1 2"}}
    folder = finished_run(tmp_path / "a run", facts=facts, merged=["s1", "s2"])
    again = about.reproduce(read_run(folder))
    assert again.lines == ["git checkout abc", "./run_bench.sh", f"./run_bench.sh report '{folder}'"]
    assert "Merged from s1, s2: each ran a part with --shard." in again.notes
    assert any("uncommitted changes" in note for note in again.notes)
    assert "Flags at that time: JAX_X=1 2." in again.notes
    suite = json.loads((folder / "suite.json").read_text())
    del suite["arguments"]
    (folder / "suite.json").write_text(json.dumps(suite))
    again = about.reproduce(replace(read_run(folder), environment={}))
    assert again.lines[0] == "./run_bench.sh run --suite quick"
    assert any("does not say how the run was started" in note for note in again.notes)
    (folder / "suite.json").unlink()
    assert about.reproduce(replace(read_run(folder), environment={})).lines == [f"./run_bench.sh report '{folder}'"]


def test_noise_is_counted(tmp_path, folder):
    said = about.noise(read_run(folder))
    assert said[0].startswith("4 of 28 timings are noisy")
    cells = [each for n in (256, 512) for each in record("train", "gru", n, [timed(n / 10, n)], ms=n / 10)]
    facts = {**FACTS, "load_average": [1.9, 1, 1], "swap_used_bytes": 5_000_000}
    said = about.noise(read_run(written_run(tmp_path / "run", cells, facts)))
    assert said[0].startswith("None of 2 timings is flagged")
    assert "The machine was not idle when the run began: a load of 1.90 on 2 cores." in said
    assert "5 MB were swapped out." in said


def test_reasons_that_differ_are_told_apart(tmp_path):
    reasons = {512: "a", 1024: "a", 2048: "b"}
    bad = [each for n, why in reasons.items() for each in record("train", "gru", n, status="skipped", message=why)]
    run = read_run(written_run(tmp_path / "run", [*record("train", "gru", 256, [{"loss": 1.0}]), *bad]))
    assert [(each.message, each.where, each.status) for each in about.missing(run)] == [
        ("a", "512, 1k", "skipped"),
        ("b", "2k", "skipped"),
    ]


def test_a_run_ends_with_the_path_and_keeps_its_results_where_drawing_fails(tmp_path, monkeypatch, capsys):
    folder = finished_run(tmp_path / "run")
    monkeypatch.setattr("lengthscale.bench.figures.mpl.plot_folder", lambda run: [])
    results = RunFolder(folder).results()
    console = Console(width=300)
    finish.finish(folder, results, console)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [f"results: {folder}", f"report: {folder / 'report.html'}"]
    assert lines[-5].startswith("On Some CPU, 2 cores")
    (folder / "report.html").unlink()

    def broken(*_):
        raise ZeroDivisionError("of the [drawing]")

    monkeypatch.setattr("lengthscale.bench.figures.html.command.html_of", broken)
    finish.finish(folder, results, console)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("no report: ZeroDivisionError: of the [drawing] (lengthscale report ")
    assert (folder / "summary.md").exists()
    assert not (folder / "report.html").exists()
