"""Training on a budget of tokens, for the measures that train."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial

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
    check_memory,
    compile_program,
    measured,
)
from lengthscale.bench.device.workloads.base import Arrays, Workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Done, Samples


def make_training(cell: Cell, workload: Workload, learning_rate, inputs: Arrays, calls: int | None = None) -> Program:
    """The program of a step that trains the cell's model on batches of the shapes of `inputs`.

    learning_rate: a number or an optax schedule. calls: the number of steps in one cell; None where sampling decides.
    """
    learner = make_learner(cell, workload)
    optimizer = make_optimizer(learning_rate)

    def make_state(key):
        params, statistics = learner.make(key)
        return params, statistics, optimizer.init(params)

    return Program(
        step=make_train_step(learner, workload, optimizer),
        make_state=make_state,
        inputs=inputs,
        seed=cell.seed,
        name=cell.key(),
        tokens=cell.batch * cell.length,
        columns=lambda results: {"n_params": learner.n_params},
        advance=lambda args, results: (*results[:3], *args[3:]),
        loss=lambda results: results[3],
        calls=calls,
    )


def make_budgeted(cell: Cell, workload: Workload, settings: Settings) -> Program:
    """The program of `make_training`, with a warm-up and a cosine over the steps that the budget of tokens allows."""
    steps = max(1, settings.train_tokens // (cell.batch * cell.length))
    schedule = optax.warmup_cosine_decay_schedule(0.0, settings.learning_rate, max(1, steps // 10), steps + 1)
    return make_training(cell, workload, schedule, next(workload.training_batches()), steps)


@dataclass(frozen=True)
class Training:
    """The result of a training on a budget."""

    model: TrainedModel
    row: dict  # its columns: times, memory, rates and losses
    samples: Samples  # of the steps, from which the row's times come
    outcome: Outcome

    def failed(self) -> Done:
        """The end of a measure whose training failed."""
        return measured([self.row], self.samples, self.outcome)


def train(cell: Cell, workload: Workload, settings: Settings, notify: Notifier) -> Training:
    """Train the cell's model on its budget. Raises SkippedError where the program does not fit into memory."""
    program = make_budgeted(cell, workload, settings)
    with shared_compilation():  # cells of different seeds run the same program
        compiled = compile_program(program, notify)
    del compiled.columns["compile_s"]  # it may be the time of reading what another cell has compiled
    check_memory(compiled, settings)
    notify("allocate")
    args = program.make_args()
    meter = memory.PeakMeter()

    notify("train")
    results, losses, taken = None, [], 0.0
    with closing(Watch()) as watch:
        for batch, _ in zip(workload.training_batches(), range(program.calls or 1), strict=False):
            call = partial(compiled.call, *args[:3], *map(jnp.asarray, batch))
            taken, results = timing.timed(call)
            args = program.advance(args, results)
            losses.append(program.loss(results) if program.loss else None)
            if len(losses) == 1:
                meter.stop()
                watch.begin()  # the first step also warms up
            else:
                watch.read((taken,))
        if not watch.samples.samples_ms:
            watch.read((taken,))  # there was one batch only
        samples = watch.end()
    row = {
        **meter.columns((args, results)),  # before the statistics, which take memory of their own
        **compiled.timed(samples),
        "train_tokens": program.tokens * len(losses),
        "steps": len(losses),
        "learning_rate": settings.learning_rate,
    }
    outcome = check_losses(losses)
    if outcome == FINE:
        last_tenth = losses[-max(1, len(losses) // 10) :]
        row["train_loss"] = float(np.mean([float(loss) for loss in last_tenth]))
    model = TrainedModel(make_learner(cell, workload), args[0], args[1])
    return Training(model, row, samples, outcome)
