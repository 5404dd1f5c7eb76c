"""An encoder-decoder on a stream of tokens: it encodes the first half of a window and decodes the second half.

So a cell's length counts the tokens of source and target together, and costs can be compared with those of the other
models. It is evaluated on the same held-out targets as they are, with the context before a block of them as its source.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lengthscale.bench.data import Stream
from lengthscale.bench.data.streams import random_windows, windows
from lengthscale.bench.data.targets import by_place, held_out_targets
from lengthscale.bench.device.evaluation import AT_ONCE, HeldOut, of_places, with_gains
from lengthscale.bench.device.workloads.base import Arrays, fill, interface_of
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.models.streaming import cross_entropy


class Workload:
    """The workload of an encoder-decoder on a stream; see base.Workload."""

    def __init__(self, cell: Cell, data: Stream):
        self.cell = cell
        self.data = data
        self.interface = interface_of(cell, data)
        self.source = cell.length - cell.length // 2  # the decoder's first input is the source's last token

    def example(self) -> Arrays:
        return (windows(self.data.tokens, self.cell.batch, self.cell.length + 1),)

    def training_batches(self) -> Iterator[Arrays]:
        rng = np.random.default_rng(self.cell.seed)
        while True:
            yield (random_windows(self.data.train, self.cell.batch, self.cell.length + 1, rng),)

    def loss(self, model, window):
        return _losses(model, window, self.source)[0].mean()

    def prompt(self) -> Arrays:
        return (windows(self.data.tokens, self.cell.batch, self.cell.length),)

    def prefill(self, model, window, room=0):
        source, target = window[:, : self.source], window[:, self.source :]
        return model.prefill_after(source, target, target.shape[1] + room)

    def full_state(self, model, key):
        target = self.cell.length - self.source
        empty = model.encode(np.zeros((self.cell.batch, self.source), np.int32), capacity=target)
        return fill(empty, target - 1, key)

    def last_scored(self, sequences: int):
        raise NotImplementedError("an encoder-decoder has no single sequence of inputs to follow gradients through")

    def evaluate(self, call, settings: Settings) -> Iterator[HeldOut]:
        rows = []
        targets = held_out_targets(self.data, settings.targets, max(settings.contexts))
        for context in settings.contexts:
            mine = targets.windows(context, settings.places_at(context))
            tokens, at_once = mine.tokens, max(1, AT_ONCE // mine.tokens.shape[1])
            starts = range(0, len(tokens), at_once)
            parts = [call(_score, tokens[start : start + at_once], tokens[0, :context]) for start in starts]
            loss, right = (np.concatenate(each).astype(np.float64) for each in zip(*parts, strict=True))
            loss, right = by_place(loss, mine), by_place(right, mine)
            rows.append(of_places(loss, right, context=context, n_targets=mine.n_targets))
        yield from with_gains(rows)


def _losses(model, window, source: int):
    """(losses, whether the arg max is right) of the tokens after the source, each (B, T)."""
    targets = window[:, source:]
    logits = model.teach(window[:, :source], window[:, source - 1 : -1])
    return cross_entropy(logits, targets), logits.argmax(-1) == targets


def _score(model, window, context):
    loss, right = _losses(model, window, context.shape[0])
    return loss.mean(1), right.mean(1)
