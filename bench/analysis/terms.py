"""A cost's terms: a + b L + c L^2, none of them negative.

What grows otherwise (L log L) is described, but badly predicted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls


@dataclass(frozen=True)
class Terms:
    """a + b L + c L^2."""

    a: float
    b: float
    c: float = 0.0

    def __call__(self, lengths):
        return self.a + self.b * lengths + self.c * lengths * lengths

    def shares(self, length: float) -> tuple[float, float, float]:
        whole = self(length)
        return self.a / whole, self.b * length / whole, self.c * length * length / whole


MISFIT = (
    0.1  # of a cost that no polynomial describes: caches, block sizes. Of 0.02, 0.05 and 0.1 this one predicted best
)
WORTH = 3.84  # chi squared of one degree of freedom, 95%


def fit_terms(lengths: np.ndarray, values: np.ndarray, errors: np.ndarray) -> Terms:
    """By least squares of the relative error, none negative (Lawson and Hanson 1974, chapter 23).

    errors: of the values' logarithms.
    c is 0 unless it explains more than noise would: a straight line that is a little off has no parabola in it, and an
    invented one would rule the prediction.
    """
    scale = values * np.hypot(errors, MISFIT)
    straight, curved = (_least_squares(lengths, values, scale, powers) for powers in ((0, 1), (0, 1, 2)))
    return curved[0] if straight[1] - curved[1] > WORTH else straight[0]


def _least_squares(lengths, values, scale, powers: tuple[int, ...]) -> tuple[Terms, float]:
    """(the terms, chi squared)."""
    columns = np.stack([lengths**power for power in powers], axis=1) / scale[:, None]
    largest = columns.max(axis=0)  # or nnls would see only the steepest column
    coefficients, miss = nnls(columns / largest, values / scale)
    return Terms(*map(float, coefficients / largest)), miss**2


def extrapolate(terms: Terms, length: float, value: float, at):
    """The polynomial at other lengths, scaled to pass through a point."""
    return terms(at) / terms(length) * value
