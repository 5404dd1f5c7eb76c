"""The command line: end to end in a temporary folder, and every kind of bad input."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.plan.suites import SUITES
from lengthscale.bench.results.codec import read_journal
from lengthscale.bench.results.validate import validate
from tests.helpers.paths import ROOT, environment

SMALL = ["--suite", "quick", "--size", "tiny", "--train-tokens", "4096", "--replicates", "1"]
REQUIRED = """model size method length batch dtype data seed n_params status stage message time_median_ms time_p10_ms
    time_p90_ms n_samples tokens_per_s compile_s flops mem_planned_bytes mem_peak_bytes mem_source""".split()


def read_csv(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def start(*arguments, cwd=ROOT):
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "lengthscale.bench", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        cwd=cwd,
    )


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A finished run: one model, four measures, one length."""
    folder = tmp_path_factory.mktemp("run")
    process = start("run", *SMALL, "--models", "transformer", "--lengths", "128", "--out", folder, cwd=folder)
    output, _ = process.communicate(timeout=400)
    return folder, output, process.returncode


def test_end_to_end(swept):
    folder, output, code = swept
    assert code == 0, output
    assert "[4/4] transformer quality text L=128" in output
    names = {path.name for path in folder.iterdir()}
    assert {f"{m}.csv" for m in ("forward", "train", "decode", "quality")} <= names
    assert {"journal.jsonl", "environment.json", "suite.json", "summary.md", "plots", "report.html"} <= names
    assert output.splitlines()[-1] == f"report: {folder / 'report.html'}"
    for measure in ("forward", "train", "decode", "quality"):
        rows = read_csv(folder / f"{measure}.csv")
        assert set(REQUIRED) <= set(rows[0])
        assert {(row["model"], row["length"]) for row in rows} == {("transformer", "128")}
        assert all(row["status"] == "ok" and float(row["time_median_ms"]) > 0 for row in rows)
        assert all(row["flops"] and row["mem_planned_bytes"] for row in rows)
        assert all(float(row["flops_per_s"]) > 0 and 0 < float(row["gemm_share"]) < 1 for row in rows)
    assert validate(folder) == ([], [])


def test_the_figures_hang_together(swept):
    folder, _, _ = swept
    for row in read_csv(folder / "train.csv"):
        tokens = int(row["length"]) * int(row["batch"])
        assert float(row["tokens_per_s"]) == pytest.approx(tokens / float(row["time_median_ms"]) * 1e3, rel=1e-4)
        assert 4 < float(row["loss"]) < 7  # an untrained model of 256 bytes: ln 256 = 5.5
    (decoded,) = read_csv(folder / "decode.csv")
    assert int(decoded["state_bytes"]) == 4 + 128 * 2 * 2 * 32 * 4  # a position; keys and values of 2 layers of 32
    quality = read_csv(folder / "quality.csv")
    curve = [row for row in quality if row["seen_tokens"]]
    assert len(curve) >= 3 * len({(row["model"], row["length"]) for row in quality})
    assert all(float(row["seen_loss"]) > 0 and not row["loss"] for row in curve)
    quality = [row for row in quality if row not in curve]
    contexts = {row["context"] for row in quality if not row["eval_length"]}
    assert contexts == {str(c) for c in SUITES["quick"].settings.contexts}
    assert all(row["eval_length"] == row["length"] for row in quality if not row["context"])
    assert all(float(row["loss_low"]) <= float(row["loss"]) <= float(row["loss_high"]) for row in quality)
    assert {int(row["batch"]) * int(row["length"]) for row in quality} == {SUITES["quick"].settings.step_tokens}


def test_plots_are_drawn_again(swept, capsys):
    folder, _, _ = swept
    for path in (folder / "plots").iterdir():
        path.unlink()
    assert main(["plot", str(folder)]) == 0
    kinds = {path.suffix for path in (folder / "plots").iterdir()}
    assert kinds == {".png", ".svg"}
    svg = (folder / "plots" / "overview.svg").read_text()
    assert len(svg) > 20_000
    assert {"train_time", "train_memory", "decode_latency", "decode_state", "quality_loss"} <= {
        path.stem for path in (folder / "plots").iterdir()
    }


