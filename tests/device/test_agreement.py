"""The measure `agreement`: a model whose forms are known to differ, and real ones that agree."""

from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lengthscale.bench.device.learner import TrainedModel
from lengthscale.bench.device.measures import agreement
from lengthscale.models import Interface, build
from lengthscale.models.base import State


class Sum:
    """Its logit is the sum of all inputs so far; step by step it is `off` too large from the third step on."""

    def __init__(self, off):
        self.off = off

    def __call__(self, inputs, state=None):
        before = 0 if state is None else state.layers
        sums = before + jnp.cumsum(inputs, axis=1, dtype=jnp.float32)
        at = 0 if state is None else state.position
        wrong = self.off * (at >= 2) if state is not None else 0.0
        return (sums + wrong)[..., None], State(jnp.int32(at + inputs.shape[1]), sums[:, -1:])

    def init_state(self, batch, capacity):
        return State(jnp.int32(0), jnp.zeros((batch, 1)))

    def call(self, function, *args):
        return function(self, *args)


@pytest.mark.parametrize("off", [0.0, 0.25])
def test_the_largest_difference_of_any_step_of_any_window(off, monkeypatch):
    inputs = np.arange(12, dtype=np.int32).reshape(3, 4)
    assert agreement.compare(cast(Any, Sum(off)), inputs) == (off, 8 + 9 + 10 + 11)
    monkeypatch.setattr(agreement, "AT_ONCE", 8)  # two windows at a time, and then one
    assert agreement.compare(cast(Any, Sum(off)), inputs) == (off, 38)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("rwkv4", "associative"),
        pytest.param("gru", "auto", marks=pytest.mark.slow),
        pytest.param("transformer", "reference", marks=pytest.mark.slow),
    ],
)
def test_models_agree_with_themselves(name, method):
    """With every parameter disturbed, or RWKV's blocks would add nothing."""
    model: Any = build(name, size="tiny", method=method, interface=Interface(11), rngs=nnx.Rngs(0))
    graph, params = nnx.split(model)
    disturbed = jax.tree.map(lambda x: x + 0.1 * jax.random.normal(jax.random.key(x.size), x.shape), params)
    model = nnx.merge(graph, disturbed)
    held = SimpleNamespace(call=lambda function, *args: jax.jit(lambda *args: function(model, *args))(*args))
    inputs = np.random.default_rng(0).integers(0, 11, (2, 33)).astype(np.int32)
    difference, largest = agreement.compare(cast(TrainedModel, held), inputs)
    assert difference < 1e-4 < 0.1 < largest
    assert difference > 0  # another order of sums
