"""A sweep writes a record into its journal and its CSVs in one step."""

from contextlib import closing

import pytest

from lengthscale.bench.host.sweep import Output
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.journal import Journal
from lengthscale.bench.results.tables import Tables
from tests.helpers.runs import CELL, FACTS, interrupted_after_the_journal, record


@pytest.mark.fault("Ctrl-C, once or twice")
def test_an_interrupt_while_a_record_is_written_waits_until_it_is_in_the_csv_too(tmp_path):
    folder, facts = RunFolder(tmp_path), {**FACTS, "device_kind": "cpu", "n_devices": 1, "peaks": {}}
    with closing(Journal(folder.journal)) as journal, interrupted_after_the_journal(), pytest.raises(KeyboardInterrupt):
        Output(journal, Tables(folder), facts).keep(record(CELL))
    assert len(folder.csv(CELL.measure).read_text().splitlines()) == 2
