"""What the pictures of several claims draw."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lengthscale.bench.figures.spec import DrawnCurve, Ends
from lengthscale.bench.results.estimate import Estimate


def points(model: str, name: str, found: Mapping[float, Estimate]) -> DrawnCurve:
    """Single points with their intervals, at the positions that are the keys, one or more."""
    values = tuple(each.value for each in found.values())
    low, high = zip(*(each.interval or (math.nan, math.nan) for each in found.values()), strict=True)
    return DrawnCurve(model, name, tuple(found), values, interval=Ends(low, high), joined=False)
