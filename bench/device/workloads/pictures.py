"""An image classifier on images.

A cell's length is the number of 4 x 4 patches, so the side is 4 sqrt(L) pixels; a checkpoint has a side of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lengthscale.bench.data import Images
from lengthscale.bench.data.images import at_side
from lengthscale.bench.device.evaluation import HeldOut, of_sequences
from lengthscale.bench.device.workloads.base import OfImages, side_of
from lengthscale.bench.plan import checkpoint
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.models import Interface
from lengthscale.models.streaming import cross_entropy

PATCH = 4
AT_ONCE = 65_536  # patches of all images of one batch in evaluation


class Workload(OfImages):
    """The workload of an image classifier on images; see base.Workload."""

    def __init__(self, cell: Cell, data: Images):
        self.cell = cell
        self.data = data
        opened = checkpoint.of_cell(cell)
        self.side = opened.interface.side if opened else PATCH * side_of(cell.length)
        self.interface = Interface(features=data.train.shape[-1], outputs=len(data.classes), side=self.side)

    def arrays(self, images, labels):
        return self.scaled(images), labels

    def scaled(self, images: np.ndarray) -> np.ndarray:
        """Images (N, Y, X, C) uint8 as float32 from -1 to 1, at the cell's side, as ViT's own preprocessing does."""
        return at_side(images, self.side).astype(np.float32) / 127.5 - 1

    def loss(self, model, images, labels):
        return cross_entropy(model(images, train=True), labels).mean()

    def prefill(self, model, images, room=0):
        if room:
            raise self._does_not_decode()
        return model(images), None

    def full_state(self, model, key):
        raise self._does_not_decode()

    def _does_not_decode(self) -> NotImplementedError:
        return NotImplementedError(f"{self.cell.model} does not decode: it classifies a whole image")

    def last_scored(self, sequences: int):
        raise NotImplementedError("images have no last step to follow gradients from")

    def evaluate(self, call, settings: Settings) -> Iterator[HeldOut]:
        rows = max(1, AT_ONCE // self.cell.length)
        labels = self.data.held_out_labels
        parts = [
            call(_score, self.scaled(self.data.held_out[start : start + rows]), labels[start : start + rows])
            for start in range(0, len(labels), rows)
        ]
        loss, right = (np.concatenate(each).astype(np.float64) for each in zip(*parts, strict=True))
        yield of_sequences(loss, right, eval_length=self.cell.length)


def _score(model, images, labels):
    logits = model(images)
    return cross_entropy(logits, labels), logits.argmax(-1) == labels
