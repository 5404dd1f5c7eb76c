"""Planned memory is the compiler's word, observed memory the kernel's: of large programs both say the same.

What the plan leaves out is the scratch memory of matrix products: more on a busy machine (20 to 60 MB here).
"""

import pytest

from bench.cell import Cell
from bench.runner import Runner
from bench.suites import Settings

SETTINGS = Settings(timeout_s=200, min_samples=2, min_samples_slow=2, max_seconds=1, min_seconds=0.1, precision_s=0.1)
slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("model", "measure", "length"),
    [
        ("rnn", "train", 4096),
        pytest.param("lstm", "train", 4096, marks=slow),
        pytest.param("gru", "train", 4096, marks=slow),
        pytest.param("transformer", "train", 4096, marks=slow),
        pytest.param("mamba", "train", 4096, marks=slow),
        pytest.param("rwkv4", "train", 4096, marks=slow),
        pytest.param("s4d", "train", 4096, marks=slow),
        pytest.param("transformer", "forward", 32_768, marks=slow),
    ],
)
def test_planned_and_observed_memory_agree_above_256_mb(model, measure, length):
    record = Runner(SETTINGS).measure(Cell(measure, model, "small", "auto", length, 1, "float32", 0, "text", 0))
    assert record["status"] == "ok", record["message"]
    row = record["rows"][0]
    if row["mem_source"] is None:
        pytest.skip("no /proc here")
    assert row["mem_planned_bytes"] > 256e6
    assert row["mem_peak_bytes"] == pytest.approx(row["mem_planned_bytes"], rel=0.10)
