"""The difference of two sides of a comparison, each one run or several: a ratio of times, and how certain it is.

The unit is the replicate, and a run has a level of its own: when a run is repeated an hour later, all times of a cell
move together (docs/rerun.md has the measured size). So the ratio of two runs' times has the variance of the replicates
and that of the runs' levels; its p-value is by Student's t. Runs that are sampled in turn share a level, which cancels:
`paired_ratio` is for those.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lengthscale.bench.results import intervals
from lengthscale.bench.results.estimate import Estimate

# The p-value of a false alarm in a whole comparison, of all of its cells together. Half of what is promised (1 in 100):
# the errors of a few replicates are not quite normal.
ALPHA = 0.005
FEWEST = 3  # replicates of each side
LEVEL = 0.06  # standard deviation of the logarithm of a run's level, as reruns have measured it


@dataclass(frozen=True)
class Difference:
    """The difference of the logarithms of two sides' times, B - A, with its standard error."""

    value: float
    error: float
    freedom: float

    @property
    def p(self) -> float:
        """The two-sided p-value of "there is no difference"."""
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))

    def ratio(self) -> Estimate:
        """The ratio of the times with its 95% interval."""
        half = self.quantile(0.05) * self.error
        return Estimate(*(math.exp(self.value + off) for off in (0, -half, half)))

    def quantile(self, alpha: float) -> float:
        """How many standard errors a difference must have for a two-sided p-value of alpha."""
        return float(stats.t.ppf(1 - alpha / 2, self.freedom))


Times = Sequence[Sequence[float]]  # of one cell, for each run the median times of its replicates, positive numbers


def differences(pairs: Sequence[tuple[Times, Times]]) -> list[Difference | None]:
    """The difference of the two sides of each cell; None where a side has too few replicates.

    A cell's replicates are few, and by chance they may agree too well: their variance counts as that of the cell in the
    middle if it is smaller.
    """
    logs = [[[np.log(np.array(run, float)) for run in runs if len(run)] for runs in pair] for pair in pairs]
    enough = [sides for sides in logs if _freedom(sides)]
    least = float(np.median([_variance(sides) for sides in enough])) if enough else 0.0
    return [_difference(sides, least) if _freedom(sides) else None for sides in logs]


Logs = list[list[np.ndarray]]  # the logarithms of Times, of both sides


def _freedom(sides: Logs) -> int:
    """The degrees of freedom of the variance of replicates; 0 where a side has too few."""
    if min(sum(map(len, runs)) for runs in sides) < FEWEST:
        return 0
    return sum(len(run) - 1 for runs in sides for run in runs)


def _variance(sides: Logs) -> float:
    """The variance of a replicate within its run."""
    squares = sum(float(np.sum((run - run.mean()) ** 2)) for runs in sides for run in runs)
    return squares / _freedom(sides)


def _difference(sides: Logs, least: float) -> Difference:
    """least: the smallest variance of a replicate. The degrees of freedom are those of Welch (1947)."""
    replicates = sum(sum(1 / len(run) for run in runs) / len(runs) ** 2 for runs in sides)
    of_replicates = max(_variance(sides), least) * replicates
    variance = of_replicates + LEVEL**2 * sum(1 / len(runs) for runs in sides)
    means = [float(np.mean([run.mean() for run in runs])) for runs in sides]
    freedom = _freedom(sides) * (variance / of_replicates) ** 2 if of_replicates > 1e-9 else math.inf
    return Difference(means[1] - means[0], math.sqrt(variance), freedom)


def paired_ratio(a: Sequence[float], b: Sequence[float]) -> Estimate:
    """The ratio B / A of two programs that were measured in turn, replicate by replicate, so that levels cancel.

    a, b: the median times of their replicates, the i-th of both from the same moment.
    """
    logs = np.log(np.array(b, float)) - np.log(np.array(a, float))
    found = intervals.mean_of_few(logs)
    assert found is not None, "no replicates"
    ends = (None if end is None else math.exp(end) for end in (found.low, found.high))
    return Estimate(math.exp(found.value), *ends)
