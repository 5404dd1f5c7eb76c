"""Where the time of a run's cells went."""

from lengthscale.bench.analysis import stages
from lengthscale.bench.results.result import results_of
from tests.helpers.runs import CELLS, changed, record

FIRST = {"start": 0.1, "compile": 2.0, "sample": 1.0}


def test_the_medians_of_each_stage_by_replicate():
    records = []
    for number, cell in enumerate(CELLS[:3]):
        records.append(changed(record(cell), stages_s={**FIRST, "sample": 1.0 + number}))
        records += [changed(record(cell), replicate=n, stages_s={"start": 0.2, "sample": 3.0}) for n in (1, 2)]
    lines = stages.table(results_of(records)).splitlines()
    assert lines[0] == "| stages, median s | replicate | cells | start | compile | sample |"
    assert lines[2:] == ["| train | first | 3 | 0.10 | 2.00 | 2.00 |", "| train | later | 6 | 0.20 | 0.00 | 3.00 |"]


def test_a_run_that_recorded_no_stages_has_no_table():
    assert stages.table(results_of([record(CELLS[0])])) == ""
