"""A sequence model on a stream of tokens: it predicts the next token.

It is evaluated on the same held-out targets with more or less of the context before them (bench/data/targets.py), so
that along a curve only the context changes. Where it would take too long to read all places at a long context, the
first ones are read, which are spread over the whole stream; so two contexts have the first places in common.

A control reads the longest context at which all places are read, with all tokens shuffled that are farther from the
targets than a given number of tokens. A gain that comes from the order of these tokens must vanish there; a gain that
comes from reading more of them need not.

The mean loss at the model's own length is a row without a context. It falls with length even if nothing is learned over
long distances, since fewer positions have a short context.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lengthscale.bench.data import Stream
from lengthscale.bench.data.streams import random_windows, windows
from lengthscale.bench.data.synthetic import Batch
from lengthscale.bench.data.targets import Windows, by_place, held_out_targets, window_length
from lengthscale.bench.device.evaluation import HeldOut, of_places, of_sequences, score, score_many, with_gains
from lengthscale.bench.device.workloads.base import Arrays, OneSequence, interface_of, longest_input
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.models import streaming


class Workload(OneSequence):
    """The workload of a sequence model on a stream; see base.Workload."""

    def __init__(self, cell: Cell, data: Stream):
        self.cell = cell
        self.data = data
        self.interface = interface_of(cell, data)

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
        """Held-out windows of the cell's length, of which every position is scored."""
        inputs, targets = _shifted(windows(self.data.held_out, sequences, self.cell.length + 1))
        return Batch(inputs, targets, np.ones(targets.shape, np.float32))

    def evaluate(self, call, settings: Settings) -> Iterator[HeldOut]:
        known, windows = zip(*self._points(settings), strict=True)
        batches = [scored_windows(each) for each in windows]
        rows = []
        for columns, each, scored in zip(known, windows, score_many(call, batches), strict=True):
            loss, right = (by_place(values, each) for values in scored if values is not None)
            rows.append(of_places(loss, right, n_targets=each.n_targets, **columns))
        yield from with_gains(rows)
        yield of_sequences(*score(call, self.last_scored(settings.windows)), eval_length=self.cell.length)

    def _points(self, settings: Settings) -> Iterator[tuple[dict, Windows]]:
        """(the columns that name a row, its windows)."""
        targets = held_out_targets(self.data, settings.targets, max(settings.contexts))
        longest = longest_input(self.cell)
        for context in settings.contexts:
            if window_length(context, targets.run) <= longest:
                yield {"context": context}, targets.windows(context, settings.places_at(context))
        for near in settings.shuffle_beyond or ():
            known = {"context": settings.shuffled_context, "control": f"shuffled beyond {near}"}
            yield known, shuffled(targets.windows(settings.shuffled_context), near)


def scored_windows(windows: Windows) -> Batch:
    """The windows as sequences of which the targets are scored."""
    inputs, targets = _shifted(windows.tokens)
    weights = np.zeros(targets.shape, np.float32)
    weights[:, windows.context - 1 :] = 1
    return Batch(inputs, targets, weights)


def shuffled(windows: Windows, near: int) -> Windows:
    """The control: these windows, with all but the last `near` tokens before the first target shuffled."""
    tokens = windows.tokens.copy()
    far = tokens[:, : windows.context - near]
    far[:] = np.random.default_rng(0).permuted(far, axis=1)  # each window in an order of its own
    return windows._replace(tokens=tokens)


def _shifted(tokens: np.ndarray) -> Arrays:
    return tokens[:, :-1], tokens[:, 1:]
