"""A sequence model on a stream of tokens: it predicts the next token.

It is evaluated on the same held-out target tokens with more or less of the context before them, so that along a curve
only the context changes. Where it would take too long to read all windows at a long context, the first ones are read.
The windows' order is such that the first ones, however many, are spread over the whole stream; so two contexts have the
first windows in common.

A control reads the longest context at which all windows are read, with all tokens shuffled that are farther from the
targets than a given number of tokens. A gain that comes from the order of these tokens must vanish there; a gain that
comes from reading more of them need not.

The mean loss at the model's own length is a row without a context. It falls with length even if nothing is learned over
long distances, since fewer positions have a short context.
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
    """The workload of a sequence model on a stream; see base.Workload."""

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
        """Held-out windows of the cell's length, of which every position is scored."""
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
    """Windows with the targets after this many tokens of context. Only the targets are scored.

    tokens: of the stream. The targets are the same for every context, and spread over the stream.
    """
    return _scored(_context_windows(tokens, context, settings), settings.target_tokens)


def shuffled_batch(tokens: np.ndarray, near: int, settings: Settings) -> Batch:
    """The control: `context_batch` at settings.shuffled_context, with all but the last `near` tokens shuffled."""
    context = settings.shuffled_context
    whole = _context_windows(tokens, context, settings)
    far = whole[:, : context - near]
    far[:] = np.random.default_rng(0).permuted(far, axis=1)  # each window in an order of its own
    return _scored(whole, settings.target_tokens)


def _context_windows(tokens: np.ndarray, context: int, settings: Settings) -> np.ndarray:
    """The windows that are read at this context, (n, context + targets), in their order."""
    count, longest = settings.windows_at(context), max(settings.contexts)
    starts = spread_starts(tokens, settings.windows, longest + settings.target_tokens) + longest - context
    chosen = starts[_spread(settings.windows)[:count]]
    return np.stack([tokens[start : start + context + settings.target_tokens] for start in chosen]).astype(np.int32)


def _spread(count: int) -> np.ndarray:
    """0 ... count - 1 in an order whose first numbers, however many, are spread evenly (steps of the golden ratio)."""
    return np.argsort((np.arange(count) * 0.6180339887498949 + 0.5) % 1).argsort()


def _scored(whole: np.ndarray, last: int) -> Batch:
    inputs, targets = _shifted(whole)
    weights = np.zeros(targets.shape, np.float32)
    weights[:, -last:] = 1
    return Batch(inputs, targets, weights)


def _shifted(tokens: np.ndarray) -> Arrays:
    return tokens[:, :-1], tokens[:, 1:]
