"""How a cost grows with length: its exponent, its terms, and the cost at a length that was not run.

slope      the exponent: least squares of log(figure) on log(length) over the last TAIL points, with a 95% interval
terms      a + b L + c L^2 and each one's share at the longest length (bench/analysis/terms.py)
predicted  that polynomial at twice the longest length; left_out_error: how far it misses the longest from the others
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lengthscale.bench.analysis import crossover
from lengthscale.bench.analysis.curves import FEWEST, NOT_ENOUGH, Curve, Point, curves_of, draws, time_point
from lengthscale.bench.analysis.terms import fit_terms, foretell
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.journal import read_journal, replace_file

TAIL = 3  # points
IDENTITY = ("measure", "quantity", "model", "size", "method", "batch", "dtype", "data", "seed")
FITS = (
    *IDENTITY,
    *("n_points", "length_min", "length_max", "figure"),  # the figure at length_max
    *("tail_from", "slope", "slope_low", "slope_high"),
    *("a", "b", "c", "share_a", "share_b", "share_c"),
    *("left_out_error", "predicted_length", "predicted", "status", "note"),
)


def fit_records(records: Iterable[dict]) -> tuple[list[dict], list[dict]]:
    """The rows of fits.csv and of crossovers.csv."""
    curves = curves_of(records)
    return [fit_curve(curve) for curve in curves], crossover.crossovers(curves)


def fit_folder(folder: Path) -> tuple[list[dict], list[dict]]:
    """As `fit_records`, of a results folder, which gets both files. Raises JournalError where it has no journal."""
    path = folder / "journal.jsonl"
    if not path.exists():
        raise JournalError(f"{folder} holds no journal.jsonl")
    fits, crossings = fit_records(read_journal(path))
    for name, columns, rows in (("fits", FITS, fits), ("crossovers", crossover.COLUMNS, crossings)):
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _plain(value) for key, value in row.items()} for row in rows)
        replace_file(folder / f"{name}.csv", text.getvalue())
    return fits, crossings


def fit_curve(curve: Curve) -> dict:
    """A row of FITS; None where there is no such figure."""
    row = dict.fromkeys(FITS) | {name: getattr(curve.series, name) for name in IDENTITY if name != "quantity"}
    row |= {"quantity": curve.quantity, "n_points": len(curve.points), "note": curve.note}
    lengths, figures, errors = curve.lengths, curve.figures, curve.errors
    row |= {"length_min": int(lengths[0]), "length_max": int(lengths[-1]), "figure": figures[-1]}
    if len(curve.points) < FEWEST:
        return row | {"status": NOT_ENOUGH}
    exponent, low, high = slope_of(curve.points, curve.seed)
    terms, before = (
        fit_terms(lengths[:count], figures[:count], errors[:count]) for count in (len(lengths), len(lengths) - 1)
    )
    shares = terms.shares(lengths[-1])
    return row | {
        "status": "ok",
        "tail_from": int(lengths[-TAIL]),
        **{"slope": exponent, "slope_low": low, "slope_high": high, "a": terms.a, "b": terms.b, "c": terms.c},
        **dict(zip(("share_a", "share_b", "share_c"), shares, strict=True)),
        "left_out_error": float(foretell(before, lengths[-2], figures[-2], lengths[-1]) / figures[-1] - 1),
        "predicted_length": int(2 * lengths[-1]),
        "predicted": float(foretell(terms, lengths[-1], figures[-1], 2 * lengths[-1])),
    }


def slope(lengths: Iterable[int], samples: Iterable[Iterable[float]]) -> tuple[float, float | None, float | None]:
    """(the exponent over the last TAIL lengths, its 95% interval), of each length's samples in their order."""
    return slope_of(tuple(time_point(length, mine) for length, mine in zip(lengths, samples, strict=True)))


def slope_of(points: tuple[Point, ...], seed: int = 0) -> tuple[float, float | None, float | None]:
    """As `slope`, of points. The interval is (None, None) where nothing was repeated."""
    tail = points[-TAIL:]
    x = np.log([point.length for point in tail])
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)  # weights @ y: the slope of y on x
    logs = np.log([point.figure for point in tail])
    exponent = float(weights @ (logs - logs[0]))  # 0 and not nearly 0 where nothing grows
    drawn = draws(tail, seed, weights)
    if drawn is None:
        return exponent, None, None
    low, high = np.quantile((drawn - logs[0]) @ weights, (0.025, 0.975))
    return exponent, float(low), float(high)


def _plain(value):
    """Floats to 6 digits; None stays None, a blank: no such figure."""
    return f"{value:.6g}" if isinstance(value, float) and math.isfinite(value) else value
