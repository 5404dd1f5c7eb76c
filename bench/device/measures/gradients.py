"""Gradients over a distance: the norm of d loss_T / d x_t against the distance T - t.

x_t is the input of the first block at step t, loss_T the loss of the last position. The norms are measured at
initialisation (`trained` 0) and after training on the budget (`trained` 1), since the two can rank models differently.
A row is a range of distances [d, 2d): the median, p10 and p90 over its positions and all held-out windows. The last
step itself has distance 0.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from lengthscale.bench.data.synthetic import Batch
from lengthscale.bench.device.compilation import make_shared
from lengthscale.bench.device.learner import TrainedModel
from lengthscale.bench.device.program import FINE, Notifier, Program, measured
from lengthscale.bench.device.training import make_budgeted, train
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done
from lengthscale.models.streaming import cross_entropy, squared_error

AT_ONCE = 16_384  # positions of all windows of one batch, if they are short


def make_program(cell: Cell, settings: Settings) -> Program:
    """The program of a training step."""
    return make_budgeted(cell, make_workload(cell), settings)


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell. Raises SkippedError, and NotImplementedError where no last step is scored."""
    workload = make_workload(cell)
    batch = workload.last_scored(settings.windows)
    training = train(cell, workload, settings, notify)
    notify("gradients at initialisation")
    learner = training.model.learner  # the same learner for both, so that their program is compiled once
    start = TrainedModel(learner, *make_shared(learner.make, cell.seed))
    rows = [{"trained": 0, **row} for row in by_distance(_norms(start, batch))]
    if training.outcome == FINE:
        notify("gradients after training")
        rows += [{"trained": 1, **row} for row in by_distance(_norms(training.model, batch))]
    return measured([{**training.row, **row} for row in rows], training.samples, training.outcome)


def by_distance(norms: np.ndarray) -> list[dict]:
    """A row for each range of distances. norms: (B, T), whose last column has distance 0."""
    backwards = norms[:, ::-1]
    rows, distance = [], 0
    while distance < norms.shape[1]:
        end = max(1, 2 * distance)
        inside = backwards[:, distance:end]
        p10, median, p90 = np.quantile(inside, [0.1, 0.5, 0.9])
        rows.append({"distance": distance, "grad_norm": median, "grad_norm_p10": p10, "grad_norm_p90": p90})
        distance = end
    return [{key: float(value) if key != "distance" else value for key, value in row.items()} for row in rows]


def _norms(model: TrainedModel, batch: Batch) -> np.ndarray:
    rows = max(1, AT_ONCE // batch.targets.shape[1])
    function = _of_numbers if batch.targets.dtype.kind == "f" else _of_classes
    parts = [
        np.asarray(model.call(function, batch.inputs[at : at + rows], batch.targets[at : at + rows, -1]))
        for at in range(0, len(batch.targets), rows)
    ]
    return np.concatenate(parts)


def _of_classes(model, inputs, targets):
    return _gradient_norms(model, inputs, targets, cross_entropy)


def _of_numbers(model, inputs, targets):
    return _gradient_norms(model, inputs, targets, squared_error)


def _gradient_norms(model, inputs, targets, error):
    def loss(x):
        return error(model.logits(model.mix(x, None)[0][:, -1]), targets).sum()

    gradient = jax.grad(loss)(model.embed(inputs))
    return jnp.linalg.norm(gradient.astype(jnp.promote_types(gradient.dtype, "float32")), axis=-1)
