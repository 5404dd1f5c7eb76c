"""Where a step's time goes: operators of programs whose content is known, traces whose times are known, sums."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lengthscale.bench.device import operators, trace
from lengthscale.bench.device.measures import breakdown
from lengthscale.bench.device.operators import (
    CONVOLUTION,
    OPTIMISER,
    PARTS,
    POINTWISE,
    PRODUCTS,
    RECURRENCE,
    Operator,
    operators_of,
)
from lengthscale.bench.device.program import SkippedError, compile_program
from lengthscale.bench.device.trace import IDLE, Span, Trace, TraceError, time_of_parts, traced
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Measured
from lengthscale.models import ops
from lengthscale.models.ops.causal_conv import causal_conv1d

X = jnp.asarray(np.random.default_rng(0).normal(size=(256, 256)), jnp.float32)


def parts_of(function, *args):
    """The parts that a program's operators belong to, without what takes no time, and the traced time of each."""
    compiled = jax.jit(function).lower(*args).compile()
    found = operators_of(compiled.as_text())
    compiled(*args)
    steps = time_of_parts(traced(lambda: compiled(*args), 2), found)
    return {each.part for each in found.values() if each.runs}, steps[1]


def test_a_program_of_products_and_one_of_pointwise_operators():
    parts, times = parts_of(lambda x: x @ x @ x, X)
    assert parts == {PRODUCTS}
    assert set(times) == {PRODUCTS, IDLE}
    parts, times = parts_of(lambda x: jnp.tanh(jnp.sin(x) + 1).sum(axis=0), X)
    assert parts == {POINTWISE}
    assert set(times) == {POINTWISE, IDLE}


def test_convolutions_are_told_by_what_they_are_and_by_their_file():
    def by_xla(x):
        return jax.lax.conv_general_dilated(x[None, None], x[None, None, :3, :3], (1, 1), "SAME")

    assert CONVOLUTION in parts_of(by_xla, X)[0]

    def shifted(x):
        return causal_conv1d(x[None], x[:4], x[0], x[None, :3], method="shifted")

    assert CONVOLUTION in parts_of(shifted, X)[0]


def test_a_loop_of_a_users_own_model_is_one_over_time():
    def scan(x):
        return jax.lax.scan(lambda h, row: (jnp.tanh(h @ x + row), h), x[0], x)

    parts, times = parts_of(scan, X)
    assert RECURRENCE in parts
    assert PRODUCTS not in parts
    assert times[RECURRENCE] > 0.5 * (sum(times.values()) - times[IDLE])  # idle: other tests have the core
    found = operators_of(jax.jit(scan).lower(X).compile().as_text())
    assert max(each.runs for each in found.values()) in (1, 256)  # 1 where XLA makes one kernel of the loop


def test_the_optimiser_is_optax_without_its_losses():
    optimizer = optax.adam(1e-3)
    state = optimizer.init(X)
    assert OPTIMISER in parts_of(lambda g, state: optimizer.update(g, state, g)[1], X, state)[0]
    labels = jnp.zeros(256, jnp.int32)
    loss = optax.losses.softmax_cross_entropy_with_integer_labels
    assert parts_of(lambda x: loss(x, labels), X)[0] == {POINTWISE}


def test_every_file_of_ops_belongs_to_a_part():
    """A new op is a recurrence unless it says otherwise: this test makes its author look."""
    names = {path.stem for path in Path(ops.__file__).parent.iterdir() if path.name[0] not in "_."}
    recurrences = {"attention", "gated", "linear_scan", "s4d", "selective_scan", "wkv"}
    assert names == {*operators.HELPERS, *operators.CONVOLUTIONS, *operators.PRODUCT_KERNELS, *recurrences}


def cell(model, length=64, method="auto"):
    return Cell("breakdown", model, "tiny", method, length, 1, "float32", 0, "text", 0)


