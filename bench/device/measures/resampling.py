"""Zero-shot resampling: a trained state space model at half the sampling rate, with its steps dt doubled or not.

In a continuous-time model only dt depends on the sampling rate of the input (Gu et al., arXiv:2111.00396, section 4.3,
where it is trained on speech at 16 kHz and tested at 8 kHz). The signals are held-out images, pixel by pixel; at half
the rate, two consecutive pixels become their mean. Rows: as trained; half the rate; half the rate and 2 dt.
"""

from __future__ import annotations

import math
from dataclasses import replace

import jax
import numpy as np

from lengthscale.bench.data import Images
from lengthscale.bench.data.synthetic import Batch
from lengthscale.bench.device.evaluation import of_sequences, score
from lengthscale.bench.device.learner import TrainedModel, change, leaves_called, make_learner
from lengthscale.bench.device.program import FINE, Notifier, Program, measured
from lengthscale.bench.device.training import make_budgeted, train
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done

STEP = "log_dt"  # the name of the parameter


def make_program(cell: Cell, settings: Settings) -> Program:
    """The program of a training step."""
    return make_budgeted(cell, make_workload(cell), settings)


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell. Raises SkippedError, and NotImplementedError where data, length or model do not allow it."""
    workload = make_workload(cell)
    if not isinstance(getattr(workload, "data", None), Images):
        raise NotImplementedError(f"{cell.data} is not a signal that can be sampled at half the rate, as images are")
    if cell.length % 2:
        raise NotImplementedError(f"half the sampling rate needs an even length, got {cell.length}")
    whole = workload.last_scored(settings.windows)
    params, _ = jax.eval_shape(make_learner(cell, workload).make, jax.random.key(cell.seed))
    if not leaves_called(params, STEP):
        raise NotImplementedError(f"{cell.model} has no steps dt to double, as s4d has")
    training = train(cell, workload, settings, notify)
    if training.outcome != FINE:
        return training.failed()
    notify("evaluate")
    model, half = training.model, halved(whole)
    row = {**training.row, **steps_of(model)}
    rows = [
        {**row, "rate": rate, "dt_factor": factor, "eval_length": batch.targets.shape[1]}
        | of_sequences(*score(with_steps(model, factor).call, batch)).columns
        for rate, factor, batch in ((1.0, 1.0, whole), (0.5, 1.0, half), (0.5, 2.0, half))
    ]
    return measured(rows, training.samples)


def halved(batch: Batch) -> Batch:
    """The batch at half the rate: two consecutive steps become one, with their mean and the second one's target.

    Inputs (B, T, F), T even, become (B, T / 2, F).
    """
    rows, length, features = batch.inputs.shape
    inputs = batch.inputs.reshape(rows, length // 2, 2, features).mean(2)
    return Batch(inputs, batch.targets[:, 1::2], batch.weights[:, 1::2])


def with_steps(model: TrainedModel, factor: float) -> TrainedModel:
    """The model with all of its steps dt multiplied by a factor."""
    if factor == 1:
        return model
    shift = math.log(factor)
    return replace(model, params=change(model.params, STEP, lambda x: x + shift))


def steps_of(model: TrainedModel) -> dict[str, float]:
    """The columns with the spread of the steps dt over channels and blocks."""
    steps = np.exp(np.concatenate([np.ravel(x) for x in leaves_called(model.params, STEP)]).astype(np.float64))
    p10, median, p90 = (float(x) for x in np.quantile(steps, (0.1, 0.5, 0.9)))
    return {"dt_p10": p10, "dt_median": median, "dt_p90": p90}
