"""A sequence model on a synthetic task: labelled sequences, evaluated also at lengths beyond the training length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lengthscale.bench.data.synthetic import Batch, Task, generator
from lengthscale.bench.device.evaluation import HeldOut, of_sequences, score_many
from lengthscale.bench.device.workloads.base import Arrays, OneSequence, longest_input
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.models import streaming


class Workload(OneSequence):
    """The workload of a sequence model on a synthetic task; see base.Workload."""

    def __init__(self, cell: Cell, data: Task):
        self.cell = cell
        self.data = data
        self.interface = data.interface

    def example(self) -> Arrays:
        return self.arrays(self.draw(generator(self.cell.seed), self.cell.batch, self.cell.length))

    def training_batches(self) -> Iterator[Arrays]:
        rng = generator(self.cell.seed)
        while True:
            yield self.arrays(self.draw(rng, self.cell.batch, self.cell.length))

    def draw(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        """A new batch of the task."""
        return self.data.batch(rng, batch, length)

    def arrays(self, batch: Batch) -> Arrays:
        """A batch as the arguments of `loss`."""
        return batch.inputs, batch.targets, batch.weights

    def loss(self, model, inputs, targets, weights):
        error = streaming.squared_error if self.data.regression else streaming.cross_entropy
        return streaming.loss(model, inputs, targets, weights, error=error, chunk=self.cell.chunk)

    def prompt(self) -> Arrays:
        return self.example()[:1]

    def last_scored(self, sequences: int) -> Batch:
        batch = self.draw(generator(self.cell.seed, "held_out"), sequences, self.cell.length)
        if not batch.weights[:, -1].all():
            raise NotImplementedError(f"{self.data} does not score the last step, from which gradients are followed")
        return batch

    def evaluate(self, call, settings: Settings) -> Iterator[HeldOut]:
        points = list(self._points(settings))
        batches = [self._held_out(task, length, settings) for task, length, _ in points]
        scores = score_many(call, batches, regression=self.data.regression)
        for (task, length, columns), scored in zip(points, scores, strict=True):
            chance = {"chance_loss": task.chance_loss(length), "chance_accuracy": task.chance_accuracy(length)}
            yield of_sequences(*scored, eval_length=length, **chance, **columns)

    def _points(self, settings: Settings) -> Iterator[tuple[Task, int, dict]]:
        """(task, length, more columns): the training task at several lengths, then with more and fewer items."""
        for length in settings.eval_lengths or [factor * self.cell.length for factor in settings.eval_factors]:
            if self.data.min_length <= length <= longest_input(self.cell):
                yield self.data, length, {}
        for items, task in self.data.with_items(self.cell.length):
            yield task, self.cell.length, {"n_items": items}

    def _held_out(self, task: Task, length: int, settings: Settings) -> Batch:
        sequences = max(settings.least_sequences, settings.eval_tokens // length)
        return task.batch(generator(self.cell.seed, "held_out"), sequences, length)
