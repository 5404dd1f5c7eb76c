"""How far back gradients reach: against a Jacobian by brute force, and against a toy whose gradients are known."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lengthscale.bench.data.synthetic import Batch
from lengthscale.bench.device.measures import gradients
from lengthscale.models import Interface, build
from lengthscale.models.streaming import cross_entropy
from tests.helpers.compare import assert_close


def test_ranges_of_distances():
    norms = np.stack([np.arange(9), 10 + np.arange(9)])[:, ::-1].astype(float)  # in row 0 the norm is the distance
    rows = gradients.by_distance(norms)
    assert [row["distance"] for row in rows] == [0, 1, 2, 4, 8]
    assert [row["grad_norm"] for row in rows] == [5, 6, 7.5, 10.5, 13]
    # 0.1 and 0.9 of the way from the first to the last of [0, 10], [2, 3, 12, 13], [4 ... 7, 14 ... 17]
    assert [row["grad_norm_p10"] for row in rows] == pytest.approx([1, 2, 2.3, 4.7, 9])
    assert [row["grad_norm_p90"] for row in rows] == pytest.approx([9, 10, 12.7, 16.3, 17])
    assert gradients.by_distance(norms[:, -1:]) == rows[:1]


@pytest.mark.parametrize(("name", "method"), [("gru", "auto"), ("transformer", "reference")])
def test_norms_against_a_jacobian(name, method):
    rng = np.random.default_rng(0)
    inputs, targets = jnp.asarray(rng.integers(0, 11, (3, 7))), jnp.asarray(rng.integers(0, 11, 3))

    @jax.jit
    def both(key):
        model: Any = build(name, size="tiny", method=method, interface=Interface(11), rngs=nnx.Rngs(key))

        def losses(x):  # (B,), of the last step
            return cross_entropy(model.logits(model.mix(x, None)[0])[:, -1], targets)

        jacobian = jax.jacrev(losses)(model.embed(inputs))  # (B, B, T, D): each loss by each sequence's inputs
        return jacobian, gradients._of_classes(model, inputs, targets)

    jacobian, norms = map(np.asarray, both(jax.random.key(0)))
    own = jacobian[range(3), range(3)]
    assert np.abs(jacobian).sum() == pytest.approx(np.abs(own).sum())  # sequences do not meet
    assert_close(norms, np.sqrt((own.astype(np.float64) ** 2).sum(-1)), 1e-6)
    assert norms.min() > 0


class Decay:
    """h_t = a h_{t-1} + x_t, and h_t's first two features come out; loss_T = (h_T - y)^2.

    So |d loss_T / d x_t| = 2 |h_T - y| a^(T - t).
    """

    a = 0.5

    def embed(self, inputs):
        return inputs

    def mix(self, x, state):
        distance = jnp.arange(x.shape[1])[:, None] - jnp.arange(x.shape[1])  # t - s
        return jnp.einsum("ts,bsd->btd", jnp.where(distance >= 0, self.a**distance, 0.0), x), None

    def logits(self, h):
        return h[..., :1]

    def call(self, function, *args):
        return function(self, *args)


def test_norms_of_a_toy(monkeypatch):
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(5, 10, 2)).astype(np.float32), rng.normal(size=(5, 10)).astype(np.float32)
    powers = 0.5 ** np.arange(9, -1, -1)
    expected = 2 * np.abs(inputs[..., 0] @ powers - targets[:, -1])[:, None] * powers
    batch = Batch(inputs, targets, np.ones((5, 10), np.float32))
    assert_close(gradients._norms(cast(Any, Decay()), batch), expected, 1e-5)
    monkeypatch.setattr(gradients, "AT_ONCE", 20)  # two windows at a time, and then one
    assert_close(gradients._norms(cast(Any, Decay()), batch), expected, 1e-5)


def test_norms_of_classes_or_numbers_follow_the_targets():
    batch = Batch(np.zeros((2, 3, 2), np.float32), np.ones((2, 3), np.int32), np.ones((2, 3), np.float32))

    class Two(Decay):
        def logits(self, h):
            return h[..., :2]

    # two equal logits: d loss / d logits = (0.5, -0.5)
    assert_close(gradients._norms(cast(Any, Two()), batch), np.sqrt(0.5) * np.array([[0.25, 0.5, 1]] * 2), 1e-6)
