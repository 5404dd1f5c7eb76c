"""The error of a discretised state space model: its discretisation rule compared with the matrix exponential.

One step of x' = a x + u in each mode a of the trained model, in float64. If the input goes from u_0 to u_1 along a
straight line over the step, the exact solution is (Van Loan 1978, doi:10.1109/TAC.1978.1101743):

    x(dt) = E_00 x(0) + E_01 u_0 + E_02 (u_1 - u_0) / dt,   E = exp(dt [[a, 1, 0], [0, 0, 1], [0, 0, 0]])

The model computes Abar x(0) + Bbar u_1. There is a row for each dt; its errors are the largest of all modes:

    transition_error   |Abar - E_00|          of the state without an input
    held_error         |Bbar - E_01|          from rest, with an input of 1 over the whole step
    ramp_error         |Bbar dt - E_02|       from rest, with an input that rises from 0 to dt over the step
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import expm

from lengthscale.bench.device.learner import TrainedModel
from lengthscale.bench.device.program import FINE, Notifier, Program, measured
from lengthscale.bench.device.training import make_budgeted, train
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done
from lengthscale.models import spec_of
from lengthscale.models.ops.discretise import discretise
from lengthscale.models.ssm import S4D

STEPS = tuple(10 ** (exponent / 4) for exponent in range(-20, -3))  # dt from 1e-5 to 1e-1; models start at 1e-3 or more


def make_program(cell: Cell, settings: Settings) -> Program:
    """The program of a training step."""
    return make_budgeted(cell, make_workload(cell), settings)


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell. Raises SkippedError, and NotImplementedError for models other than S4D."""
    if spec_of(cell.model).module != S4D.__module__:
        raise NotImplementedError(f"{cell.model} is not a linear, time-invariant state space model, as s4d is")
    training = train(cell, make_workload(cell), settings, notify)
    if training.outcome != FINE:
        return training.failed()
    notify("compare")
    poles, rule = _continuous(training.model)
    rows = [{**training.row, "dt": dt, **errors(poles, dt, rule)} for dt in STEPS]
    return measured(rows, training.samples)


def _continuous(trained: TrainedModel) -> tuple[np.ndarray, str]:
    """(all modes of all channels and blocks, the model's rule of discretisation)."""
    mixer = trained.learner.model(trained.params, trained.statistics).blocks.mixer
    return np.asarray(mixer.poles(), np.complex128).ravel(), mixer.discretisation


def errors(poles: np.ndarray, dt: float, rule: str) -> dict[str, float]:
    """The columns of one dt: largest_z and the three errors. poles: (modes,) complex. rule: of discretisation."""
    with jax.enable_x64(True):
        a, b = map(np.asarray, discretise(jnp.asarray(poles), 1.0, jnp.asarray(dt), rule))
    system = np.zeros((len(poles), 3, 3), complex)
    system[:, 0, 0], system[:, 0, 1], system[:, 1, 2] = poles, 1, 1
    exact = expm(dt * system)[:, 0]
    found = {"transition_error": a - exact[:, 0], "held_error": b - exact[:, 1], "ramp_error": b * dt - exact[:, 2]}
    largest = {name: float(np.abs(values).max()) for name, values in found.items()}
    return {"largest_z": float(np.abs(dt * poles).max()), **largest}
