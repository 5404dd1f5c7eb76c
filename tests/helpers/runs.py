"""A finished run's folder, made without measuring anything."""

import json
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

from msgspec.structs import replace as replace_fields

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.journal import Journal
from lengthscale.bench.results.record import SCHEMA, Conditions, Record, Row
from lengthscale.bench.results.tables import Tables

Fields = TypeVar("Fields", Record, Row)

CELL = Cell("train", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", 0)
CELLS = tuple(replace(CELL, model=model, length=length) for model in ("rnn", "gru") for length in (16, 32))
FACTS = {
    "backend": "cpu",
    "cpu_model": "Some CPU",
    "n_cpus": 2,
    "memory_bytes": 2**34,
    "code": "abc",
    "python_version": "3.11.7",
    "packages": {"jax": "0.10.2"},
    "git_sha": "abc",
    "load_average": [0, 0, 0],
}
CONDITIONS = Conditions(device_kind="cpu", platform="cpu", n_devices=1, n_cpus=2, jax_version="0.10.2", git_sha="abc")
SAMPLES_MS = (0.9, 1.0, 1.1, 1.0, 1.2)


def record(cell: Cell) -> Record:
    row = Row(
        time_median_ms=1.0,
        time_p10_ms=0.94,
        time_p90_ms=1.16,
        n_samples=len(SAMPLES_MS),
        tokens_per_s=cell.length * 1000.0,
        flops=1000,
        mem_planned_bytes=4000,
        mem_peak_bytes=4096,
        loss=5.5,
        n_params=7,
    )
    return made(cell, rows=(row,), samples_ms=SAMPLES_MS)


def made(cell: Cell, status: Status | str = Status.OK, **fields: Any) -> Record:
    """A record that is ok unless it is told otherwise, on CONDITIONS."""
    known = {"schema": SCHEMA, "cell": cell, "status": Status(status), "rows": (), "environment": CONDITIONS}
    return Record(**{**known, **fields})


def changed(record: Fields, **fields: Any) -> Fields:
    """The record, or the row, with other fields."""
    return replace_fields(record, **fields)


@contextmanager
def interrupted_after_the_journal() -> Iterator[None]:
    """Within this context a Ctrl-C follows each line of a journal, before anything else is written."""
    append = Journal.append

    def interrupted(journal, record):
        append(journal, record)
        signal.raise_signal(signal.SIGINT)

    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with patch.object(Journal, "append", interrupted):
            yield
    finally:
        signal.signal(signal.SIGINT, ours)


def finished_run(folder: Path, cells=CELLS, facts=FACTS, **suite) -> Path:
    """Its journal, CSVs, suite.json (with `suite` in it) and environment.json."""
    return written_run(folder, [record(cell) for cell in cells], facts, **suite)


def written_run(folder: Path, records: list[Record], facts=FACTS, **suite) -> Path:
    """As `finished_run`, of these records."""
    folder.mkdir(parents=True)
    run = RunFolder(folder)
    configuration = {"suite": "quick", "settings": {}, "shard": "", "arguments": [], **suite}
    keys = [each.cell.key() for each in records]
    run.suite.write_text(json.dumps({**configuration, "cells": keys}))
    run.environment.write_text(json.dumps(facts))
    with closing(Journal(run.journal, Record)) as journal:
        for each in records:
            journal.append(each)
        tables = Tables(run)
        tables.start_from(journal.records)
        tables.write()
    return folder
