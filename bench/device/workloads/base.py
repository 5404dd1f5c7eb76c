"""The interface of a workload, which measures use, and what several workloads share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from lengthscale.bench.data import Images, Stream
from lengthscale.bench.data.synthetic import Batch
from lengthscale.bench.device.evaluation import HeldOut
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.models import SIZES, Interface, streaming
from lengthscale.models.base import State
from lengthscale.models.names import learns_positions

Arrays = tuple[np.ndarray, ...]


class Workload(Protocol):
    """The data of one cell, and how its model runs on them. A `model` is one that `Learner.model` gives."""

    interface: Interface  # of the model to build

    def __init__(self, cell: Cell, data: Any): ...

    def example(self) -> Arrays:
        """One batch of the cell's shape for `loss`: the same one in every call."""
        ...

    def training_batches(self) -> Iterator[Arrays]:
        """Batches for `loss` from the training part, without an end; the cell's seed decides which."""
        ...

    def loss(self, model, *batch):
        """The training loss of a batch, a scalar."""
        ...

    def prompt(self) -> Arrays:
        """One batch of the cell's shape for `prefill`."""
        ...

    def prefill(self, model, *prompt, room: int = 0) -> tuple[Any, State | None]:
        """(outputs, the state from which decoding continues, or None).

        room: the number of positions that the state has room for beyond the prompt. Raises NotImplementedError where
        there should be room and the model does not decode.
        """
        ...

    def full_state(self, model, key) -> State:
        """A state with length - 1 positions of random content and room for one more.

        Raises NotImplementedError where the model does not decode.
        """
        ...

    def last_scored(self, sequences: int) -> Batch:
        """This many held-out sequences of the cell's length whose last step is scored.

        Raises NotImplementedError where there are no steps, or the last one is not scored.
        """
        ...

    def evaluate(self, call: Callable, settings: Settings) -> Iterator[HeldOut]:
        """The rows of held-out results. call(function, *args): function(model, *args), compiled."""
        ...


class OneSequence:
    """How a sequence model runs on any data: what the workloads on text, tasks and pixels share."""

    cell: Cell

    def prefill(self, model, inputs, room=0):
        return streaming.prefill(model, inputs, capacity=self.cell.length + room, chunk=self.cell.chunk)

    def full_state(self, model, key) -> State:
        return fill(model.init_state(self.cell.batch, self.cell.length), self.cell.length - 1, key)


class OfImages:
    """Batches of training images, drawn by the cell's seed: what the workloads on patches and on pixels share."""

    cell: Cell
    data: Images

    def arrays(self, images: np.ndarray, labels: np.ndarray) -> Arrays:
        """What `loss` takes, of images as they are stored, (B, height, width, channels), and their labels, (B,)."""
        raise NotImplementedError

    def example(self) -> Arrays:
        return next(self.training_batches())

    def training_batches(self) -> Iterator[Arrays]:
        rng = np.random.default_rng(self.cell.seed)
        while True:
            chosen = rng.integers(0, len(self.data.train), self.cell.batch)
            yield self.arrays(self.data.train[chosen], self.data.train_labels[chosen])

    def prompt(self) -> Arrays:
        return self.example()[:1]


def fill(state: State, position: int, key) -> State:
    """The state, set to `position` and filled with random numbers in [-1, 1).

    The cost of a step does not depend on them, and to fill a Transformer's cache by running the model would cost more
    than all the rest.
    """
    leaves, tree = jax.tree.flatten(state.layers)
    keys = jax.random.split(key, len(leaves))
    random = [_random_like(x, key) for x, key in zip(leaves, keys, strict=True)]
    return State(jnp.int32(position), jax.tree.unflatten(tree, random))


def _random_like(x, key):
    if jnp.issubdtype(x.dtype, jnp.integer):  # lengths and places: they describe the other arrays, so they stay
        return x
    if jnp.issubdtype(x.dtype, jnp.complexfloating):
        parts = jax.random.uniform(key, (2, *x.shape), jnp.finfo(x.dtype).dtype, -1, 1)
        return jax.lax.complex(parts[0], parts[1])
    return jax.random.uniform(key, x.shape, x.dtype, -1, 1)


def interface_of(cell: Cell, data: Stream) -> Interface:
    """The interface of a language model: the data's tokens, and further ones where the cell's size has more."""
    least = SIZES[cell.size].vocab if cell.size in SIZES else 0
    return Interface(vocab=max(data.vocab, least))


def longest_input(cell: Cell) -> float:
    """The longest sequence, in tokens, that the cell's trained model can read."""
    return cell.length if learns_positions(cell.model) else math.inf


def side_of(length: int) -> int:
    """The side of a square of `length` pixels or patches. Raises NotImplementedError where there is none."""
    side = math.isqrt(length)
    if side * side != length:
        nearest = sorted({side**2, (side + 1) ** 2} - {0}, key=lambda square: abs(square - length))
        raise NotImplementedError(f"images are square: {length} is not; the nearest lengths are {nearest}")
    return side
