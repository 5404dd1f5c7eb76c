"""A model as the harness handles it: a static graph, its arrays as pytrees, and the step that trains them.

`nnx.split` once, then `jax.jit` over pytrees: `nnx.jit` would walk the module in Python at every call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import optax
from flax import nnx

from lengthscale.bench.device.compilation import shared_compilation
from lengthscale.bench.device.workloads.base import Workload
from lengthscale.bench.plan import checkpoint
from lengthscale.bench.plan.cell import Cell
from lengthscale.models import build
from lengthscale.models.checkpoints import Checkpoint

MATRICES = ("kernel", "w_h")  # what weight decay is for; not biases, norms, embeddings, A_log, D


@dataclass(frozen=True)
class Learner:
    """graph is static; make(key) gives (parameters, statistics), the latter empty but for batch normalisation."""

    graph: Any
    make: Callable[[Any], tuple]
    n_params: int
    dtype: str

    def model(self, params, statistics):
        """The model with its parameters in the cell's dtype, which its activations follow."""
        params = jax.tree.map(lambda x: x.astype(self.dtype), params)
        return nnx.merge(self.graph, params, statistics, copy=True)  # statistics that may change inside a gradient

    def make_cast(self, key) -> tuple:
        """As make, the parameters in the cell's dtype: for what is not trained."""
        params, statistics = self.make(key)
        return jax.tree.map(lambda x: x.astype(self.dtype), params), statistics


def make_learner(cell: Cell, workload: Workload) -> Learner:
    opened = checkpoint.of_cell(cell)
    if opened:
        return _from_checkpoint(opened, cell)

    def module(key):
        return build(
            cell.model,
            size=cell.size,
            interface=workload.interface,
            method=cell.method,
            rngs=nnx.Rngs(key),
        )

    graph, params, _ = nnx.split(nnx.eval_shape(module, jax.random.key(0)), nnx.Param, ...)
    n_params = sum(x.size for x in jax.tree.leaves(params))
    return Learner(graph, lambda key: nnx.split(module(key), nnx.Param, ...)[1:], n_params, cell.dtype)


def _from_checkpoint(opened: Checkpoint, cell: Cell) -> Learner:
    """Its weights are read when they are needed, by a callback: as constants of the program they would be copied."""
    make = opened.make()
    abstract = nnx.eval_shape(lambda: make(method=cell.method, rngs=nnx.Rngs(0)))
    graph, params, statistics = nnx.split(abstract, nnx.Param, ...)
    flat = nnx.to_flat_state(params)
    shapes = [jax.ShapeDtypeStruct(variable.shape, variable.dtype) for _, variable in flat]

    def read():
        weights = opened.read()
        return [weights[".".join(map(str, path))] for path, _ in flat]

    def make_arrays(key):
        arrays = jax.pure_callback(read, shapes)
        filled = [(path, variable.replace(array)) for (path, variable), array in zip(flat, arrays, strict=True)]
        return nnx.from_flat_state(filled), statistics

    return Learner(graph, make_arrays, sum(shape.size for shape in shapes), cell.dtype)


def make_optimizer(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """AdamW with clipped gradients, weight decay on matrices alone."""

    def decay_mask(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: _leaf_name(path) in MATRICES, params)

    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(learning_rate, b1=0.9, b2=0.95, weight_decay=0.1, mask=decay_mask),
    )


def make_train_step(learner: Learner, workload: Workload, optimizer: optax.GradientTransformation):
    """(parameters, statistics, optimizer state, *batch) -> (the three of them anew, loss); the three are donated."""

    def loss(params, statistics, batch):
        model = learner.model(params, statistics)
        value = workload.loss(model, *batch)
        return value, nnx.split(model, nnx.Param, ...)[2]

    def step(params, statistics, state, *batch):
        gradient_of = jax.value_and_grad(loss, has_aux=True)
        (value, statistics), gradient = gradient_of(params, statistics, batch)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), statistics, state, value

    return jax.jit(step, donate_argnums=(0, 1, 2))


@dataclass(frozen=True)
class TrainedModel:
    """A learner with its arrays. `call` compiles a function once for each set of shapes."""

    learner: Learner
    params: Any
    statistics: Any

    def call(self, function: Callable, *args):
        """function(model, *args)."""
        with shared_compilation():
            return _call(self.learner, function, self.params, self.statistics, args)


@partial(jax.jit, static_argnums=(0, 1))
def _call(learner: Learner, function: Callable, params, statistics, args):
    return function(learner.model(params, statistics), *args)


def leaves_called(params, name: str) -> list:
    """The parameters of this name, of all blocks."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [leaf for path, leaf in leaves if _leaf_name(path) == name]


def change(params, name: str, function: Callable):
    """The same with function(x) in place of each parameter x of this name."""
    return jax.tree_util.tree_map_with_path(lambda path, x: function(x) if _leaf_name(path) == name else x, params)


def _leaf_name(path) -> str:
    names = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
    names = [name for name in names if name not in ("", "value")]
    return names[-1] if names else ""
