"""The difference between the parallel and the recurrent form: the logits of a sequence read whole, and step by step.

They are compared after training on the budget in the parallel form (the cell's method): at initialisation a block may
add nothing to its residual stream (RWKV's blocks do not), and agreement would prove nothing. The recurrent form is the
one that `decode` runs. The result is the largest difference of any logit at any position of the held-out windows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lengthscale.bench.device.learner import TrainedModel
from lengthscale.bench.device.program import FINE, Notifier, Outcome, Program, measured
from lengthscale.bench.device.training import make_budgeted, train
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.dtypes import DTYPES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done
from lengthscale.models.backbone import Backbone

AT_ONCE = 32_768  # positions of all windows of one batch


def make_program(cell: Cell, settings: Settings) -> Program:
    """The program of a training step."""
    return make_budgeted(cell, make_workload(cell), settings)


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell. Raises SkippedError, and NotImplementedError where the workload has no sequence to compare."""
    workload = make_workload(cell)
    inputs = workload.last_scored(settings.windows).inputs
    training = train(cell, workload, settings, notify)
    if training.outcome != FINE:
        return training.failed()
    notify("compare")
    with jax.default_matmul_precision(DTYPES[cell.dtype].exact):  # TF32's rounding would hide what the forms differ by
        difference, largest = compare(training.model, inputs)
    row = {**training.row, "max_difference": difference, "largest_logit": largest}
    if not np.isfinite(difference):
        outcome = Outcome(Status.NAN, f"the logits' largest difference is {difference}")
        return measured([row], training.samples, outcome)
    return measured([row], training.samples)


def compare(model: TrainedModel, inputs: np.ndarray) -> tuple[float, float]:
    """(the largest difference between the two forms' logits, the largest logit). inputs: (windows, T)."""
    rows = max(1, AT_ONCE // inputs.shape[1])
    parts = [model.call(_compare, inputs[at : at + rows]) for at in range(0, len(inputs), rows)]
    difference, largest = np.max(np.array(parts), axis=0)
    return float(difference), float(largest)


def _compare(model, inputs):
    whole, _ = model(inputs)
    stepper = model.apart() if isinstance(model, Backbone) else model

    def step(state, x):
        logits, state = stepper(x[:, None], state)
        return state, logits[:, 0]

    _, stepped = lax.scan(step, model.init_state(*inputs.shape[:2]), inputs.swapaxes(0, 1))
    whole, stepped = (x.astype(jnp.promote_types(x.dtype, "float32")) for x in (whole, stepped.swapaxes(0, 1)))
    return jnp.stack([jnp.abs(whole - stepped).max(), jnp.abs(whole).max()])
