"""Tasks of recall by content: induction heads, multi-query associative recall, passkey retrieval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lengthscale.bench.data.streams import text
from lengthscale.bench.data.synthetic.base import Batch, Task, distinct, guess, last, number, race, zeros
from lengthscale.models import Interface

PROMPT = b"The pass key is "


@dataclass(frozen=True)
class Induction(Task):
    """Induction heads: predict the token that followed the special token at its first occurrence.

    Inputs: uniform tokens of {0..V-2}; the special token V - 1 at one random step and at the last one. Target, at the
    last step: the token after the first special token. Olsson et al. 2022, arXiv:2209.11895 (the mechanism); Mamba,
    arXiv:2312.00752, section 4.1.2, table 2 and appendix E.1: V = 16, trained at length 256, tested to 2^20.
    """

    name: ClassVar[str] = "induction"
    about: ClassVar[str] = "induction heads: the token that followed the special one (arXiv:2312.00752, table 2)"
    heading: ClassVar[str] = "induction heads"

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
    heading: ClassVar[str] = "recall of {pairs} pairs"
    items: ClassVar[str] = "pairs"

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


@dataclass(frozen=True)
class Passkey(Task):
    """Passkey retrieval from real text: a number is hidden in Shakespeare's plays and asked for at the end.

    Inputs: bytes of a random passage, with "The pass key is 12345. " at a random place in it, and at the end "The pass
    key is 1234". Targets: the digits. Mohtashami and Jaggi, arXiv:2305.16300, section 4.3, whose text is one sentence
    that is repeated; here every passage is another one. The passages are of the training part, also where the task is
    evaluated: what is scored is random.
    """

    name: ClassVar[str] = "passkey"
    about: ClassVar[str] = "passkey retrieval: a number hidden in real text (arXiv:2305.16300)"
    heading: ClassVar[str] = "passkey of {digits} digits"
    items: ClassVar[str] = "digits"

    digits: int = number(5, low=1, high=64)

    @property
    def interface(self) -> Interface:
        return Interface(vocab=256)

    @property
    def min_length(self) -> int:
        return 2 * (len(PROMPT) + self.digits) + 2

    def _draw(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        prompt = np.frombuffer(PROMPT, np.uint8)
        keys = rng.integers(ord("0"), ord("9") + 1, (batch, self.digits), np.uint8)
        filler = length - self.min_length + 1
        plays = text().train
        inputs = np.empty((batch, length + 1), np.int32)
        for row, key in enumerate(keys):
            start, at = rng.integers(len(plays)), rng.integers(filler + 1)
            passage = np.take(plays, np.arange(start, start + filler), mode="wrap")
            hidden = np.concatenate([prompt, key, np.frombuffer(b". ", np.uint8)])
            inputs[row] = np.concatenate([passage[:at], hidden, passage[at:], prompt, key])
        targets = zeros(batch, length)
        targets[:, -self.digits :] = keys
        return Batch(inputs[:, :-1], targets, last(batch, length, self.digits))

    def _chance(self, length: int) -> tuple[float, float]:
        return guess(10)
