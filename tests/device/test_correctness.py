"""A form that is wrong gives no number: the check finds it at the cell's shapes, and the row says so."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from lengthscale.bench.device import correctness
from lengthscale.bench.host.checks import Checks
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Checked, Done
from lengthscale.models.ops.gated import dispatch
from tests.helpers.platforms import needs_kernels

CELL = Cell("train", "gru", "small", "auto", 64, 2, "float32", 0, "text", 0)


def check(cell):
    return correctness.check(cell, lambda stage: None)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "cell",
    [
        CELL,
        replace(CELL, model="mamba", measure="forward", length=130),
        replace(CELL, model="transformer", measure="decode"),
        pytest.param(replace(CELL, model="mamba", measure="generate"), marks=pytest.mark.slow),
        pytest.param(replace(CELL, model="transformer", length=2304, batch=1), marks=pytest.mark.slow),
        pytest.param(replace(CELL, model="s4d", length=96), marks=pytest.mark.slow),
        pytest.param(replace(CELL, model="rwkv4", method="associative", measure="decode"), marks=pytest.mark.slow),
        pytest.param(replace(CELL, model="vit", data="mnist"), marks=pytest.mark.slow),
        pytest.param(replace(CELL, model="transformer-encdec", measure="quality"), marks=pytest.mark.slow),
        pytest.param(replace(CELL, model="mamba", dtype="bfloat16"), marks=pytest.mark.slow),
    ],
    ids=lambda cell: cell.label(),
)
def test_forms_that_are_right_pass(cell):
    record = check(cell)
    assert record.status == "ok", record.message
    assert isinstance(record.content, Checked)
    assert record.content.worst <= correctness.TOLERANCES[cell.dtype]


def test_a_model_with_one_form_has_nothing_to_be_held_to():
    assert check(replace(CELL, method="sequential")).content == Checked(None, None)


@needs_kernels
@pytest.mark.parametrize("measure", ["forward", "train", "operator"])
def test_a_wrong_form_is_found_and_named(monkeypatch, measure):
    right = dispatch.gru_native
    monkeypatch.setattr(dispatch, "gru_native", lambda *args: right(*args) * 1.01)
    record = check(replace(CELL, measure=measure, length=192))
    assert record.status == "incorrect"
    assert record.message.startswith("auto is 0.")
    assert "off sequential in [" in record.message
    assert "at length 192" in record.message


@needs_kernels
def test_a_wrong_gradient_is_found_though_the_loss_is_right(monkeypatch):
    @jax.custom_vjp
    def wrong(*args):
        return right(*args)

    right = dispatch.gru_native
    wrong.defvjp(lambda *args: jax.vjp(right, *args), lambda pull, g: tuple(1.02 * x for x in pull(g)))
    monkeypatch.setattr(dispatch, "gru_native", wrong)
    assert check(replace(CELL, measure="forward", length=192)).status == "ok"
    assert check(replace(CELL, length=192)).status == "incorrect"


def test_differences_are_relative_and_nan_is_no_agreement():
    right = {"a": np.array([1.0, -100.0]), "b": np.array([1e-9, np.nan])}
    assert correctness.worst_difference(right, right) == ("", 0.0)
    assert correctness.worst_difference(right | {"a": np.array([1.0, -101.0])}, right) == ("a", 0.01)
    assert (
        correctness.worst_difference(right | {"b": np.array([2e-9, np.nan])}, right)[1] < 1e-7
    )  # far below the others
    assert correctness.worst_difference(right | {"b": np.array([1e-9, 0.0])}, right) == ("b", float("inf"))


class Runner:
    def __init__(self, status):
        self.asked, self.status = [], status

    def check(self, cell):
        self.asked.append(cell)
        return Done(Status(self.status), "it is 1 off")


def test_a_shape_is_checked_once_and_a_wrong_form_s_cells_have_no_figures():
    runner = Runner("incorrect")
    checks = Checks(runner)  # pyright: ignore[reportArgumentType]
    for size in ("small", "tiny"):
        record = checks.refusal(replace(CELL, size=size))
        assert record is not None
        assert (record.status, record.stage, record.rows) == ("incorrect", "check", ())
        assert record.cell.size == size
    assert checks.refusal(replace(CELL, seed=CELL.seed + 1)) is not None
    assert checks.refusal(replace(CELL, measure="quality")) is not None  # it trains the same way
    assert len(runner.asked) == 1
    checks.refusal(replace(CELL, measure="forward"))
    assert len(runner.asked) == 2
    assert Checks(Runner("ok")).refusal(CELL) is None  # pyright: ignore[reportArgumentType]
    assert Checks(Runner("oom")).refusal(CELL) is None  # pyright: ignore[reportArgumentType]
    failed = Checks(Runner("error")).refusal(CELL)  # pyright: ignore[reportArgumentType]
    assert failed is not None
    assert failed.message == "the check: it is 1 off"
