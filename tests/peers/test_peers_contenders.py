"""Every contender computes what ours does: outputs and all gradients, at short lengths."""

import importlib
import time
from types import SimpleNamespace

import numpy as np
import pytest

from lengthscale.bench.device import flops as cost
from lengthscale.bench.device.measures import train
from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.contenders import CONTENDERS, inputs, serve, version
from lengthscale.bench.peers.contenders.ours_models import CHUNK
from lengthscale.bench.peers.contenders.prepared import Given
from lengthscale.bench.peers.contenders.serve import builder_of, compare
from lengthscale.bench.peers.rows import ROWS
from lengthscale.bench.plan.settings import Settings

OPS = [row for row in ROWS if not row.name.endswith("-small")]
COMPARED = [
    (row.name, row.measure, name, batch)
    for row in OPS
    for name in (*row.peers, *(["c-loop"] if (row.name, row.measure) == ("selective-scan", "forward") else []))
    for batch in row.batches
]


def prepare(name, case, work=None):
    if version(name) is None:
        pytest.skip(f"{name}: {', '.join(CONTENDERS[name].packages)} are not all installed")
    module = importlib.import_module(f"lengthscale.bench.peers.contenders.{CONTENDERS[name].module}")
    return builder_of(module.BUILDERS[name], case)(case, Given(*inputs.make(case), work))


@pytest.fixture(scope="module")
def outputs_of_ours():
    cache = {}

    def outputs(case):
        if case not in cache:
            ours = prepare("ours", case)
            cache[case] = ours.outputs(ours.call())
        return cache[case]

    return outputs


@pytest.mark.parametrize(("row", "measure", "name", "batch"), COMPARED)
def test_a_contender_computes_what_ours_does(outputs_of_ours, tmp_path, row, measure, name, batch):
    case = Case(row, measure, 40, batch, 1)
    theirs = prepare(name, case)
    ours = outputs_of_ours(case)
    outputs = theirs.outputs(theirs.call())
    if measure == "train":
        assert set(ours) == {f"d {name}" for name in inputs.make(case)[0]}
        lacking = {"d b_n"} if row == "gru" else set()  # theirs is zero, or has no like
        assert set(outputs) == set(ours) - lacking
    assert all(np.abs(value).max() > 1e-3 for value in outputs.values())
    np.savez(tmp_path / "ours.npz", **ours)
    differences = compare(outputs, tmp_path / "ours.npz")
    assert differences.keys() == outputs.keys()
    assert max(differences.values()) < 1e-4, differences


@pytest.mark.parametrize("row", ["rnn", "lstm", "gru", "mamba", "rwkv4"])
def test_decoding_carries_the_state(row):
    """A second step on the same input gives another output; of ours and of each peer the same one."""
    case = Case(row, "decode", 512, 1, 1)
    (peers,) = [found.peers for found in OPS if (found.name, found.measure) == (row, "decode")]
    second = {}
    for name in ("ours", *(name for name in peers if version(name))):
        contender = prepare(name, case)
        first = contender.outputs(contender.call())["y"].copy()
        second[name] = contender.outputs(contender.call())["y"].copy()
        assert np.abs(second[name] - first).max() > 1e-3
    for name, y in second.items():
        np.testing.assert_allclose(y, second["ours"], atol=1e-4, err_msg=name)


def test_a_difference_is_seen(tmp_path):
    y = np.linspace(-2, 2, 50, dtype=np.float32)
    assert compare({"y": y, "d x": y}, tmp_path / "ours.npz") == {"y": 0, "d x": 0}
    off = y.copy()
    off[3] += 0.02
    assert compare({"y": off}, tmp_path / "ours.npz") == {"y": pytest.approx(0.01, rel=1e-3)}
    assert compare({"d x": 1.5 * y}, tmp_path / "ours.npz") == {"d x": pytest.approx(0.5)}
    with pytest.raises(ValueError, match="y has shape"):
        compare({"y": y[:, None]}, tmp_path / "ours.npz")


@pytest.mark.parametrize("measure", ["forward", "train"])
@pytest.mark.parametrize("row", ["rnn", "lstm", "gru", "rwkv4"])
def test_the_products_alone_run(row, measure):
    limit = prepare("products", Case(row, measure, 16, 2, 1))
    assert limit.outputs(limit.call()) == {}


@pytest.mark.parametrize("name", ["gemm-jax", "read-jax", "gemm-torch", "read-torch"])
def test_a_rate_says_its_work(name):
    limit = prepare(name, Case("attention", "decode", 512, 1, 1), work=1e6)
    limit.call()
    assert limit.work is not None
    if name.startswith("gemm"):
        assert limit.work == 2 * 1024**3
    else:  # whole rows of 4 KiB, once or several times
        assert limit.work % (244 * 4096) == 0


@pytest.mark.parametrize("row", ["transformer-small", "mamba-small"])
def test_the_flops_of_a_training_step_are_those_of_its_products(row):
    """The program's own count has the elementwise work and the recomputation besides: it is a little larger."""
    from lengthscale.bench.peers.contenders import ours_models

    case = Case(row, "step", 512, 1, 1)
    program = train.make_program(ours_models._cell(case, "train"), Settings())
    work = ours_models.step_work(case, program.abstract_args[0])
    counted = cost.flops_of(program.step.trace(*program.abstract_args).jaxpr)
    assert counted is not None
    assert work < counted < 1.5 * work, (work, counted)


def test_the_flops_of_attention():
    from lengthscale.bench.peers.contenders.ours import attention_work

    # One head's pair costs 2 x 64 FLOPs a product: scores and sum.
    assert attention_work(Case("attention", "forward", 2, 1, 1)) == 4 * 3 * 2 * 2 * 64
    assert attention_work(Case("attention", "train", 2, 3, 1)) == 3 * 4 * 3 * 7 * 2 * 64


@pytest.mark.slow
def test_long_sequences_take_no_more_memory(monkeypatch):
    from lengthscale.bench.peers.contenders import ours_models

    monkeypatch.setattr(ours_models, "SIZE", "tiny")
    build = ours_models.BUILDERS["rnn-small", "long"]
    short, long = (
        build(Case("rnn-small", "long", chunks * CHUNK, 1, 1), Given({}, {}, None, None)) for chunks in (2, 8)
    )
    assert short.temp_bytes is not None
    assert long.temp_bytes is not None
    assert (short.work, long.work) == (2 * CHUNK, 8 * CHUNK)
    assert short.temp_bytes < long.temp_bytes < 1.1 * short.temp_bytes
    long.call()
    peak = long.peak_bytes()
    assert peak is None or peak > long.temp_bytes


def test_the_first_call_of_a_sample_is_dropped_of_a_long_call_too():
    naps = iter([0.6, 0.02])
    serving = object.__new__(serve._Serving)
    serving._prepared, serving._calls = SimpleNamespace(call=lambda: time.sleep(next(naps))), 1
    assert serving.sample() < 0.3
