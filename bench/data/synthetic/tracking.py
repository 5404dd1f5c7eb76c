"""Tasks of tracking a state: word problems of a group, in which every input changes the target.

The running products of independent uniform elements are independent and uniform, too. So where the inputs are all
elements, the products are drawn, and the inputs follow from them, x_t = s_(t-1)^-1 s_t: this gives the same
distribution without a loop over time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import ClassVar

import numpy as np
from jaxtyping import Int

from lengthscale.bench.data.synthetic.base import Batch, Task, choice, guess, last, zeros
from lengthscale.models import Interface


@dataclass(frozen=True)
class Tracking(Task):
    """The base of both word problems. scored: every step, or only the last one."""

    scored: str = choice("every", "last")

    @property
    def min_length(self) -> int:
        return 1

    def _label(self, inputs: Int[np.ndarray, "B T"], products: Int[np.ndarray, "B T"]) -> Batch:
        batch, length = inputs.shape
        if self.scored == "every":
            return Batch(inputs, products, last(batch, length, length))
        targets = zeros(batch, length)
        targets[:, -1] = products[:, -1]
        return Batch(inputs, targets, last(batch, length))


@dataclass(frozen=True)
class Parity(Tracking):
    """Running parity: y_t = x_1 + ... + x_t mod 2, of uniform bits; the word problem of Z_2.

    It has the smallest state to track. Deletang et al., arXiv:2207.02098, use it as a test of longer lengths ("parity
    check"). A linear recurrence of finite precision whose transitions have only positive eigenvalues, such as Mamba's,
    cannot solve it: Grazzi et al., arXiv:2411.12537, theorem 1.
    """

    name: ClassVar[str] = "parity"
    about: ClassVar[str] = "parity of all bits so far (arXiv:2207.02098)"
    heading: ClassVar[str] = "parity"

    @property
    def interface(self) -> Interface:
        return Interface(vocab=2)

    def _draw(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        products = rng.integers(2, size=(batch, length), dtype=np.int32)
        inputs = products.copy()
        inputs[:, 1:] ^= products[:, :-1]
        return self._label(inputs, products)

    def _chance(self, length: int) -> tuple[float, float]:
        return guess(2)


@dataclass(frozen=True)
class Permutations(Tracking):
    """The word problem of a group of permutations of five elements: y_t = x_1 x_2 ... x_t.

    inputs: all elements, or two that generate the group. A word of all elements is learned from a table of their
    products, of which two generators need 1 / 30 or less: small models learn it in minutes. Grazzi et al.,
    arXiv:2411.12537, restrict the inputs of S5 for the same reason.
    """

    inputs: str = choice("all", "generators")
    even: ClassVar[bool] = False  # the even ones alone
    generators: ClassVar[tuple[tuple[int, ...], tuple[int, ...]]]

    @property
    def interface(self) -> Interface:
        return Interface(vocab=len(elements(self.even)))

    @property
    def title(self) -> str:
        return self.heading if self.inputs == "all" else f"{self.heading} in two generators"

    def _draw(self, rng: np.random.Generator, batch: int, length: int) -> Batch:
        if self.inputs == "generators":
            inputs = self._tokens()[rng.integers(2, size=(batch, length))]
            return self._label(inputs, running_products(self.even, inputs))
        products = rng.integers(len(elements(self.even)), size=(batch, length), dtype=np.int32)
        inputs = products.copy()
        inputs[:, 1:] = _quotients(self.even)[products[:, :-1], products[:, 1:]]
        return self._label(inputs, products)

    def _chance(self, length: int) -> tuple[float, float]:
        """From the distribution of the product at each step: products of few generators are not uniform yet."""
        count = len(elements(self.even))
        if self.inputs == "all":
            return guess(count)
        moves = np.zeros((count, count))
        for token in self._tokens():
            moves[np.arange(count), table(self.even)[:, token]] += 0.5
        at = np.eye(count)[0]  # the identity
        losses, accuracies = np.zeros(length), np.zeros(length)
        for step in range(length):
            at = at @ moves
            losses[step] = -np.sum(at[at > 0] * np.log(at[at > 0]))
            accuracies[step] = at.max()
        scored = slice(None) if self.scored == "every" else slice(-1, None)
        return float(losses[scored].mean()), float(accuracies[scored].mean())

    def _tokens(self) -> Int[np.ndarray, " 2"]:
        """The tokens of the generators."""
        return np.array([elements(self.even).tolist().index(list(each)) for each in self.generators], np.int32)


@dataclass(frozen=True)
class A5(Permutations):
    """The word problem of A5, of uniform even permutations.

    A5 is the smallest group that is not solvable, which makes its word problem complete for NC1: unless TC0 = NC1, no
    fixed number of layers of a Transformer, S4 or Mamba solves it at all lengths, but one layer of a plain RNN does.
    Merrill et al., arXiv:2404.08819 (with A5 as the hardest of the word problems tried); Liu et al., arXiv:2210.10749.
    """

    name: ClassVar[str] = "a5"
    about: ClassVar[str] = "word problem of A5: the product of all permutations so far (arXiv:2404.08819)"
    heading: ClassVar[str] = "word problem of A5"
    even: ClassVar[bool] = True
    generators: ClassVar[tuple[tuple[int, ...], tuple[int, ...]]] = ((1, 2, 0, 3, 4), (0, 1, 3, 4, 2))


@dataclass(frozen=True)
class S5(Permutations):
    """The word problem of S5, of all 120 permutations: Merrill et al., arXiv:2404.08819; hard for the reason A5 is."""

    name: ClassVar[str] = "s5"
    about: ClassVar[str] = "word problem of S5: the product of all permutations so far (arXiv:2404.08819)"
    heading: ClassVar[str] = "word problem of S5"
    generators: ClassVar[tuple[tuple[int, ...], tuple[int, ...]]] = ((1, 0, 2, 3, 4), (1, 2, 3, 4, 0))


@cache
def elements(even: bool) -> Int[np.ndarray, "N 5"]:
    """The permutations p of 0..4, or the even ones, as rows p[0] ... p[4], lexicographic; token 0 is the identity."""
    return np.array([p for p in permutations(range(5)) if not even or _inversions(p) % 2 == 0], np.int32)


@cache
def table(even: bool) -> Int[np.ndarray, "N N"]:
    """Cayley's table: entry [a, b] is the token of the product a b, which applies a first: (a b)(i) = b(a(i))."""
    each = elements(even)
    products = each[np.arange(len(each))[None, :, None], each[:, None, :]]
    digits = 5 ** np.arange(5)[::-1]  # as numbers to the base 5, permutations keep their lexicographic order
    return np.searchsorted(each @ digits, products @ digits).astype(np.int32)


def running_products(even: bool, inputs: Int[np.ndarray, "B T"]) -> Int[np.ndarray, "B T"]:
    """The products x_1 ... x_t at every step, in log2(T) passes over all steps (Hillis, Steele, 1986)."""
    products, distance = inputs.copy(), 1
    while distance < inputs.shape[1]:
        products[:, distance:] = table(even)[products[:, :-distance], products[:, distance:]]
        distance *= 2
    return products


@cache
def _quotients(even: bool) -> Int[np.ndarray, "N N"]:
    """The table of quotients: entry [a, c] is the token b with a b = c."""
    return np.argsort(table(even), axis=1).astype(np.int32)


def _inversions(p: tuple[int, ...]) -> int:
    return sum(p[i] > p[j] for j in range(len(p)) for i in range(j))
