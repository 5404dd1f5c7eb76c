"""The check of a method against its reference, before anything is timed: at the cell's shapes and the smallest width.

The cell's method is compared with the model's plain one (the first of its methods: a scan step by step, attention with
its whole matrix of scores), with the same parameters on the same data: outputs and state for prefill, the loss and all
gradients for measures that train, one step from a full state for decoding, prefill and a step from its state for
generation, outputs and all gradients of the operator alone. Beyond REFERENCE_LONGEST tokens, attention's plain form
would take memory quadratic in length; there the reference is the blocked form, which is checked against the plain form
at shorter lengths. What is only traced is not checked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lengthscale.bench.device.compilation import LITTLE_EFFORT, make_shared
from lengthscale.bench.device.learner import make_learner
from lengthscale.bench.device.measures import operator
from lengthscale.bench.device.program import Notifier
from lengthscale.bench.device.workloads import make_endless_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.dtypes import DTYPES
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Checked, Done
from lengthscale.models import spec_of

SIZE = "tiny"
REFERENCE_LONGEST = 2048
# Relative to the largest number of an array: sums in another order, over thousands of steps and a few layers.
TOLERANCES = {"float32": 1e-3, "bfloat16": 6e-2}  # by the arrays' type: float32 is multiplied as such, for tf32 too
FLOOR = 1e-3  # times the largest number of all arrays: smaller arrays are compared with this, as sums of larger numbers


def check(cell: Cell, notify: Notifier) -> Done:
    """The outcome, ok or incorrect, with the reference and the largest difference from it."""
    notify("check")
    plain = _plain_method(cell)
    if plain == cell.method or not MEASURES[cell.measure].runs:
        return Done(Status.OK, content=Checked(None, None))
    small = replace(cell, size=SIZE)
    fast, right = (_results(replace(small, method=method)) for method in (cell.method, plain))
    name, worst = worst_difference(fast, right)
    checked, tolerance = Checked(plain, worst), TOLERANCES[DTYPES[cell.dtype].arrays]
    if worst <= tolerance:
        return Done(Status.OK, content=checked)
    message = f"{cell.method} is {worst:.2g} off {plain} in {name} at length {cell.length}, over {tolerance:g}"
    return Done(Status.INCORRECT, message, content=checked)


def _plain_method(cell: Cell) -> str:
    first = spec_of(cell.model).methods[0]
    return "blocked" if first == "reference" and cell.length > REFERENCE_LONGEST else first


def worst_difference(fast: dict[str, np.ndarray], right: dict[str, np.ndarray]) -> tuple[str, float]:
    """(the name of the array that differs most, its relative difference). A NaN in only one of two arrays: infinity.

    fast, right: arrays by their names.
    """
    largest = max((float(np.abs(x[np.isfinite(x)]).max(initial=0)) for x in right.values()), default=0.0)
    off = {"": 0.0}
    for name, x in right.items():
        y = fast[name]
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        difference = np.where(same, 0, np.abs(x - y))
        size = max(float(np.abs(x[np.isfinite(x)]).max(initial=0)), FLOOR * largest, 1e-30)
        worst = float(difference.max(initial=0)) / size
        off[name] = worst if worst == worst else float("inf")
    name = max(off, key=lambda name: off[name])
    return name, off[name]


def _results(cell: Cell) -> dict[str, np.ndarray]:
    """The arrays that the cell's measure computes, by their names."""
    if cell.measure == "operator":
        program = operator.make_program(cell, Settings())
        return _run(program.step, *program.make_args())
    room = int(cell.measure == "generate")
    workload = make_endless_workload(cell, room)
    learner = make_learner(cell, workload)
    # All methods, lengths and measures of a model have the same parameters: they find the program that makes them.
    params, statistics = make_shared(learner.make, cell.seed, f"check {cell.model} {cell.size} {workload.interface}")

    def prefill(params, *prompt):
        return workload.prefill(learner.model(params, statistics), *prompt, room=room)

    def train(params, *batch):
        return jax.value_and_grad(lambda params: workload.loss(learner.model(params, statistics), *batch))(params)

    def step(params, token):
        model = learner.model(params, statistics)
        return model(token, workload.full_state(model, jax.random.key(cell.seed)))

    def go_on(params, *prompt):
        # The next input is the prompt's last one again: an arg max of two nearly equal logits could differ.
        outputs, state = prefill(params, *prompt)
        return outputs, state, learner.model(params, statistics)(prompt[0][:, -1:], state)

    if cell.measure == "decode":
        function, inputs = step, (workload.prompt()[0][:, :1],)
    elif cell.measure == "forward":
        function, inputs = prefill, workload.prompt()
    elif cell.measure == "generate":
        function, inputs = go_on, workload.prompt()
    else:
        assert cell.measure in ("train", "breakdown", "frontier", "speedup") or MEASURES[cell.measure].trains
        function, inputs = train, workload.example()
    return _run(jax.jit(function), params, *inputs)


def _run(step: Any, *args: Any) -> dict[str, np.ndarray]:
    """The arrays that a jitted function computes, by their names."""
    results = step.lower(*args).compile(compiler_options=LITTLE_EFFORT)(*args)
    leaves = jax.tree_util.tree_leaves_with_path(results)
    return {
        jax.tree_util.keystr(path): _reals(leaf) for path, leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact)
    }


def _reals(x: jax.Array) -> np.ndarray:
    """The array in float64; of complex numbers their real and their imaginary parts."""
    parts = (x.real, x.imag) if jnp.iscomplexobj(x) else (x,)
    return np.stack([np.asarray(part, np.float64) for part in parts])