@pytest.mark.parametrize(
    ("model", "method", "expected"),
    [
        ("transformer", "auto", set()),
        ("transformer", "blocked", set()),
        ("mamba", "auto", {CONVOLUTION}),
        ("mamba", "sequential", {CONVOLUTION}),
        ("lstm", "auto", set()),
        ("s4d", "auto", set()),
    ],
)
def test_the_parts_of_each_model(model, method, expected):
    program = breakdown.MODES["forward"](cell(model, method=method), Settings())
    compiled = compile_program(program, [].append)
    found = operators_of(compiled.call.as_text())
    parts = {each.part for each in found.values() if each.runs} - {None}
    assert parts == expected | {PRODUCTS, RECURRENCE, POINTWISE}


def spans(*times):
    return tuple(Span(*each) for each in times)


KNOWN = {
    "dot": Operator(PRODUCTS),
    "add": Operator(POINTWISE),
    "layers": Operator(None, contains=True),
    "time": Operator(RECURRENCE, contains=True),
}


def test_operators_that_run_together_share_the_time_and_the_rest_is_idle():
    steps = spans(("step", 0, 100), ("step", 200, 220))
    ran = spans(("layers", 0, 100), ("dot", 10, 50), ("dot", 20, 30), ("add", 40, 60), ("dot", 190, 205))
    both = time_of_parts(Trace(steps, (*ran, Span("other", 70, 90))), KNOWN)
    assert both == [{IDLE: 50, PRODUCTS: 35, POINTWISE: 15}, {PRODUCTS: 5, IDLE: 15}]
    assert [sum(each.values()) for each in both] == [100, 20]


def test_between_its_iterations_the_time_is_the_loops():
    ran = spans(("time", 0, 80), ("add", 10, 20), ("add", 30, 50))
    [parts] = time_of_parts(Trace(spans(("step", 0, 100)), ran), KNOWN)
    assert parts == {RECURRENCE: 50, POINTWISE: 30, IDLE: 20}


class Event:
    def __init__(self, name, start_ns, end_ns, **stats):
        self.name, self.start_ns, self.end_ns, self.stats = name, start_ns, end_ns, stats.items()


class Line:
    def __init__(self, *events):
        self.events = events


def test_a_task_on_another_thread_belongs_to_the_operator_that_left_it():
    mark = "ThreadpoolListener::"
    first = Line(
        Event("dot", 0, 10, hlo_op="dot"),
        Event(f"{mark}Record", 5, 5, _p=7),
        Event("python", 11, 90),
    )
    second = Line(
        Event(f"{mark}StartRegion", 8, 8, _c=7),
        Event(f"{mark}Record", 12, 12, _p=8),  # a task that leaves a task
        Event(f"{mark}StopRegion", 20, 20),
        Event(f"{mark}StartRegion", 30, 30, _c=8),
        Event("ThunkExecutor::Execute", 35, 50),  # the executor goes on to other operators, within the task
        Event("add", 40, 45, hlo_op="add"),
        Event(f"{mark}StopRegion", 55, 55),
        Event(f"{mark}StopRegion", 60, 60),  # of a task that began before the trace
        Event("%add.1 = f32[2] add(...)", 70, 75),  # as a TPU names it
    )
    found = trace._innermost([first, second])
    tasks = spans(("dot", 8, 20), ("dot", 30, 35), ("add", 40, 45), ("dot", 50, 55))
    assert found == [Span("dot", 0, 10), *tasks, Span("add.1", 70, 75)]


def test_a_thread_that_helps_others_while_it_waits_is_counted_once():
    mark = "ThreadpoolListener::"
    line = Line(
        Event("add", 0, 2, hlo_op="add"),
        Event(f"{mark}Record", 1, 1, _p=1),
        Event("dot", 10, 20, hlo_op="dot"),
        Event(f"{mark}StartRegion", 12, 12, _c=1),
        Event(f"{mark}StopRegion", 25, 25),  # later than the end of the operator that waited
        Event("add", 30, 40, hlo_op="add"),
    )
    assert trace._innermost([line]) == list(spans(("add", 0, 2), ("dot", 10, 12), ("add", 12, 25), ("add", 30, 40)))


def test_a_missing_trace_is_an_error(tmp_path):
    with pytest.raises(TraceError, match="the profiler wrote no trace"):
        trace.read(tmp_path)


def test_a_trace_without_operators_is_an_error():
    with pytest.raises(TraceError, match="2 steps and 0 operators"):
        traced(lambda: None, 2)


