"""The measures of state space models: a step against the matrix exponential, and half as many samples of a signal."""

from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lengthscale.bench.data.synthetic import Batch
from lengthscale.bench.device import learner
from lengthscale.bench.device.measures import discretisation, resampling
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Measured
from lengthscale.models import Interface, build, hippo
from lengthscale.models.ops.s4d import System, s4d

POLES = hippo.s4d_lin(64)


def cell(measure, model="s4d", length=16, data="digits"):
    return Cell(measure, model, "tiny", "auto", length, 4, "float32", 0, data, 0)


def settings(**changes):
    return Settings(train_tokens=3 * 64, step_tokens=64, windows=32, **changes)


def slope(rule, name):
    rows = [discretisation.errors(POLES, dt, rule) | {"dt": dt} for dt in discretisation.STEPS]
    rows = [row for row in rows if row["largest_z"] < 0.3]
    assert len(rows) > 8
    return np.polyfit(np.log([row["dt"] for row in rows]), np.log([row[name] for row in rows]), 1)[0]


def test_the_orders_in_dt():
    """Known from the series in z = dt a: Abar is off by z^3/12, Bbar by dt z^2/12; a held ramp lags half a step."""
    assert slope("bilinear", "transition_error") == pytest.approx(3, abs=0.02)
    assert slope("bilinear", "held_error") == pytest.approx(3, abs=0.02)
    for rule in ("bilinear", "zoh"):
        assert slope(rule, "ramp_error") == pytest.approx(2, abs=0.02)
    assert slope("euler", "transition_error") == pytest.approx(2, abs=0.02)
    assert slope("mamba", "held_error") == pytest.approx(2, abs=0.02)


def test_the_errors_are_those_of_the_series():
    dt = 1e-4
    found = discretisation.errors(POLES, dt, "bilinear")
    z = dt * np.abs(POLES).max()
    assert found["largest_z"] == pytest.approx(z)
    assert found["transition_error"] == pytest.approx(z**3 / 12, rel=1e-3)
    assert found["held_error"] == pytest.approx(dt * z**2 / 12, rel=1e-3)
    assert found["ramp_error"] == pytest.approx(dt**2 / 2, rel=0.02)


def test_a_zero_order_hold_is_exact_for_a_held_input():
    for dt in discretisation.STEPS:
        found = discretisation.errors(POLES, dt, "zoh")
        assert found["transition_error"] < 1e-13
        assert found["held_error"] < 1e-14
        assert found["ramp_error"] > 0.01 * dt**2 / 2


@pytest.mark.parametrize(("model", "rule"), [("s4d", "zoh"), ("s4d:rule=bilinear,dt=large", "bilinear")])
@pytest.mark.slow
def test_the_model_that_was_trained_is_measured(model, rule):
    result = discretisation.run(cell("discretisation", model), settings(learning_rate=0.1), [].append)
    assert isinstance(result.content, Measured)
    rows = result.content.rows
    assert (result.status, len(rows)) == ("ok", len(discretisation.STEPS))
    row = rows[0]
    assert row.steps == 3
    assert (row.transition_error > 1e-13) == (rule == "bilinear")
    moved = row.largest_z / (row.dt * np.abs(POLES).max())
    assert 0.5 < moved < 2
    assert abs(moved - 1) > 1e-4  # A is trained too


@pytest.mark.parametrize(
    ("measure", "model", "length", "data", "message"),
    [
        (discretisation, "mamba", 16, "digits", "mamba is not a linear, time-invariant state space model"),
        (resampling, "s4d", 16, "text", "text is not a signal that can be sampled at half the rate"),
        (resampling, "s4d", 9, "digits", "half the sampling rate needs an even length, got 9"),
        (resampling, "lstm", 16, "digits", "lstm has no steps dt to double"),
        (resampling, "vit", 16, "digits", "no last step"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_trained(
    measure, model, length, data, message, monkeypatch
):
    monkeypatch.setattr(measure, "train", None)
    with pytest.raises(NotImplementedError, match=message):
        measure.run(cell(measure.__name__.split(".")[-1], model, length, data), settings(), [].append)


def test_half_as_many_samples():
    inputs = np.array([[[0.0], [2.0], [4.0], [10.0]]], np.float32)
    half = resampling.halved(Batch(inputs, np.array([[0, 0, 0, 3]]), np.array([[0, 0, 0, 1.0]], np.float32)))
    np.testing.assert_array_equal(half.inputs, [[[1.0], [7.0]]])
    np.testing.assert_array_equal(half.targets, [[0, 3]])
    np.testing.assert_array_equal(half.weights, [[0, 1]])


def layer(model, u):
    """What the model's first layer says to u (B, T, H)."""
    a, b, c = model.apart().blocks[0].mixer.discrete()
    return np.asarray(s4d(u, System(a, b, c), method="recurrence")[0])


@pytest.mark.slow
def test_twice_the_step_is_half_the_rate_of_a_held_signal():
    """A zero-order hold of pairs of equal samples is the same hold with 2 dt; without that it is another filter."""
    made: Any = build("s4d", size="tiny", interface=Interface(features=1, outputs=5), rngs=nnx.Rngs(0))
    _, params, statistics = nnx.split(made, nnx.Param, ...)
    made_learner = learner.Learner(lambda: made, lambda key: (params, statistics), "float32")
    trained = learner.TrainedModel(made_learner, params, statistics)
    u = jnp.asarray(np.random.default_rng(0).normal(size=(2, 10, 32)), jnp.float32)
    models = [
        cast(Any, each.learner.model(each.params, each.statistics))
        for each in (trained, resampling.with_steps(trained, 2.0))
    ]
    pairs = layer(models[0], jnp.repeat(u, 2, axis=1))[:, 1::2]
    scale = np.abs(pairs).max()
    np.testing.assert_allclose(layer(models[1], u), pairs, atol=2e-5 * scale)
    assert np.abs(layer(models[0], u) - pairs).max() > 0.1 * scale
    steps = [resampling.steps_of(each) for each in (trained, resampling.with_steps(trained, 2.0))]
    assert steps[1] == pytest.approx({name: 2 * step for name, step in steps[0].items()})
    assert 1e-3 < steps[0]["dt_p10"] < steps[0]["dt_median"] < steps[0]["dt_p90"] < 1e-1


@pytest.mark.slow
@pytest.mark.parametrize(("model", "dt"), [("s4d:dt=small", 1e-3), ("s4d:rule=bilinear,dt=large", 1e-1)])
def test_a_trained_model_at_half_the_rate(model, dt):
    result = resampling.run(cell("resampling", model), settings(learning_rate=1e-6), [].append)
    assert isinstance(result.content, Measured)
    rows = result.content.rows
    assert result.status == "ok"
    assert [row.eval_length for row in rows] == [16, 8, 8]
    assert [(row.rate, row.dt_factor) for row in rows] == [(1, 1), (0.5, 1), (0.5, 2)]
    assert {row.n_sequences for row in rows} == {32}
    assert [getattr(row, f"dt_{name}") for row in rows for name in ("p10", "p90")] == pytest.approx([dt] * 6, rel=1e-4)
    assert len({row.loss for row in rows}) == 3
    assert all(row.accuracy is not None and 0 <= row.accuracy <= 1 for row in rows)
