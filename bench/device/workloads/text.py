"""A sequence model on a stream of tokens: it predicts the next one.

Evaluated on the same held-out target tokens, given more or less of what came before them: what changes along a curve is
the context alone. Where reading all windows at a long context would be too much, the first ones are read; windows are
in an order in which any first ones lie all over the stream, so that two contexts have these in common.

A control is the longest context that all windows are read at, with all tokens shuffled that are farther from the
targets than so many: what is gained there by order, and not by having read more, must vanish.

The mean loss at the model's own length, which falls with length with no long-range learning at all, since fewer
positions start cold, is a row of its own with no context.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lengthscale.bench.data import Stream
from lengthscale.bench.data.streams import random_windows, spread_starts, windows
from lengthscale.bench.data.synthetic import Batch
from lengthscale.bench.device.evaluation import HeldOut, of_windows, score
from lengthscale.bench.device.workloads.base import Arrays, OneSequence
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.models import Interface, streaming


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

    def evaluate(self, call, settings: Settings) -> Iterator[HeldOut]:
        held_out = self.data.held_out
        for context in settings.contexts:
            batch = context_batch(held_out, context, settings)
            yield of_windows(*score(call, batch), context=context)
        for near in settings.shuffle_beyond or ():
            batch = shuffled_batch(held_out, near, settings)
            known = {"context": settings.shuffled_context, "control": f"shuffled beyond {near}"}
            yield of_windows(*score(call, batch), **known)
        yield of_windows(*score(call, self.last_scored(settings.windows)), eval_length=self.cell.length)


def context_batch(tokens: np.ndarray, context: int, settings: Settings) -> Batch:
    """The same targets for every context, spread over the stream; nothing else is scored."""
    return _scored(_context_windows(tokens, context, settings), settings.target_tokens)


def shuffled_batch(tokens: np.ndarray, near: int, settings: Settings) -> Batch:
    """As context_batch at settings.shuffled_context, all but the last `near` tokens before the targets shuffled."""
    context = settings.shuffled_context
    whole = _context_windows(tokens, context, settings)
    far = whole[:, : context - near]
    far[:] = np.random.default_rng(0).permuted(far, axis=1)  # each window in an order of its own
    return _scored(whole, settings.target_tokens)


def _context_windows(tokens: np.ndarray, context: int, settings: Settings) -> np.ndarray:
    """(n, context + targets): as many of the windows as may be read at this context, in their order."""
    count, longest = settings.windows_at(context), max(settings.contexts)
    starts = spread_starts(tokens, settings.windows, longest + settings.target_tokens) + longest - context
    chosen = starts[_spread(settings.windows)[:count]]
    return np.stack([tokens[start : start + context + settings.target_tokens] for start in chosen]).astype(np.int32)


def _spread(count: int) -> np.ndarray:
    """0 ... count - 1 in an order of which any first ones are spread over the whole: by steps of the golden ratio."""
    return np.argsort((np.arange(count) * 0.6180339887498949 + 0.5) % 1).argsort()


def _scored(whole: np.ndarray, last: int) -> Batch:
    inputs, targets = _shifted(whole)
    weights = np.zeros(targets.shape, np.float32)
    weights[:, -last:] = 1
    return Batch(inputs, targets, weights)


def _shifted(tokens: np.ndarray) -> Arrays:
    return tokens[:, :-1], tokens[:, 1:]