def test_a_text_without_places_is_unsupported():
    with pytest.raises(NotImplementedError, match="where a program's instructions come from"):
        operators_of("HloModule x\n\nENTRY %main (a: f32[]) -> f32[] {\n  ROOT %a = f32[] parameter(0)\n}\n")


def test_the_profilers_own_cost_is_taken_off_the_loops():
    steps = [{RECURRENCE: 6e6, PRODUCTS: 2e6, IDLE: 2e6}] * 3 + [{RECURRENCE: 60e6}]  # the last one is an outlier
    rows = breakdown.columns(steps, [8e-3, 7e-3, 9e-3], most_ns=1e9)
    times = {row["part"]: row["part_ms"] for row in rows}
    assert times == {**dict.fromkeys(PARTS, 0), RECURRENCE: 4, PRODUCTS: 2, IDLE: 2}
    assert sum(row["part_share"] for row in rows) == pytest.approx(1)
    assert {(row["traced_ms"], row["profiler_ms"], row["untraced_ms"], row["flags"]) for row in rows} == {
        (10, 2, 8, "perturbed")
    }
    rows = breakdown.columns(steps, [9e-3], most_ns=0.5e6)
    assert {(row["profiler_ms"], row["flags"]) for row in rows} == {(0.5, None)}
    with pytest.raises(NotImplementedError, match="of 6 ms in loops over time, jax's profiler itself takes 4 ms"):
        breakdown.columns(steps, [6e-3], most_ns=1e9)


@pytest.mark.slow
def test_a_cell_has_both_modes_and_its_parts_add_up():
    stages = []
    done = breakdown.run(cell("lstm", 128), Settings(min_seconds=0.02), stages.append)
    assert isinstance(done.content, Measured)
    rows = done.content.rows
    assert [(row.mode, row.part) for row in rows] == [(m, p) for m in ("forward", "train") for p in (*PARTS, IDLE)]
    for mode in ("forward", "train"):
        mine = [row for row in rows if row.mode == mode]
        assert sum(row.number("part_share") for row in mine) == pytest.approx(1)
        total = sum(row.number("part_ms") for row in mine)
        assert total == pytest.approx(mine[0].number("traced_ms") - mine[0].number("profiler_ms"))
    assert [row.part for row in rows if row.mode == "forward" and row.part_ms == 0] == [CONVOLUTION, OPTIMISER]
    assert {*rows[0].columns()} <= {*MEASURES["breakdown"].columns, "n_params"}
    assert stages == ["compile", "allocate", "sample", "trace"] * 2


def test_a_mode_that_is_impossible_takes_nothing_from_the_other(monkeypatch):
    def measure(program, settings, notify):
        if program == "too large":
            raise SkippedError("planned memory 9 GiB is over the limit 8 GiB")
        return breakdown._Found([{"part": PRODUCTS, "part_ms": 2.0, "part_share": 1.0}], (2e-3,), breakdown.FINE)

    def run(**programs):
        modes = {mode: lambda cell, settings, program=program: program for mode, program in programs.items()}
        monkeypatch.setattr(breakdown, "MODES", modes)
        return breakdown.run(cell("lstm", 128), Settings(), [].append)

    monkeypatch.setattr(breakdown, "_measure", measure)
    done = run(forward="small", train="too large")
    assert (done.status, done.message) == ("ok", "train: planned memory 9 GiB is over the limit 8 GiB")
    assert isinstance(done.content, Measured)
    assert [(row.mode, row.part_ms) for row in done.content.rows] == [("forward", 2.0)]
    with pytest.raises(SkippedError, match="planned memory 9 GiB"):
        run(forward="too large", train="too large")


def test_a_loop_that_runs_too_many_operators_is_skipped(monkeypatch):
    monkeypatch.setattr(breakdown, "MOST_RUNS", 100)
    monkeypatch.setattr(breakdown, "MODES", {"forward": breakdown.MODES["forward"]})
    with pytest.raises(SkippedError, match=r"a step runs [\d,]+ operators, and the trace may hold 100 in two steps"):
        breakdown.run(cell("lstm", 128), Settings(), [].append)
