"""Every contender computes what ours does: outputs and all gradients, at short lengths."""

import time
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lengthscale.bench.device import flops as cost
from lengthscale.bench.device.measures import train
from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.contenders import CONTENDERS, inputs, serve, version
from lengthscale.bench.peers.contenders.meter import METERS, each
from lengthscale.bench.peers.contenders.ours_models import CHUNK
from lengthscale.bench.peers.contenders.prepared import Given, Prepared, nothing
from lengthscale.bench.peers.contenders.serve import compare
from lengthscale.bench.peers.messages import Prepare
from lengthscale.bench.peers.rows import ROWS, find
from lengthscale.bench.plan.settings import Settings

OPS = [row for row in ROWS if not row.name.endswith("-small") and row.platform == "cpu"]
COMPARED = [
    (row.name, row.measure, name, batch)
    for row in OPS
    for name in (*row.peers, *(["c-loop"] if (row.name, row.measure) == ("selective-scan", "forward") else []))
    for batch in row.batches
]
OF_A_GPU = [(row, name) for row in ROWS if row.platform == "gpu" for name in row.peers]


def prepare(name, case, work=None):
    if version(name) is None:
        pytest.skip(f"{name}: {', '.join(CONTENDERS[name].packages)} are not all installed")
    return serve.build(name, case, work, "cpu")


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
    assert_same(case, theirs.outputs(theirs.call()), outputs_of_ours(case), tmp_path / "ours.npz")


@pytest.mark.slow
@pytest.mark.parametrize(("row", "name"), OF_A_GPU, ids=lambda part: getattr(part, "name", part))
def test_a_contender_of_a_gpu_computes_what_ours_does(outputs_of_ours, tmp_path, row, name):
    """On a CPU, where the packages that need a GPU have stand-ins with the same layouts."""
    pytest.importorskip("torch")
    from tests.helpers.gpu_packages import installed

    case = Case(row.name, row.measure, 21, 2, 1)
    with installed():
        theirs = serve.build(name, case, None, "cpu")
        assert_same(case, theirs.outputs(theirs.call()), outputs_of_ours(case), tmp_path / "ours.npz")


def assert_same(case, outputs, ours, reference):
    op, dtype = find(case).op, find(case).dtype
    if case.measure == "train":
        assert set(ours) == {f"d {name}" for name in inputs.make(replace(case, row=op))[0]}
        lacking = {"d b_n"} if op == "gru" else set()  # theirs is zero, or has no like
        assert set(outputs) == set(ours) - lacking
    assert all(np.abs(value).max() > 1e-3 for value in outputs.values())
    np.savez(reference, **ours)
    differences = compare(outputs, reference)
    assert differences.keys() == outputs.keys()
    assert max(differences.values()) < {"float32": 1e-4, "bfloat16": 1e-2}[dtype], differences


def test_the_arrays_of_a_row_of_a_gpu():
    """They are the numbers of float32, rounded; what decays are made of stays as it is."""
    case = Case("selective-scan", "train", 5, 2, 1)
    exact, _, w = inputs.make(case, 768)
    rounded, _, rounded_w = inputs.make(case, 768, "bfloat16")
    assert exact["u"].shape == (2, 5, 1536)
    assert {name: str(x.dtype) for name, x in rounded.items()} == {
        **dict.fromkeys(("u", "dt", "B", "C"), "bfloat16"),
        "A": "float32",
    }
    for mine, theirs in ((exact["dt"], rounded["dt"]), (w, rounded_w)):
        assert mine is not None
        assert theirs is not None
        np.testing.assert_allclose(theirs.astype(np.float32), mine, rtol=2**-8)
    q = inputs.make(Case("attention", "forward", 5, 1, 1), 768)[0]["q"]
    assert q.shape == (1, 5, 12, 64)


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


class Clock:
    """A device that computes one call after the other, on its own while the host starts the next, and the host's clock.

    Both by seconds: what a call takes the host to start and the device to compute, and what waiting costs besides.
    """

    def __init__(self, start_s, compute_s, wait_s):
        self.now, self.busy_until = 0.0, 0.0
        self.start_s, self.compute_s, self.wait_s = start_s, compute_s, wait_s

    def __call__(self):
        return self.now

    def call(self):
        self.now += self.start_s
        self.busy_until = max(self.busy_until, self.now) + self.compute_s

    def wait(self, results):
        self.now = max(self.now, self.busy_until) + self.wait_s


@pytest.mark.parametrize(
    ("meter", "compute_s", "measured_s"),
    [
        ("queued", 200e-6, 200e-6),  # the start of a call is hidden behind the one before
        ("queued", 10e-6, 39e-6),  # the device waits for the host
        ("each", 200e-6, 254e-6),
    ],
)
def test_the_meters(meter, compute_s, measured_s):
    clock = Clock(39e-6, compute_s, 15e-6)
    prepared = Prepared(clock.call, nothing, wait=clock.wait)
    assert METERS[meter](prepared, 500, clock) == pytest.approx(measured_s, rel=0.01)


@pytest.mark.parametrize(("row", "first_s", "calls"), [("wkv-768", 0.005, 10), ("rwkv4", 5.0, 1)])
def test_a_first_call_that_compiles_is_not_taken_for_a_long_one(monkeypatch, tmp_path, row, first_s, calls):
    """On a GPU; on a CPU nothing is compiled in a call, and a call of seconds is not repeated for nothing."""
    clock, calls_s = Clock(0.0, 0.0, 0.0), iter([5.0, 0.005])

    def call():
        clock.now += next(calls_s)

    monkeypatch.setattr(serve, "build", lambda *given: Prepared(call, nothing))
    monkeypatch.setattr(serve, "time", SimpleNamespace(perf_counter=clock))
    message = Prepare(Case(row, "forward", 4096, 1, 1), tmp_path / "ours.npz", None)
    ready = serve._Serving("ours", 1, message).ready
    assert (ready.first_s, ready.calls) == (pytest.approx(first_s), calls)


def test_the_device_s_own_clock(monkeypatch):
    """A call between each two events, waited for at the end only; one slow call does not count."""
    torch = pytest.importorskip("torch")
    from lengthscale.bench.peers.contenders.torch_calls import event_s

    log, calls_ms = [], iter([2.0, 3.0, 50.0, 4.0, 3.0])
    now_ms = 0.0

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("event")
            self.at = now_ms

        def elapsed_time(self, end):
            assert log[-1] == "synchronize"
            return end.at - self.at

    def call():
        nonlocal now_ms
        log.append("call")
        now_ms += next(calls_ms)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: log.append("synchronize"))
    assert event_s(call, 5) == pytest.approx(3e-3)
    assert log == [*["event", "call", "event"] * 5, "synchronize"]


def test_float32_is_ieee_s_on_a_gpu():
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    serve.set_up("torch", threads)
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    row = find(Case("lstm-768", "forward", 8, 1, 1))
    with serve.building("ours", row, "cpu"):
        text = jax.jit(lambda x: x @ x).lower(jnp.ones((2, 2))).as_text()
    assert "precision = [HIGHEST, HIGHEST]" in text


def test_the_first_call_of_a_sample_is_dropped_of_a_long_call_too():
    naps = iter([0.6, 0.02])
    serving = object.__new__(serve._Serving)
    serving._prepared = Prepared(lambda: time.sleep(next(naps)), nothing)
    serving._meter, serving._calls = each, 1
    assert serving.sample().seconds < 0.3
