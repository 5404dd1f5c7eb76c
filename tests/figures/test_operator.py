"""The pictures of the operator over positions alone."""

import pytest

from lengthscale.bench.figures import catalog
from lengthscale.bench.figures.run import run_of
from lengthscale.bench.results.result import results_of
from tests.helpers.drawings import LENGTHS, record, step_ms, timed


def test_the_operator_alone_has_pictures_of_its_own(tmp_path):
    lengths = LENGTHS[:4]
    records = [
        record("operator", model, length, [timed(step_ms(model, length), length, operand_bytes=length, calls="none")])
        for model in ("mamba", "transformer")
        for length in lengths
    ]
    figures = catalog.files_of(catalog.figures_of(run_of(tmp_path, results_of(records))))
    assert {"operator_time", "operator_memory"} <= set(figures)
    [time] = figures["operator_time"]
    assert time.title == "Operator alone: time"
    [curve] = [curve for curve in time.curves if curve.model == "transformer"]
    assert curve.x == tuple(lengths)
    assert curve.y == pytest.approx([step_ms("transformer", length) for length in lengths])
