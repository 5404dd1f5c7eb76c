"""Scores in chunks equal the sums over the whole sequence, whatever the chunk."""

from functools import partial
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from lengthscale.models import Interface, build, streaming
from tests.helpers.compare import assert_close

BATCH, LENGTH = 3, 37
TOLERANCE = 1e-5


def random_weights():
    weights = np.random.default_rng(2).random((BATCH, LENGTH)).astype(np.float32)
    weights[:, ::3] = 0
    return weights


@partial(jax.jit, static_argnums=(0, 4))
def both(name, inputs, targets, weights, chunk):
    """(the outputs of the whole sequence, its scores in chunks)"""
    regression = inputs.ndim == 3
    interface = Interface(features=inputs.shape[2], outputs=1) if regression else Interface(vocab=9)
    model: Any = build(name, size="tiny", interface=interface, rngs=nnx.Rngs(0))
    graph, params = nnx.split(model)
    noise = np.random.default_rng(1)  # large parameters, or a state that was lost would not be noticed
    model = nnx.merge(graph, jax.tree.map(lambda x: x + 0.3 * noise.normal(size=x.shape).astype(np.float32), params))
    error = streaming.squared_error if regression else streaming.cross_entropy
    return model(inputs)[0], streaming.score(model, inputs, targets, weights, error=error, chunk=chunk)


@pytest.mark.parametrize("chunk", [5, 37, *(pytest.param(c, marks=pytest.mark.slow) for c in (1, 36, 64))])
def test_scores_of_classes(chunk):
    rng = np.random.default_rng(0)
    inputs, targets = rng.integers(0, 9, (2, BATCH, LENGTH))
    weights = random_weights()
    for name in ("gru", "transformer") if chunk == 5 else ("gru",):
        logits, sums = both(name, inputs, targets, weights, chunk)
        logits = np.asarray(logits, np.float64)
        losses = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, targets[..., None], -1)[..., 0]
        right = logits.argmax(-1) == targets
        assert_close(sums, np.stack([(x * weights).sum(1) for x in (losses, right, np.ones_like(weights))]), TOLERANCE)
        assert 0 < right.mean() < 1


@pytest.mark.parametrize("chunk", [10, 40])
def test_scores_of_numbers(chunk):
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(BATCH, LENGTH, 2)).astype(np.float32), rng.normal(size=(BATCH, LENGTH))
    weights = random_weights()
    outputs, sums = both("gru", inputs, targets.astype(np.float32), weights, chunk)
    errors = (np.asarray(outputs, np.float64)[..., 0] - targets) ** 2
    assert_close(np.asarray(sums)[[0, 2]], np.stack([(errors * weights).sum(1), weights.sum(1)]), TOLERANCE)
