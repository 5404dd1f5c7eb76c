"""Training on a budget of tokens, for the measures that train."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lengthscale.bench.device import memory, timing
from lengthscale.bench.device.compilation import shared_compilation
from lengthscale.bench.device.disturbance import Watch
from lengthscale.bench.device.learner import TrainedModel, make_learner, make_optimizer, make_train_step
from lengthscale.bench.device.program import (
    FINE,
    Notifier,
    Outcome,
    Program,
    check_losses,
    compile_program,
    fitting,
    measured,
)
from lengthscale.bench.device.workloads.base import Arrays, Workload
from lengthscale.bench.plan import recipes
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done, Samples
from lengthscale.models.base import SequenceModel
from lengthscale.models.catalogue import REMATS

POINTS = 24  # of the curve of a training
WARM_UP = 2  # steps whose times do not count: in the first everything is new, before the second free memory is returned


def make_training(
    cell: Cell, workload: Workload, learning_rate, inputs: Arrays, *, remat: str, calls: int | None = None
) -> Program:
    """The program of a step that trains the cell's model on batches of the shapes of `inputs`.

    learning_rate: a number or an optax schedule. remat: one of models/remat.py, or "auto": none, the others being the
    program's leaner forms. calls: the number of steps in one cell; None where sampling decides.
    """
    kept = "none" if remat == "auto" else remat
    learner = make_learner(cell, workload, kept)
    optimizer = make_optimizer(learning_rate)

    def make_state(key):
        params, statistics = learner.make(key)
        return params, statistics, optimizer.init(params)

    def leaner() -> list[Program]:
        if remat != "auto" or not learner.offers_remat:
            return []
        make = partial(make_training, cell, workload, learning_rate, inputs, calls=calls)
        return [make(remat=each) for each in REMATS if each != kept]

    return Program(
        step=make_train_step(learner, workload, optimizer),
        make_state=make_state,
        inputs=inputs,
        seed=cell.seed,
        name=f"{cell.key()} training remat={kept}",
        tokens=cell.batch * cell.length,
        columns=lambda results: {"n_params": learner.n_params, "remat": kept},
        leaner=leaner,
        advance=lambda args, results: (*results[:3], *args[3:]),
        loss=lambda results: results[3],
        calls=calls,
    )


def make_budgeted(cell: Cell, workload: Workload, settings: Settings) -> Program:
    """The program of `make_training`, with a warm-up and a cosine over the steps that the budget of tokens allows."""
    steps = max(1, settings.train_tokens // (cell.batch * cell.length))
    recipe = recipes.choose(cell, settings)
    rise = max(1, round(steps * recipe.warmup))
    schedule = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, rise, steps + 1)
    inputs = next(workload.training_batches())
    return make_training(cell, workload, schedule, inputs, remat=settings.remat, calls=steps)


@dataclass(frozen=True)
class Training:
    """The result of a training on a budget."""

    model: TrainedModel
    row: dict  # its columns: times, memory, rates and losses
    curve: list[dict]  # the columns of the rows of its loss while it trains
    samples: Samples  # of the steps, from which the row's times come
    outcome: Outcome

    def failed(self) -> Done:
        """The end of a measure whose training failed."""
        return measured([self.row], self.samples, self.outcome)


def train(cell: Cell, workload: Workload, settings: Settings, notify: Notifier) -> Training:
    """Train the cell's model on its budget. Raises SkippedError where the program does not fit into memory."""
    recipe = recipes.choose(cell, settings)
    with shared_compilation():  # cells of different seeds run the same program
        compiled = fitting(make_budgeted(cell, workload, settings), settings, notify, compile_program)
    program = compiled.program
    del compiled.columns["compile_s"]  # it may be the time of reading what another cell has compiled
    notify("allocate")
    args = program.make_args()
    meter = memory.peak_meter()

    notify("train")
    results, losses, seconds, taken = None, [], [], 0.0
    with closing(Watch()) as watch:
        for batch, _ in zip(workload.training_batches(), range(program.calls or 1), strict=False):
            call = partial(compiled.call, *args[:3], *map(jnp.asarray, batch))
            if len(losses) == 1:
                meter.begin()  # the first step also brings packages into memory, and later ones leave losses there
            taken, results = timing.timed(call)
            args = program.advance(args, results)
            seconds.append(taken)
            losses.append(program.loss(results) if program.loss else None)
            if len(losses) <= WARM_UP:
                meter.stop()
                watch.begin()
            else:
                watch.read((taken,))
        if not watch.samples.samples_ms:
            watch.read((taken,))  # there were few batches
        samples = watch.end()
    model = TrainedModel(make_learner(cell, workload), args[0], args[1])
    row = {
        **meter.columns((args, results)),  # before the statistics, which take memory of their own
        **compiled.timed(samples),
        "state_bytes": state_bytes(model, cell.length),
        "train_tokens": program.tokens * len(losses),
        "steps": len(losses),
        "learning_rate": recipe.learning_rate,
        "warmup": recipe.warmup,
        "recipe": recipe.source,
    }
    outcome, curve = check_losses(losses), []
    if outcome == FINE:
        last_tenth = losses[-max(1, len(losses) // 10) :]
        row["train_loss"] = float(np.mean([float(loss) for loss in last_tenth]))
        curve = curve_of(np.array([float(loss) for loss in losses]), np.cumsum(seconds), program.tokens)
    return Training(model, row, curve, samples, outcome)


def state_bytes(model: TrainedModel, length: int) -> int | None:
    """The bytes of the state from which one sequence of this length continues; None where nothing continues."""
    if not isinstance(model.learner.abstract(), SequenceModel):
        return None
    return memory.tree_bytes(jax.eval_shape(lambda: model.module().init_state(1, length)))


def curve_of(losses: np.ndarray, seconds: np.ndarray, tokens: int) -> list[dict]:
    """The mean loss between POINTS numbers of steps in geometric order, as columns of rows.

    losses: of each step, (steps,). seconds: since the start, after each step. tokens: of a step.
    """
    ends = np.unique(np.geomspace(1, len(losses), POINTS).round().astype(int))
    parts = np.split(losses, ends[:-1])
    return [
        {"seen_tokens": int(end) * tokens, "seen_s": float(seconds[end - 1]), "seen_loss": float(part.mean())}
        for end, part in zip(ends, parts, strict=True)
    ]
