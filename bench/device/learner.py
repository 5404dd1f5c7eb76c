"""The learner: a model as a static graph and pytrees of arrays, and the step that trains it.

The module is split once by `nnx.split`, then `jax.jit` works on pytrees: `nnx.jit` would walk the module in Python at
every call.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import optax
from flax import nnx

from lengthscale.bench.device.compilation import shared_compilation
from lengthscale.bench.device.workloads.base import Workload
from lengthscale.bench.plan import checkpoint
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.dtypes import DTYPES
from lengthscale.models import build
from lengthscale.models.checkpoints import Checkpoint

MATRICES = ("kernel", "w_h")  # parameters with weight decay; biases, norms, embeddings, A_log and D have none


@dataclass(frozen=True)
class Learner:
    """A model as a static graph, and how its arrays are made. The model is traced only when it is needed."""

    abstract: Callable[[], Any]  # the model with shapes and dtypes in place of arrays
    make: Callable[[Any], tuple]  # a random key -> (parameters, statistics); statistics: of batch normalisation only
    dtype: str  # of the arrays
    remat: str = "none"  # one of models/remat.py

    @cached_property
    def _parts(self) -> tuple:
        return nnx.split(self.abstract(), nnx.Param, ...)

    @property
    def graph(self) -> Any:
        """The model without its arrays."""
        return self._parts[0]

    @property
    def n_params(self) -> int:
        """The number of parameters."""
        return sum(x.size for x in jax.tree.leaves(self._parts[1]))

    def model(self, params, statistics):
        """The model with its parameters in the cell's dtype, so that its activations have it, too.

        Raises NotImplementedError where the model does not offer the learner's rematerialisation.
        """
        params = jax.tree.map(lambda x: x.astype(self.dtype), params)
        model = nnx.merge(self.graph, params, statistics, copy=True)  # statistics that may change inside a gradient
        if self.remat != "none":
            if not model.remat:
                raise NotImplementedError(f"{type(model).__name__} has no blocks for remat {self.remat}")
            model.remat = self.remat
        return model

    @property
    def offers_remat(self) -> bool:
        """Whether the model has blocks whose arrays need not be kept."""
        return bool(self.abstract().remat)

    def make_cast(self, key) -> tuple:
        """(parameters in the cell's dtype, statistics), for models that are not trained. key: random."""
        params, statistics = self.make(key)
        return jax.tree.map(lambda x: x.astype(self.dtype), params), statistics


def make_learner(cell: Cell, workload: Workload, remat: str = "none") -> Learner:
    """The learner of a cell's model, with the weights of a checkpoint where its size is one."""
    opened = checkpoint.of_cell(cell)
    if opened:
        return replace(_from_checkpoint(opened, cell), remat=remat)

    def module(key):
        return build(
            cell.model,
            size=cell.size,
            interface=workload.interface,
            method=cell.method,
            rngs=nnx.Rngs(key),
        )

    return Learner(
        abstract=lambda: nnx.eval_shape(module, jax.random.key(0)),
        make=lambda key: nnx.split(module(key), nnx.Param, ...)[1:],
        dtype=DTYPES[cell.dtype].arrays,
        remat=remat,
    )


def _from_checkpoint(opened: Checkpoint, cell: Cell) -> Learner:
    """The learner of a checkpoint. A callback reads the weights when they are needed; constants would be copied."""
    make = opened.make()

    def abstract():
        return nnx.eval_shape(lambda: make(method=cell.method, rngs=nnx.Rngs(0)))

    def make_arrays(key):
        _, params, statistics = nnx.split(abstract(), nnx.Param, ...)
        flat = nnx.to_flat_state(params)

        def read():
            weights = opened.read()
            return [weights[".".join(map(str, path))] for path, _ in flat]

        shapes = [jax.ShapeDtypeStruct(variable.shape, variable.dtype) for _, variable in flat]
        arrays = jax.pure_callback(read, shapes)
        filled = [(path, variable.replace(array)) for (path, variable), array in zip(flat, arrays, strict=True)]
        return nnx.from_flat_state(filled), statistics

    return Learner(abstract, make_arrays, DTYPES[cell.dtype].arrays)


def make_optimizer(learning_rate: optax.ScalarOrSchedule) -> optax.GradientTransformation:
    """AdamW with clipped gradients, and weight decay on matrices only."""

    def decay_mask(params):
        return jax.tree_util.tree_map_with_path(lambda path, _: _leaf_name(path) in MATRICES, params)

    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(learning_rate, b1=0.9, b2=0.95, weight_decay=0.1, mask=decay_mask),
    )


def make_train_step(learner: Learner, workload: Workload, optimizer: optax.GradientTransformation):
    """The jitted step (parameters, statistics, optimizer state, *batch) -> (the new values of these three, loss).

    The first three arguments are donated.
    """

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
    """A learner with its arrays."""

    learner: Learner
    params: Any
    statistics: Any

    def module(self):
        """The model itself."""
        return self.learner.model(self.params, self.statistics)

    def call(self, function: Callable, *args):
        """function(model, *args), compiled once for each function and set of shapes."""
        with shared_compilation():
            return _call(self.learner, function, self.params, self.statistics, args)


@partial(jax.jit, static_argnums=(0, 1))
def _call(learner: Learner, function: Callable, params, statistics, args):
    return function(learner.model(params, statistics), *args)


def leaves_called(params, name: str) -> list:
    """The parameters with this name, of all blocks."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return [leaf for path, leaf in leaves if _leaf_name(path) == name]


def change(params, name: str, function: Callable):
    """The parameters with function(x) in place of each parameter x with this name."""
    return jax.tree_util.tree_map_with_path(lambda path, x: function(x) if _leaf_name(path) == name else x, params)


def _leaf_name(path) -> str:
    names = [str(getattr(key, "key", getattr(key, "name", ""))) for key in path]
    names = [name for name in names if name not in ("", "value")]
    return names[-1] if names else ""
