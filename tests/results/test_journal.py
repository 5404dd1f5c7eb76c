"""The journal survives a torn line, a full disk and a dead holder, refuses what is corrupt or old, and every cell has
its row.
"""

import csv
import os
import resource
import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.results import tables as tables_module
from lengthscale.bench.results.codec import csv_of, line_of, read_journal
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.journal import Journal, locked
from lengthscale.bench.results.record import Conditions, Record, Row, row_of
from lengthscale.bench.results.result import results_of
from lengthscale.bench.results.tables import Tables
from tests.helpers.runs import changed, made

CELL = Cell("train", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", 0)


def record(length, status="ok", rows=({"time_median_ms": 1.23456789, "n_params": 7},), replicate=0):
    cell, known = replace(CELL, length=length), tuple(row_of(row) for row in rows)
    samples = (1.23456789,) if known else ()
    environment = Conditions(device_kind="cpu")
    return made(cell, status, replicate=replicate, rows=known, samples_ms=samples, environment=environment)


def journal_of(folder):
    return Journal(folder / "journal.jsonl", Record)


def test_what_is_appended_is_read_again(tmp_path):
    journal = journal_of(tmp_path)
    journal.append(record(16))
    journal.append(record(32, "timeout", rows=()))
    journal.close()
    assert read_journal(tmp_path / "journal.jsonl") == [record(16), record(32, "timeout", rows=())]


@pytest.mark.fault("the last line of the journal is incomplete")
@pytest.mark.parametrize("cut", [1, 20, -1])
def test_an_incomplete_last_line_is_dropped_and_writing_continues(tmp_path, cut):
    whole, torn = (line_of(record(length)) for length in (16, 32))
    (tmp_path / "journal.jsonl").write_bytes(whole + torn[: cut - 1 if cut < 0 else cut])
    journal = journal_of(tmp_path)
    assert journal.records == [record(16)]
    journal.append(record(64))
    journal.close()
    assert read_journal(tmp_path / "journal.jsonl") == [record(16), record(64)]


@pytest.mark.fault("the journal or suite.json is corrupt")
def test_a_corrupt_line_is_named_and_kept(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_bytes(line_of(record(16)) + b"nonsense\n" + line_of(record(32)))
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"journal\.jsonl, line 2, column 1"):
        journal_of(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.fault("the journal or suite.json is corrupt")
@pytest.mark.parametrize(
    ("line", "where"),
    [
        (b'{"status": "ok", "rows": [}', "line 2, column 27"),
        (b'{"status": "ok", "rows": []}', "line 2, column 1: Object missing required field `cell`"),
        (b'{"cell": {}, "status": "ok"}', "line 2, field cell: Object missing required field `measure`"),
        (b"[1, 2]", "line 2, column 1: Expected `object`, got `array`"),
        (b'{"schema": 3, "cell": 0}', "line 2, field cell: Expected `object`, got `int`"),
        (b'{"message": "\xff"}', "line 2, column 14"),
        (b"[" * 100_000, "line 2"),
        (b"", "line 2, column 1"),
    ],
)
def test_a_bad_line_is_named_with_its_place(tmp_path, line, where):
    (tmp_path / "journal.jsonl").write_bytes(line_of(record(16)) + line + b"\n")
    with pytest.raises(JournalError, match=where):
        read_journal(tmp_path / "journal.jsonl")


@pytest.mark.fault("the journal is of an older schema")
def test_records_of_an_older_schema_are_read_and_not_added_to(tmp_path):
    old = changed(record(16), schema=1)
    path = tmp_path / "journal.jsonl"
    path.write_bytes(line_of(old).replace(b'"schema":1,', b""))
    before = path.read_bytes()
    with pytest.raises(JournalError, match="line 1: a record of schema 1; this program writes 3"):
        journal_of(tmp_path)
    assert read_journal(path) == [old]
    assert path.read_bytes() == before


@contextmanager
def largest_file(size):
    """A disk that is full for files over this size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.fault("the disk fills in the middle of a run")
def test_a_full_disk_leaves_what_was_written_whole_and_writing_can_go_on(tmp_path):
    with closing(journal_of(tmp_path)) as journal:
        journal.append(record(16))
        tables = Tables(RunFolder(tmp_path))
        tables.add(record(16))
        tables.write()
        csv_before = (tmp_path / "train.csv").read_bytes()
        with largest_file(os.path.getsize(tmp_path / "journal.jsonl") + 50), pytest.raises(OSError, match="too large"):
            journal.append(record(32))
        assert journal.records == [record(16)]
        tables.SHARE = 1e-9  # the next writing is not due yet
        tables.write()
        tables.add(record(32))
        with largest_file(len(csv_before) - 10), pytest.raises(OSError, match="too large"):
            tables.write()
        assert (tmp_path / "train.csv").read_bytes() == csv_before
        assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.jsonl", "train.csv"]
        journal.append(record(64))
    assert read_journal(tmp_path / "journal.jsonl") == [record(16), record(64)]


@pytest.mark.fault("the folder vanishes in the middle of a run")
def test_a_journal_that_vanishes_is_noticed(tmp_path):
    with closing(journal_of(tmp_path)) as journal:
        journal.path.unlink()
        with pytest.raises(JournalError, match="was removed while the run went on"):
            journal.append(record(16))


def test_what_is_not_finite_is_blank(tmp_path):
    journal = journal_of(tmp_path)
    journal.append(record(16, rows=({"loss": float("nan")},)))
    journal.close()
    assert read_journal(tmp_path / "journal.jsonl")[0].rows == (Row(loss=None),)


def test_one_run_at_a_time_and_the_other_is_named(tmp_path):
    named = rf"in use by another run \(process {os.getpid()} on "
    with locked(tmp_path), pytest.raises(JournalError, match=named), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


@pytest.mark.fault("two runs on one folder")
def test_a_dead_run_s_lock_is_free(tmp_path):
    code = "import sys, time; from pathlib import Path; from lengthscale.bench.results.journal import locked\n"
    code += "with locked(Path(sys.argv[1])): print('mine', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "mine\n"
    with pytest.raises(JournalError, match=f"process {holder.pid} "), locked(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with locked(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / ".lock").read_text()


def test_csvs_hold_every_cell_and_leave_blanks(tmp_path):
    first, second = csv.DictReader(csv_of(results_of([record(16), record(32, "oom", rows=())])).splitlines())
    assert (first["length"], first["status"], first["time_median_ms"]) == ("16", "ok", "1.23457")
    assert (second["length"], second["status"], second["time_median_ms"]) == ("32", "oom", "")
    assert first["device_kind"] == second["device_kind"] == "cpu"


@pytest.mark.fault("a CSV is edited or corrupt")
def test_a_csv_that_is_behind_is_replaced_and_an_edited_one_is_kept_aside(tmp_path):
    records = [record(16), record(32), record(16, replicate=1), record(32, "oom", replicate=1, rows=())]
    records.append(record(64))
    path = tmp_path / "train.csv"
    for count in range(1, len(records) + 1):
        path.write_text(csv_of(results_of(records[:count])))
        tables = Tables(RunFolder(tmp_path))
        assert tables.start_from(records) == []
        tables.write()
        assert path.read_text() == csv_of(results_of(records))
    for edited in (path.read_text().replace("1.23457", "0.00001"), "", "\x00,", "a,b\n1"):
        path.write_text(edited)
        tables = Tables(RunFolder(tmp_path))
        (aside,) = tables.start_from(records)
        tables.write()
        assert path.read_text() == csv_of(results_of(records))
        assert aside.read_text() == edited


@pytest.mark.fault("10,000 cells in one journal")
def test_ten_thousand_cells_are_read_and_tabled(tmp_path):
    row = {"time_median_ms": 1.2345678, "n_params": 7, "compile_s": 0.5, "flops": 12345678, "mem_peak_bytes": 123456}
    with open(tmp_path / "journal.jsonl", "wb") as file:
        for length in range(1, 10_001):
            file.write(line_of(changed(record(length, rows=(row,)), samples_ms=(1.0,) * 30)))
    with closing(journal_of(tmp_path)) as journal:
        tables = Tables(RunFolder(tmp_path))
        tables.start_from(journal.records)
        tables.write()
        assert len((tmp_path / "train.csv").read_text().splitlines()) == 10_001
        journal.append(record(10_001))
    assert len(read_journal(tmp_path / "journal.jsonl")) == 10_001


@pytest.mark.fault("10,000 cells in one journal")
def test_writing_tables_takes_at_most_two_percent_of_the_time(tmp_path, monkeypatch):
    now, writing_s = 0.0, 0.0

    def csv_in_a_millisecond_a_record(records):
        nonlocal now, writing_s
        now += 1e-3 * len(records)
        writing_s += 1e-3 * len(records)
        return csv_of(records)

    monkeypatch.setattr(tables_module, "csv_of", csv_in_a_millisecond_a_record)
    monkeypatch.setattr(tables_module.time, "monotonic", lambda: now)
    tables = Tables(RunFolder(tmp_path))
    for length in range(1, 401):
        now += 0.05  # a cell
        tables.add(record(length))
    last = 1e-3 * 400
    assert 0 < writing_s <= 0.02 * now + last
    tables.write()
    assert len((tmp_path / "train.csv").read_text().splitlines()) == 401
