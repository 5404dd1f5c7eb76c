"""The largest size whose program fits into a memory limit, found with few plans.

A plan costs seconds, and planned memory is nearly a + b x + c x^2 in a length or a batch x. So the search plans two
small sizes, predicts by the polynomial through the points that it has, plans at the prediction, and goes on until a
size fits and the next one does not. Wrong predictions cost plans and never change the answer: every bound is a plan.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

STARTS = (2, 8)  # steps of the ladder that are planned first; the first step may be a special case of a program
REACH = 64  # a plan predicts the memory of sizes up to so many times its own
FINEST = 256  # the answer may be a 256th too small, so that hundreds of thousands of steps need few plans
MODEST = 4  # memory that grows by up to so many times the inputs' bytes belongs to the inputs: they, and their copies


class How(StrEnum):
    """How the largest size is known."""

    CONFIRMED = "confirmed"  # a program of this size has run
    PLANNED = "planned"  # by the compiler; no program has run
    UNLIMITED = "not limited by memory"  # longer programs take no more memory, but for their inputs
    OVER_CAP = "over the cap"  # the longest size of the search fits
    TOO_SMALL = "does not fit"  # nor does the smallest size
    DEADLINE = "deadline"  # the time was over before it was found


@dataclass(frozen=True)
class Ladder:
    """The sizes among which the largest is searched: size(1) < size(2) < ... < size(last)."""

    size: Callable[[int], int]
    last: int


@dataclass(frozen=True)
class Plan:
    """What a program of one size takes, as the compiler plans it."""

    planned_bytes: float  # infinity where the compiler itself said that it does not fit
    input_bytes: int = 0  # of it, the program's inputs


@dataclass(frozen=True)
class Largest:
    """The answer of a search. A blank (None) is a size that was not found, or that does not exist."""

    how: How
    size: int | None = None  # fits
    too_large: int | None = None  # the smallest size that was found not to fit
    planned_bytes: float | None = None  # at `size`; where that is blank, at the largest size that was planned


@dataclass
class _Search:
    plan: Callable[[int], Plan]  # of a size
    limit: int
    ladder: Ladder
    plans: dict[int, Plan] = field(default_factory=dict)  # by the ladder's step

    def fits(self, step: int) -> bool:
        if step not in self.plans:
            self.plans[step] = self.plan(self.ladder.size(step))
        return self.plans[step].planned_bytes <= self.limit

    @property
    def low(self) -> int:
        """The largest step that fits; 0 where none does so far."""
        return max((step for step in self.plans if self.fits(step)), default=0)

    @property
    def high(self) -> int:
        """The smallest larger step that does not fit; the one after the last where all fit so far."""
        low = self.low
        return min((step for step in self.plans if step > low and not self.fits(step)), default=self.ladder.last + 1)

    def predicted(self) -> int:
        """The largest step from `low` to the one before `high` that fits by the polynomial."""
        low, high = self.low, self.high
        curve = _polynomial([(self.ladder.size(step), self.plans[step].planned_bytes) for step in self._nearest(high)])
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if curve(self.ladder.size(middle)) <= self.limit else (low, middle)
        return low

    def _nearest(self, high: int) -> list[int]:
        """Up to three known steps for a polynomial up to `high`: within bounds the nearest ones, beyond them spread."""
        known = sorted(step for step in self.plans if math.isfinite(self.plans[step].planned_bytes))
        if high in self.plans:
            return sorted(sorted(known, key=lambda step: (step > high, abs(step - high)))[:3])
        spread = known[-1:]
        for step in reversed(known):  # the slope between neighbours would be noise
            if len(spread) < 3 and 2 * self.ladder.size(step) <= self.ladder.size(spread[0]):
                spread.insert(0, step)
        return spread

    def reached(self, step: int) -> int:
        """The largest step that the largest plan may predict, up to this one."""
        most = REACH * self.ladder.size(max(self.plans))
        while self.ladder.size(step) > most:
            step = max(self.low + 1, step // 2)
        return step

    def predicting_last(self) -> int:
        """The smallest step whose plan may predict the memory of the ladder's last one."""
        size = self.ladder.size
        return next(step for step in itertools.count(1) if REACH * size(step) >= size(self.ladder.last))

    def is_unlimited(self) -> bool:
        """Whether the largest size that was planned differs by its inputs alone from one of half that or less."""
        last = max(self.plans)
        smaller = [step for step in self.plans if 2 * self.ladder.size(step) <= self.ladder.size(last)]
        if not smaller:
            return False
        before, after = self.plans[max(smaller)], self.plans[last]
        growth = after.planned_bytes - before.planned_bytes
        return growth <= MODEST * (after.input_bytes - before.input_bytes)


def find_largest(plan: Callable[[int], Plan], limit: int, ladder: Ladder) -> Largest:
    """The largest size of the ladder that fits into `limit` bytes.

    plan: the plan of a size; each size is asked for once. Raises what `plan` raises.
    """
    search = _Search(plan, limit, ladder)
    for step in STARTS:
        if not search.fits(min(step, ladder.last)):
            break
    bracketed, push = 0, 1  # plans since a size was found that does not fit; steps beyond a prediction that fits
    while True:
        low, high = search.low, search.high
        if high > ladder.last:  # all fit so far
            if search.is_unlimited():
                return Largest(How.UNLIMITED, planned_bytes=search.plans[low].planned_bytes)
            wanted = search.predicted()
            if wanted == ladder.last:
                wanted = search.predicting_last()
                if low >= wanted:
                    last = ladder.last
                    planned = search.plans[last].planned_bytes if last in search.plans else None
                    return Largest(How.OVER_CAP, ladder.size(last), planned_bytes=planned)
            if wanted == low:
                wanted, push = min(low + push, ladder.last), 8 * push
            search.fits(search.reached(wanted))
            continue
        if high - low <= max(1, low // FINEST):
            break
        bracketed += 1
        middle = (low + high) // 2
        # Where three predictions have not helped, every other plan halves what is left.
        blind = math.isinf(search.plans[high].planned_bytes)  # the polynomial does not know this end
        wanted = middle if blind or (bracketed > 3 and bracketed % 2 == 0) else search.predicted()
        search.fits(min(max(wanted, low + 1), high - 1))
    if low == 0:
        return Largest(How.TOO_SMALL, too_large=ladder.size(high))
    return Largest(How.PLANNED, ladder.size(low), ladder.size(high), search.plans[low].planned_bytes)


def _polynomial(points: list[tuple[int, float]]) -> Callable[[int], float]:
    """The polynomial through one, two or three points (x, y), by Newton's divided differences; x ascending.

    Where three points bend down, which would end in a maximum, it is the line through the last two.
    """
    if not points:
        return lambda x: math.inf
    slopes = [(d - b) / (c - a) for (a, b), (c, d) in itertools.pairwise(points)]
    if len(points) == 3 and slopes[1] < slopes[0]:
        points, slopes = points[1:], slopes[1:]
    bend = (slopes[1] - slopes[0]) / (points[2][0] - points[0][0]) if len(points) == 3 else 0.0
    (x0, y0), x1 = points[0], points[min(1, len(points) - 1)][0]
    slope = slopes[0] if slopes else 0.0
    return lambda x: y0 + (x - x0) * (slope + bend * (x - x1))
