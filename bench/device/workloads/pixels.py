"""A sequence model on images: one pixel in each step, row by row, and the class after the last pixel (N to 1).

A cell's length is the number of pixels; images are resized to a square with this number.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lengthscale.bench.data import Images
from lengthscale.bench.data.images import at_side
from lengthscale.bench.data.synthetic import Batch
from lengthscale.bench.device.evaluation import HeldOut, of_sequences, score
from lengthscale.bench.device.workloads.base import OfImages, OneSequence, side_of
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.models import Interface, streaming


class Workload(OfImages, OneSequence):
    """The workload of a sequence model on images; see base.Workload."""

    def __init__(self, cell: Cell, data: Images):
        self.cell = cell
        self.data = data
        self.side = side_of(cell.length)
        self.interface = Interface(features=data.train.shape[-1], outputs=len(data.classes))

    def arrays(self, images, labels):
        batch = self.sequences(images, labels)
        return batch.inputs, batch.targets, batch.weights

    def sequences(self, images: np.ndarray, labels: np.ndarray) -> Batch:
        """Images (N, Y, X, C) as sequences of pixels from 0 to 1, (N, T, C); only the last step is scored."""
        pixels = at_side(images, self.side).reshape(len(images), self.side**2, -1).astype(np.float32) / 255
        targets = np.zeros(pixels.shape[:2], np.int32)
        weights = np.zeros(pixels.shape[:2], np.float32)
        targets[:, -1], weights[:, -1] = labels, 1
        return Batch(pixels, targets, weights)

    def loss(self, model, inputs, targets, weights):
        return streaming.loss(model, inputs, targets, weights, chunk=self.cell.chunk)

    def last_scored(self, sequences: int) -> Batch:
        return self.sequences(self.data.held_out[:sequences], self.data.held_out_labels[:sequences])

    def evaluate(self, call, settings: Settings) -> Iterator[HeldOut]:
        chosen = slice(0, max(settings.least_sequences, settings.eval_tokens // self.cell.length))
        batch = self.sequences(self.data.held_out[chosen], self.data.held_out_labels[chosen])
        yield of_sequences(*score(call, batch), eval_length=self.cell.length)
