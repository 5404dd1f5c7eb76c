"""The terms of a cost: a + b L + c L^2, none of them negative.

A cost of another form (such as L log L) is described by them, but badly predicted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls


@dataclass(frozen=True)
class Terms:
    """The polynomial a + b L + c L^2 of a length L."""

    a: float
    b: float
    c: float = 0.0

    def __call__(self, lengths):
        return self.a + self.b * lengths + self.c * lengths * lengths

    def shares(self, length: float) -> tuple[float, float, float]:
        """The share of each term in the cost at a length."""
        whole = self(length)
        return self.a / whole, self.b * length / whole, self.c * length * length / whole


# The relative error that the polynomial makes by itself, through caches and block sizes. Of 0.02, 0.05 and 0.1 this
# value predicted best.
MISFIT = 0.1
ROUNDING = 1e-12  # a share or a relative error below it is float64's rounding, which differs between CPUs: it is 0
WORTH = 3.84  # 95% quantile of chi squared with one degree of freedom


def fit_terms(lengths: np.ndarray, values: np.ndarray, errors: np.ndarray) -> Terms:
    """The terms by least squares of the relative error, none negative (Lawson and Hanson 1974, chapter 23).

    lengths, values, errors: one number for each point; errors are standard errors of log(value). c is 0 unless it
    explains more than noise would: a wrong quadratic term would dominate the prediction.
    """
    scale = values * np.hypot(errors, MISFIT)
    straight, curved = (_least_squares(lengths, values, scale, powers) for powers in ((0, 1), (0, 1, 2)))
    return curved[0] if straight[1] - curved[1] > WORTH else straight[0]


def _least_squares(lengths, values, scale, powers: tuple[int, ...]) -> tuple[Terms, float]:
    """(the terms, chi squared)."""
    columns = np.stack([lengths**power for power in powers], axis=1) / scale[:, None]
    largest = columns.max(axis=0)  # columns of one size, or nnls would ignore all but the steepest one
    coefficients, miss = nnls(columns / largest, values / scale)
    coefficients[coefficients < ROUNDING * coefficients.max()] = 0
    return Terms(*map(float, coefficients / largest)), miss**2


def extrapolate(terms: Terms, length: float, value: float, at):
    """The polynomial at the lengths `at`, scaled so that it passes through the point (length, value)."""
    return terms(at) / terms(length) * value