@pytest.mark.fault("configuration or code changed, then `--resume`")
def test_another_configuration_is_refused(swept, capsys):
    folder, _, _ = swept
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert main(["run", *SMALL, "--lengths", "32", "--out", str(folder)]) == 2
    assert "holds another configuration" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_resume_needs_no_other_options_and_takes_none(swept, capsys, monkeypatch):
    folder, _, _ = swept
    before = (folder / "journal.jsonl").read_bytes()
    monkeypatch.setattr("lengthscale.bench.commands.finish.STEPS", ())
    assert main(["run", "--resume", str(folder)]) == 0
    assert "4 of 4 replicates of 4 cells" in " ".join(capsys.readouterr().out.split())
    assert (folder / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "rnn"], "leave out --models rnn"),
        (["--out", "elsewhere"], "leave out --out elsewhere"),
        ([], "there is no suite.json, so there is no run to continue"),
    ],
)
def test_resume_refuses_what_it_cannot_do(tmp_path, capsys, arguments, message):
    assert main(["run", "--resume", str(tmp_path), *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def wait_for_records(folder, count, process, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        if len(read_journal(folder / "journal.jsonl")) >= count:
            return
        time.sleep(0.05)
    pytest.fail(
        f"{count} records did not come: {process.communicate(timeout=5)[0] if process.poll() is not None else ''}"
    )


@pytest.mark.slow
def test_an_interrupted_run_of_real_cells_leaves_what_was_finished_and_can_go_on(tmp_path):
    parts = "run --suite quick --models rnn,gru,lstm --measures forward --lengths 8 --replicates 2 --out"
    command = (*parts.split(), tmp_path)
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    process = start(*command)
    signal.signal(signal.SIGINT, ours)
    wait_for_records(tmp_path, 1, process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    kept = read_journal(tmp_path / "journal.jsonl")
    assert 1 <= len(kept) < 3
    assert len(read_csv(tmp_path / "forward.csv")) == len(kept)
    again = start(*command)
    output, _ = again.communicate(timeout=120)
    assert again.returncode == 0, output
    assert f"{len(kept)} of 6 replicates of 3 cells" in " ".join(output.split())
    finished = [(record.cell.model, record.replicate) for record in read_journal(tmp_path / "journal.jsonl")]
    assert sorted(finished) == [(model, number) for model in ("gru", "lstm", "rnn") for number in (0, 1)]
    assert read_journal(tmp_path / "journal.jsonl")[: len(kept)] == kept


def test_all_mistakes_at_once_before_anything_is_computed(tmp_path, capsys):
    out = tmp_path / "new"
    wrong = """--models mambo,rnn --measures trane --size smal --methods chunky --dtype float23 --lengths 64,-3
        --data txt --batch 0"""
    assert main(["run", *wrong.split(), "--out", str(out)]) == 2
    errors = " ".join(capsys.readouterr().err.split())
    for part in (
        "unknown model 'mambo'; did you mean 'mamba'?",
        "unknown measure 'trane'; did you mean 'train'?",
        "unknown size 'smal'; did you mean 'small'?",
        "unknown method 'chunky'; did you mean 'chunked'?",
        "unknown dtype 'float23'; did you mean 'float32'?",
        "length '-3' is not a positive whole number",
        "did you mean 'text'?",
        "--batch: expected a positive whole number, got '0'",
    ):
        assert part in errors, errors
    assert not out.exists()


def test_an_unknown_suite(capsys):
    assert main(["run", "--suite", "quik", "--models", "mambo"]) == 2
    errors = " ".join(capsys.readouterr().err.split())
    assert "unknown suite 'quik'; did you mean 'quick'?" in errors
    assert "did you mean 'mamba'?" in errors


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no file or folder of this name"), (b"", "is empty"), (b"x" * 1024, "length 1024 needs 1025")],
)
def test_data_that_cannot_be_used(tmp_path, capsys, content, message):
    path = tmp_path / "data.bin"
    if content is not None:
        path.write_bytes(content)
    assert main(["run", *SMALL, "--measures", "train", "--lengths", "1k", "--data", str(path)]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_quality_needs_data_for_both_of_its_parts(tmp_path, capsys):
    path = tmp_path / "data.bin"
    path.write_bytes(b"x" * 2000)
    assert main(["run", *SMALL, "--measures", "quality", "--lengths", "1k", "--data", str(path)]) == 2
    errors = " ".join(capsys.readouterr().err.split())
    assert "its held-out part has 200 tokens; 1025 are needed" in errors


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main(["run", *SMALL, "--out", str(tmp_path / "new")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_an_output_folder_below_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert main(["run", *SMALL, "--out", str(tmp_path / "file" / "run")]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_plot_of_nothing(tmp_path, capsys):
    assert main(["plot", str(tmp_path)]) == 2
    assert "holds no CSV" in " ".join(capsys.readouterr().err.split())


def test_a_listed_sweep_runs_nothing(tmp_path, capsys):
    assert main(["run", "--suite", "long", "--list", "--out", str(tmp_path / "new")]) == 0
    listed = capsys.readouterr().out
    assert "measure=train model=mamba size=small method=auto length=1048576 batch=1 dtype=float32 chunk=4096" in listed
    assert "model=transformer size=small method=auto length=1048576 batch=1 dtype=float32 chunk=0" in listed
    assert not (tmp_path / "new").exists()


def test_a_dry_run_predicts_and_writes_nothing(tmp_path, capsys):
    options = f"--models rnn --measures train --lengths 32,64 --dry-run --out {tmp_path / 'new'}"
    assert main(["run", *SMALL, *options.split()]) == 0
    output = capsys.readouterr().out
    assert "rnn train L=64" in output
    assert "predicted:" in output
    assert not (tmp_path / "new").exists()


def test_a_method_that_a_model_lacks_is_a_row(tmp_path, monkeypatch):
    monkeypatch.setattr("lengthscale.bench.commands.finish.STEPS", ())  # pictures take longer than the run
    options = f"--models rnn --measures decode --lengths 8 --methods associative --out {tmp_path}"
    assert main(["run", *SMALL, *options.split()]) == 0
    (row,) = read_csv(tmp_path / "decode.csv")
    assert row["status"] == "unsupported"
    assert "rnn has no method 'associative'" in row["message"]
