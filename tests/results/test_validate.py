"""`validate`: a real run's folder is valid, and every damage is named with its place."""

import json
import shutil

import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.results.validate import validate
from tests.helpers.runs import finished_run


@pytest.fixture
def folder(tmp_path):
    return finished_run(tmp_path / "run")


def edit(path, change):
    """Change the second record of the journal, or a JSON file."""
    lines = path.read_text().splitlines()
    at = min(1, len(lines) - 1) if path.suffix == ".jsonl" else None
    held = json.loads(lines[at] if at is not None else path.read_text())
    change(held)
    if at is None:
        path.write_text(json.dumps(held))
    else:
        path.write_text("\n".join([*lines[:at], json.dumps(held), *lines[at + 1 :]]) + "\n")


def test_a_finished_run_is_valid(folder, capsys):
    assert validate(folder) == ([], [])
    assert main(["validate", str(folder)]) == 0
    assert "valid, 4 cells" in capsys.readouterr().out


ROW_FAULTS = {
    "time_median_ms is -1, not positive": {"time_median_ms": -1.0},
    "time_p10_ms <= time_median_ms <= time_p90_ms does not hold": {"time_p90_ms": 0.5},
    "tokens_per_s is 1, tokens over time_median_ms": {"tokens_per_s": 1.0},
    "n_samples is 4, but there are 5 samples": {"n_samples": 4},
    "mem_peak_bytes is 1e+15, more than the device's": {"mem_peak_bytes": 10**15},
    "flops is -2, negative": {"flops": -2},
    "train has no column 'dt'": {"dt": 1.0},
}


@pytest.mark.parametrize("message", list(ROW_FAULTS))
def test_impossible_values_are_named(folder, message):
    edit(folder / "journal.jsonl", lambda record: record["rows"][0].update(ROW_FAULTS[message]))
    wrong, _ = validate(folder)
    assert any(each.startswith("journal.jsonl, line 2: ") and message in each for each in wrong), wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(status="fine"), "field status: Invalid enum value 'fine'"),
        (lambda record: record["rows"][0].update(speed=1.0), "field rows[0]: Object contains unknown field `speed`"),
        (lambda record: record["rows"][0].update(steps="ten"), "field rows[0].steps: Expected `int | null`, got `str`"),
        (lambda record: record.update(rows=[]), "its status is ok, and it has no row"),
        (lambda record: record["cell"].update(length=0), "length is 0, not a positive number"),
        (lambda record: record["cell"].pop("seed"), "field cell: Object missing required field `seed`"),
        (lambda record: record["cell"].update(measure="speed"), "unknown measure 'speed'"),
        (lambda record: record.update(samples_ms=[9.0] * 5), "the samples' median 9"),
        (lambda record: record.update(rows=[1]), "field rows[0]: Expected `object`, got `int`"),
    ],
)
def test_records_that_cannot_be_are_named(folder, change, message):
    edit(folder / "journal.jsonl", change)
    wrong, _ = validate(folder)
    assert any("journal.jsonl, line 2" in each and message in each for each in wrong), wrong


@pytest.mark.fault("a CSV is edited or corrupt")
def test_a_csv_that_says_something_else_is_named_with_line_and_column(folder, capsys):
    path = folder / "train.csv"
    lines = path.read_text().splitlines()
    column = lines[0].split(",").index("time_median_ms")
    cells = lines[2].split(",")
    cells[column] = "0.001"
    path.write_text("\n".join([*lines[:2], ",".join(cells), *lines[3:]]) + "\n")
    assert main(["validate", str(folder)]) == 1
    assert "train.csv, line 3, time_median_ms: '0.001', but '" in capsys.readouterr().out
    path.write_bytes(b"\xff\xfe" + path.read_bytes())
    assert "train.csv is not text" in validate(folder)[0][0]
    path.write_text("x" * 100_000)
    assert "train.csv: 100000 bytes, but" in validate(folder)[0][0]
    path.unlink()
    assert validate(folder)[0] == ["train.csv: is missing"]


def test_other_files_that_are_missing_broken_or_not_of_this_run(folder):
    shutil.copy(folder / "train.csv", folder / "decode.csv")
    assert validate(folder)[0] == ["decode.csv: the journal has no such cells"]
    (folder / "decode.csv").unlink()
    edit(folder / "suite.json", lambda suite: suite["cells"].pop())
    assert "is not a cell of suite.json" in validate(folder)[0][0]
    (folder / "suite.json").write_text("{")
    assert "suite.json" in validate(folder)[0][0]
    (folder / "suite.json").unlink()
    assert validate(folder)[0] == ["there is no suite.json"]
    (folder / "journal.jsonl").unlink()
    assert "holds no journal.jsonl" in validate(folder)[0][0]


def test_an_unfinished_run_is_valid_and_says_so(folder):
    edit(folder / "suite.json", lambda suite: suite["cells"].append("measure=train model=later"))
    wrong, notes = validate(folder)
    assert wrong == []
    assert notes == ["1 of 5 cells have not been run; run --resume continues"]


def test_a_cell_that_is_there_twice(folder):
    journal = folder / "journal.jsonl"
    journal.write_text(journal.read_text() + journal.read_text().splitlines(keepends=True)[0])
    assert any("is there 2 times" in each for each in validate(folder)[0])


def test_of_records_of_an_older_schema_the_values_alone_are_looked_at(folder):
    """What was committed before the schema changed stays valid as far as it can be judged."""
    journal = folder / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"schema":3,', ""))
    (folder / "train.csv").write_text("model,length\n")
    wrong, (note,) = validate(folder)
    assert wrong == []
    assert note.startswith("4 records are of an older schema")
    edit(journal, lambda record: record["rows"][0].update(time_median_ms=-1.0))
    assert any("not positive" in each for each in validate(folder)[0])
