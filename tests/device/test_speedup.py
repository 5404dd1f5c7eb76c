"""The speed-up: the cores that threads are on while a step runs, and the ratio of times that are known."""

import os
import threading

import pytest

from lengthscale.bench.device import cores
from lengthscale.bench.device.measures import speedup
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Measured

CELL = Cell("speedup", "rnn", "tiny", "sequential", 16, 1, "float32", 0, "text", 0)
SETTINGS = Settings(min_samples=5, min_seconds=0.0, max_seconds=0.1)
several = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two cores to choose from"
)


@pytest.fixture
def thread():
    """The number of another thread of this process."""
    end, begun = threading.Event(), threading.Event()
    another = threading.Thread(target=lambda: (begun.set(), end.wait()))
    another.start()
    begun.wait()
    yield another.native_id
    end.set()
    another.join()


@several
def test_all_threads_move_and_return(thread):
    everything = os.sched_getaffinity(0)
    one = {max(everything)}
    with cores.only(one):
        assert os.sched_getaffinity(0) == os.sched_getaffinity(thread) == one
        with cores.only(everything):
            assert os.sched_getaffinity(thread) == everything
        assert os.sched_getaffinity(thread) == one
    assert os.sched_getaffinity(0) == os.sched_getaffinity(thread) == everything


@several
def test_threads_return_after_an_error(thread):
    everything = os.sched_getaffinity(0)

    def fails():
        raise OSError("of the step")

    with pytest.raises(OSError, match="of the step"):
        speedup.alternate(fails, ({max(everything)}, everything), 2)
    assert os.sched_getaffinity(0) == os.sched_getaffinity(thread) == everything


@several
def test_a_step_runs_on_one_core_and_on_all_in_turns():
    everything, seen = os.sched_getaffinity(0), []
    turns = speedup.alternate(lambda: seen.append(os.sched_getaffinity(0)), ({max(everything)}, everything), 3)
    assert [len(mine) for mine in turns] == [3] * 8
    one, many = [{max(everything)}] * 4, [everything] * 4  # of each turn, the first call is dropped
    assert seen == [*one, *many, *many, *one] * 2
    assert os.sched_getaffinity(0) == everything


def test_the_ratio_of_medians():
    """A drift of 1% a turn cancels, and a slow call changes nothing."""
    steady = [[(0.3, 0.2)[number]] * 3 for number in speedup.ORDER]
    steady[2][1] = 9.0
    assert speedup.columns(steady) == pytest.approx({"one_core_ms": 300, "all_cores_ms": 200, "speedup": 1.5})
    drifting = [[(0.3, 0.2)[number] * (1 + 0.01 * turn)] * 3 for turn, number in enumerate(speedup.ORDER)]
    assert speedup.columns(drifting) == pytest.approx({"one_core_ms": 310.5, "all_cores_ms": 207, "speedup": 1.5})


@several
def test_a_real_step():
    before = os.sched_getaffinity(0)
    done = speedup.run(CELL, SETTINGS, [].append)
    assert done.status == "ok"
    assert isinstance(done.content, Measured)
    (row,), samples = done.content.rows, done.content.samples.samples_ms
    assert {*row.columns()} <= {*MEASURES["speedup"].columns, "n_params"}
    assert (row.cores, row.n_samples, row.remat) == (len(before), 16, "none")
    assert len(samples) == 16
    assert row.number("speedup") == row.number("one_core_ms") / row.number("all_cores_ms")
    assert min(samples) <= row.number("all_cores_ms") <= max(samples)
    assert 0.02 < row.number("speedup") < 50
    assert os.sched_getaffinity(0) == before


def test_where_there_is_nothing_to_choose(monkeypatch):
    monkeypatch.setattr(speedup, "cores", lambda: frozenset({3}))
    with pytest.raises(NotImplementedError, match="this process has one core"):
        speedup.run(CELL, SETTINGS, [].append)
    monkeypatch.setattr(speedup, "platform", lambda: "cuda")
    with pytest.raises(NotImplementedError, match="a step on cuda does not run on the cores"):
        speedup.run(CELL, SETTINGS, [].append)
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pytest.raises(NotImplementedError, match="cannot choose the cores"):
        cores.cores()
