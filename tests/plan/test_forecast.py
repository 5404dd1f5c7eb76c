"""Predictions from shorter cells: longer ones that would pass the deadline, or end as they did, are not started."""

import pytest

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.forecast import Forecast
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status


def test_the_forecast_skips_what_would_pass_the_deadline():
    forecast = Forecast(Settings(timeout_s=100))

    def cell(length, measure="train"):
        return Cell(measure, "transformer", "tiny", "auto", length, 1, "float32", 0, "text", 0)

    assert forecast.reason_to_skip(cell(1024)) is None
    forecast.learn(cell(1024), Status.OK, 1000.0)
    forecast.learn(cell(2048), Status.OK, 4000.0)  # quadratic: 16 s at 4k, 64 s at 8k
    assert forecast.step_s(cell(8192)) == pytest.approx(64)
    assert forecast.reason_to_skip(cell(4096)) is None
    assert "predicted 128 s for 2 steps of 64.0 s, over the deadline of 100 s" in (
        forecast.reason_to_skip(cell(8192)) or ""
    )
    assert forecast.reason_to_skip(cell(8192, "decode")) is None


@pytest.mark.parametrize("status", [Status.OOM, Status.TIMEOUT, Status.KILLED, Status.SKIPPED])
def test_what_failed_short_is_not_tried_long(status):
    forecast = Forecast(Settings())
    short = Cell("forward", "mamba", "tiny", "auto", 1024, 1, "float32", 0, "text", 0)
    forecast.learn(short, status, None)
    longer = Cell("forward", "mamba", "tiny", "auto", 4096, 1, "float32", 0, "text", 0)
    assert "L=1024 of this series" in (forecast.reason_to_skip(longer) or "")
