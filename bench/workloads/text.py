"""A sequence model on a stream of tokens: it predicts the next one.

Evaluated on the same held-out target tokens, given more or less of what came before them: what changes along a curve is
the context alone. The mean loss at the model's own length, which falls with length with no long-range learning at all,
since fewer positions start cold, is a row of its own with no context.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.cell import Cell
from bench.evaluation import figures, score
from bench.suites import Settings
from bench.tasks import Stream
from bench.tasks.streams import random_windows, windows
from bench.tasks.synthetic import Batch
from bench.workloads.base import Arrays, OneSequence
from models import Interface, streaming


class Workload(OneSequence):
    def __init__(self, cell: Cell, data: Stream):
        self.cell = cell
        self.data = data
        self.interface = Interface(vocab=data.vocab)

    def example(self) -> Arrays:
        return _shifted(windows(self.data.tokens, self.cell.batch, self.cell.length + 1))

    def training_batches(self) -> Iterator[Arrays]:
        rng = np.random.default_rng(self.cell.seed)
        while True:
            yield _shifted(random_windows(self.data.train, self.cell.batch, self.cell.length + 1, rng))

    def loss(self, model, inputs, targets):
        return streaming.loss(model, inputs, targets, chunk=self.cell.chunk)

    def prompt(self) -> Arrays:
        return (windows(self.data.tokens, self.cell.batch, self.cell.length),)

    def last_scored(self, sequences: int) -> Batch:
        """Held-out windows of the cell's length, every position scored."""
        inputs, targets = _shifted(windows(self.data.held_out, sequences, self.cell.length + 1))
        return Batch(inputs, targets, np.ones(targets.shape, np.float32))

    def evaluate(self, call, settings: Settings) -> Iterator[dict]:
        for context in settings.contexts:
            yield {"context": context} | figures(*score(call, context_batch(self.data.held_out, context, settings)))
        yield {"eval_length": self.cell.length} | figures(*score(call, self.last_scored(settings.windows)))


def context_batch(tokens: np.ndarray, context: int, settings: Settings) -> Batch:
    """The same targets for every context, spread evenly over the stream; nothing else is scored."""
    longest = max(settings.contexts)
    whole = windows(tokens, settings.windows, longest + settings.target_tokens)
    inputs, targets = _shifted(whole[:, longest - context :])
    weights = np.zeros(targets.shape, np.float32)
    weights[:, -settings.target_tokens :] = 1
    return Batch(inputs, targets, weights)


def _shifted(tokens: np.ndarray) -> Arrays:
    return tokens[:, :-1], tokens[:, 1:]
