"""The journal survives a torn line, refuses a corrupt one, and gives every cell a row."""

import csv
import json
from dataclasses import asdict

import pytest

from bench.cell import Cell
from bench.journal import Journal, JournalError, read_journal, write_csvs

CELL = Cell("train", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", 0)


def record(length, status="ok", rows=({"time_median_ms": 1.23456789, "n_params": 7},)):
    cell = {**asdict(CELL), "length": length}
    environment = {"device_kind": "cpu"}
    fields = {"status": status, "stage": "", "message": "", "rows": list(rows)}
    return {"cell": cell, **fields, "environment": environment}


def test_what_is_appended_is_read_again(tmp_path):
    journal = Journal(tmp_path)
    journal.append(record(16))
    journal.append(record(32, "timeout", rows=()))
    journal.close()
    assert read_journal(tmp_path / "journal.jsonl") == [record(16), record(32, "timeout", rows=())]


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_torn_last_line_is_dropped_and_writing_goes_on(tmp_path, cut):
    lines = [json.dumps(record(length)) for length in (16, 32)]
    (tmp_path / "journal.jsonl").write_text(f"{lines[0]}\n{lines[1][:cut]}")
    journal = Journal(tmp_path)
    assert journal.records == [record(16)]
    journal.append(record(64))
    journal.close()
    assert read_journal(tmp_path / "journal.jsonl") == [record(16), record(64)]


def test_a_corrupt_line_is_named_and_kept(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text(f"{json.dumps(record(16))}\nnonsense\n{json.dumps(record(32))}\n")
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"journal\.jsonl, line 2"):
        Journal(tmp_path)
    assert path.read_bytes() == before


def test_what_is_not_finite_is_blank(tmp_path):
    journal = Journal(tmp_path)
    journal.append(record(16, rows=({"loss": float("nan")},)))
    journal.close()
    assert read_journal(tmp_path / "journal.jsonl")[0]["rows"] == [{"loss": None}]


def test_one_writer_at_a_time(tmp_path):
    journal = Journal(tmp_path)
    with pytest.raises(JournalError, match="in use by another run"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


def test_csvs_hold_every_cell_and_leave_blanks(tmp_path):
    records = [record(16), record(32, "oom", rows=())]
    write_csvs(tmp_path, records)
    with open(tmp_path / "train.csv") as file:
        first, second = csv.DictReader(file)
    assert (first["length"], first["status"], first["time_median_ms"]) == ("16", "ok", "1.23457")
    assert (second["length"], second["status"], second["time_median_ms"]) == ("32", "oom", "")
    assert first["device_kind"] == second["device_kind"] == "cpu"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.csv"]
