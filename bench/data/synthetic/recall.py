"""Tasks of recall by content: induction heads, multi-query associative recall."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lengthscale.bench.data.synthetic.base import Batch, Task, distinct, guess, last, number, race, zeros
from lengthscale.models import Interface


@dataclass(frozen=True)
class Induction(Task):
    """Induction heads: predict the token that followed the special token at its first occurrence.

    Inputs: uniform tokens of {0..V-2}; the special token V - 1 at one random step and at the last one. Target, at the
    last step: the token after the first special token. Olsson et al. 2022, arXiv:2209.11895 (the mechanism); Mamba,
    arXiv:2312.00752, section 4.1.2, table 2 and appendix E.1: V = 16, trained at length 256, tested to 2^20.
    """

    name: ClassVar[str] = "induction"
    about: ClassVar[str] = "induction heads: the token that followed the special one (arXiv:2312.00752, table 2)"

    vocab: int = number(16, low=3)

    @property
    def interface(self) -> Interface:
        return Interface(vocab=self.vocab)

    @property
    def min_length(self) -> int:
        return 3

    def _draw(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        special = self.vocab - 1
        inputs = rng.integers(special, size=(batch, length), dtype=np.int32)
        rows, place = np.arange(batch), rng.integers(length - 2, size=batch)
        inputs[rows, place] = inputs[:, -1] = special
        targets = zeros(batch, length)
        targets[:, -1] = inputs[rows, place + 1]
        return Batch(inputs, targets, last(batch, length))

    def _chance(self, length: int) -> tuple[float, float]:
        return guess(self.vocab - 1)


@dataclass(frozen=True)
class MQAR(Task):
    """Multi-query associative recall: N pairs of a key and a value, then each key once, whose target is its value.

    Inputs: key, value, key, value ... (2 N steps; keys of {1..V/2-1}, values of {V/2..V-1}, all different), then
    blanks (0) and the keys. A key is 2 g steps after the end of the pairs, drawn with P(g) ~ (g + 1)^(power - 1)
    without replacement. Targets: at each query the value. Zoology, arXiv:2312.04927, figure 2, in the form of its
    authors' `multiquery_ar`: V = 8192, power = 0.01 (1: uniform), N = 4 at length 64, 8 at 128, 16 at 256, 64 at 512.

    Chance guesses among all values; a model that has learned to choose among the N values of its inputs reaches a loss
    of ln N and an accuracy of 1 / N.
    """

    name: ClassVar[str] = "mqar"
    about: ClassVar[str] = "multi-query associative recall: answer each key by its value (arXiv:2312.04927)"

    pairs: int = number(4, low=1)
    vocab: int = number(8192, low=4, high=2**16)
    power: float = number(0.01, low=0, high=1)

    @property
    def interface(self) -> Interface:
        return Interface(vocab=self.vocab)

    @property
    def min_length(self) -> int:
        return 4 * self.pairs

    def _conflicts(self) -> Iterator[str]:
        keys = self.vocab // 2 - 1
        if self.pairs > keys:
            yield f"mqar: pairs must be at most {keys}, the keys in a vocab of {self.vocab}, got {self.pairs}"

    def _draw(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        half, context = self.vocab // 2, 2 * self.pairs
        keys = 1 + distinct(rng, half - 1, self.pairs, batch)
        values = half + distinct(rng, self.vocab - half, self.pairs, batch)
        chance = np.arange(1, (length - context) // 2 + 1) ** (self.power - 1.0)
        queries = context + 2 * race(rng.standard_exponential((batch, len(chance))) / chance, self.pairs)
        inputs, targets, weights = zeros(batch, length), zeros(batch, length), np.zeros((batch, length), np.float32)
        inputs[:, 0:context:2], inputs[:, 1:context:2] = keys, values
        np.put_along_axis(inputs, queries, keys, axis=1)
        np.put_along_axis(targets, queries, values, axis=1)
        np.put_along_axis(weights, queries, 1, axis=1)
        return Batch(inputs, targets, weights)

    def _chance(self, length: int) -> tuple[float, float]:
        return guess(self.vocab - self.vocab // 2)
