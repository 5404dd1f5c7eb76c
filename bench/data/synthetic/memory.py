"""Tasks of remembering a few inputs for many steps: copy memory, adding, selective copying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lengthscale.bench.data.synthetic.base import Batch, Task, choice, distinct, guess, last, number, zeros
from lengthscale.models import Interface


@dataclass(frozen=True)
class Copy(Task):
    """Copy memory: S symbols, T blanks, then the symbols again.

    Inputs: S symbols of {0..A-1}, T - 1 blanks (A), the delimiter (A + 1), S blanks. Targets: T + S blanks, then the S
    symbols. Length T + 2 S.
    Hochreiter & Schmidhuber 1997 (Neural Computation 9:8); in this form Arjovsky et al., arXiv:1511.06464, experiments,
    "Copying memory problem", and Bai et al., arXiv:1803.01271, "Copy memory" (whose delimiter stays until the end).

    The papers average the loss over all positions: chance is S ln A / (T + 2 S), the familiar 10 ln 8 / (T + 20), and
    accuracy is close to 1 for a model that always predicts a blank. `scored=recall` scores only the S symbols.
    """

    name: ClassVar[str] = "copy"
    about: ClassVar[str] = "copy memory: repeat 10 symbols after T blanks (arXiv:1511.06464)"
    heading: ClassVar[str] = "copying of {symbols} symbols"

    symbols: int = number(10, low=1)
    alphabet: int = number(8, low=2, high=2**24)
    scored: str = choice("every", "recall")

    @property
    def interface(self) -> Interface:
        return Interface(vocab=self.alphabet + 2)

    @property
    def min_length(self) -> int:
        return 2 * self.symbols + 1

    def _draw(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        blank, delimiter = self.alphabet, self.alphabet + 1
        symbols = rng.integers(self.alphabet, size=(batch, self.symbols), dtype=np.int32)
        inputs = np.full((batch, length), blank, np.int32)
        inputs[:, : self.symbols] = symbols
        inputs[:, length - self.symbols - 1] = delimiter
        if self.scored == "recall":
            targets, weights = zeros(batch, length), last(batch, length, self.symbols)
        else:
            targets, weights = np.full_like(inputs, blank), last(batch, length, length)
        targets[:, length - self.symbols :] = symbols
        return Batch(inputs, targets, weights)

    def _chance(self, length: int) -> tuple[float, float]:
        loss, accuracy = guess(self.alphabet)
        share = 1.0 if self.scored == "recall" else self.symbols / length
        return share * loss, 1 - share * (1 - accuracy)


@dataclass(frozen=True)
class Adding(Task):
    """The adding problem: the sum of two marked numbers is the target at the last step.

    Inputs: (u_t, m_t), u_t uniform on [0, 1), m_t = 1 at one step of the first half and one of the second, else 0.
    Hochreiter & Schmidhuber 1997; in this form Arjovsky et al., arXiv:1511.06464, experiments, "Adding problem". The
    constant prediction 1 has the variance of a sum of two uniform numbers, 1/6, as its squared error.
    """

    name: ClassVar[str] = "adding"
    about: ClassVar[str] = "adding problem: sum two marked numbers of T (arXiv:1511.06464)"
    heading: ClassVar[str] = "adding problem"
    regression: ClassVar[bool] = True

    @property
    def interface(self) -> Interface:
        return Interface(features=2, outputs=1)

    @property
    def min_length(self) -> int:
        return 2

    def _draw(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        inputs = np.zeros((batch, length, 2), np.float32)
        inputs[..., 0] = rng.random((batch, length), np.float32)
        rows, half = np.arange(batch), length // 2
        first, second = rng.integers(half, size=batch), rng.integers(half, length, size=batch)
        inputs[rows, first, 1] = inputs[rows, second, 1] = 1
        targets = np.zeros((batch, length), np.float32)
        targets[:, -1] = inputs[rows, first, 0] + inputs[rows, second, 0]
        return Batch(inputs, targets, last(batch, length))

    def _chance(self, length: int) -> tuple[float, None]:
        return 1 / 6, None


@dataclass(frozen=True)
class SelectiveCopy(Task):
    """Selective copying: S symbols at random places in noise, then S steps that repeat them in their order.

    Inputs: T - S steps of noise (0) with the symbols of {1..V-2} among them, S recall markers (V - 1). Targets: the
    symbols at the markers. Mamba, arXiv:2312.00752, section 4.1.1, table 1 and appendix E.1: T = 4096,
    S = 16, V = 16; the markers are those of `torch_copying_data` in its authors' repository, state-spaces/s4.
    """

    name: ClassVar[str] = "selective_copy"
    about: ClassVar[str] = "selective copying: repeat 16 symbols at random places in noise (arXiv:2312.00752, table 1)"
    heading: ClassVar[str] = "selective copying of {symbols} symbols"
    items: ClassVar[str] = "symbols"

    symbols: int = number(16, low=1)
    vocab: int = number(16, low=4)

    @property
    def interface(self) -> Interface:
        return Interface(vocab=self.vocab)

    @property
    def min_length(self) -> int:
        return 2 * self.symbols

    def _draw(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        symbols = rng.integers(1, self.vocab - 1, size=(batch, self.symbols), dtype=np.int32)
        places = np.sort(distinct(rng, length - self.symbols, self.symbols, batch))
        inputs, targets = zeros(batch, length), zeros(batch, length)
        np.put_along_axis(inputs, places, symbols, axis=1)
        inputs[:, length - self.symbols :] = self.vocab - 1
        targets[:, length - self.symbols :] = symbols
        return Batch(inputs, targets, last(batch, length, self.symbols))

    def _chance(self, length: int) -> tuple[float, float]:
        return guess(self.vocab - 2)
