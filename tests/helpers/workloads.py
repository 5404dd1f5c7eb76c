"""What the tests of workloads share: cells, and hand-made models whose losses are known."""

import itertools
from math import exp, log

import jax
import jax.numpy as jnp
import numpy as np

from lengthscale.bench.plan.cell import Cell
from lengthscale.models.base import State

SURE = 3.0  # the logit of the hand-made models' answer; the others' is 0


def cell(length=12, batch=4, seed=0, model="gru", data="text", chunk=0, size="tiny") -> Cell:
    return Cell("quality", model, size, "auto", length, batch, "float32", chunk, data, seed)


def sure_loss(classes: int, right=True) -> float:
    """Of a model that gives one class the logit SURE."""
    return log(exp(SURE) + classes - 1) - (SURE if right else 0)


def first_batches(workload, n=40):
    return list(itertools.islice(workload.training_batches(), n))


def check_training_batches(make) -> np.ndarray:
    """The same for a seed, others for another one; all of the first arrays."""
    batches, again, others = (first_batches(make(seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, batches, again)
    assert not np.array_equal(batches[0][0], batches[1][0])
    assert not np.array_equal(batches[0][0], others[0][0])
    jax.tree.map(np.testing.assert_array_equal, make(0).example(), make(0).example())
    jax.tree.map(np.testing.assert_array_equal, make(0).prompt(), make(0).prompt())
    return np.stack([batch[0] for batch in batches])


def caller(model):
    """What TrainedModel.call is: here of a hand-made model."""
    return lambda function, *args: jax.jit(lambda *args: function(model, *args))(*args)


class Constant:
    """The same outputs at every step."""

    def __init__(self, outputs):
        self.outputs = jnp.asarray(outputs, jnp.float32)

    def init_state(self, batch, capacity):
        return State(jnp.int32(0), ())

    def __call__(self, inputs, state=None):
        return jnp.broadcast_to(self.outputs, (*inputs.shape[:2], *self.outputs.shape)), state

    features = __call__  # which are the outputs already

    def logits(self, x):
        return x
