"""A model as the harness handles it: a static graph, parameters as a pytree, and the step that trains them.

`nnx.split` once, then `jax.jit` over pytrees: `nnx.jit` would walk the module in Python at every call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax
from flax import nnx

from bench.cell import Cell
from bench.tasks.text import VOCAB
from models import build, streaming
from models.base import SequenceModel

MATRICES = ("kernel", "w_h")  # what weight decay is for; not biases, norms, embeddings, A_log, D


@dataclass(frozen=True)
class Learner:
    """graph is static; params(key) makes the parameters, in float32."""

    graph: Any
    params: Callable[[Any], Any]
    n_params: int

    def model(self, params, dtype: str) -> SequenceModel:
        """The model with its parameters in dtype, which its activations follow."""
        return nnx.merge(self.graph, cast(params, dtype))


def make_learner(cell: Cell) -> Learner:
    def make(key) -> SequenceModel:
        return build(cell.model, size=cell.size, vocab=VOCAB, method=cell.method, rngs=nnx.Rngs(key))

    graph, abstract = nnx.split(nnx.eval_shape(make, jax.random.key(0)))
    n_params = sum(x.size for x in jax.tree.leaves(abstract))
    return Learner(graph, lambda key: nnx.state(make(key)), n_params)


def cast(params, dtype: str):
    return jax.tree.map(lambda x: x.astype(dtype), params)


def make_optimizer(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """AdamW with clipped gradients, weight decay on matrices alone."""

    def decay_mask(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: _leaf_name(path) in MATRICES, params)

    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(learning_rate, b1=0.9, b2=0.95, weight_decay=0.1, mask=decay_mask),
    )


def make_train_step(learner: Learner, optimizer: optax.GradientTransformation, cell: Cell):
    """(params, optimizer state, tokens (B, L + 1)) -> (params, optimizer state, loss); both states are donated."""

    def loss(params, tokens):
        model = learner.model(params, cell.dtype)
        return streaming.loss(model, tokens[:, :-1], tokens[:, 1:], chunk=cell.chunk)

    def step(params, state, tokens):
        value, gradient = jax.value_and_grad(loss)(params, tokens)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    return jax.jit(step, donate_argnums=(0, 1))


def _leaf_name(path) -> str:
    names = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
    names = [name for name in names if name not in ("", "value")]
    return names[-1] if names else ""
