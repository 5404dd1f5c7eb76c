"""Fits of cost against length: the exponent, the terms, and a prediction at a length that was not run.

slope           the exponent: least squares of log(value) on log(length) over the last TAIL points, with a 95% interval.
                This is what "growth" means everywhere: in CSVs, tables, sentences, figures
flops_slope     beside the time's exponent that of the FLOPs over the same lengths, which is exact
terms           a + b L + c L^2, and the share of each term at the longest length (terms.py); share_c of the quantity
                "flops" is the quadratic part of the work
left_out_error  the relative error of predicting the longest length from the shorter ones
predicted       that polynomial at twice the longest length, where that error is at most LARGEST_ERROR
disturbed       how many of the lengths other processes have disturbed (results/disturbance.py)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lengthscale.bench.analysis.crossover import Crossing, crossing_of, crossovers, table_of_crossings
from lengthscale.bench.analysis.curves import FEWEST, NOT_ENOUGH, Curve, Point, by_replicate, curves_of
from lengthscale.bench.analysis.terms import ROUNDING, Terms, extrapolate, fit_terms
from lengthscale.bench.plan.series import SeriesKey
from lengthscale.bench.results import intervals
from lengthscale.bench.results.csv_table import CsvTable, TextRow, read_table, table_of
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.files import replace_file
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.result import Result

TAIL = 3  # points
LARGEST_ERROR = 0.15
BELIED = 0.25  # a larger difference of the exponents of time and FLOPs is noted
FIT_COLUMNS = (
    *("measure", "quantity", "model", "size", "method", "batch", "dtype", "data", "seed"),
    *("n_points", "length_min", "length_max", "figure"),  # the value at length_max
    *("tail_from", "slope", "slope_low", "slope_high", "flops_slope"),
    *("a", "b", "c", "share_a", "share_b", "share_c"),
    *("left_out_error", "predicted_length", "predicted", "disturbed", "status", "note"),
)


@dataclass(frozen=True)
class Fit:
    """The fit of one quantity of one series against length. With too few points it has no exponent and no terms."""

    series: SeriesKey
    quantity: str
    n_points: int
    length_min: int
    length_max: int
    value: float  # at length_max
    note: str  # what failed, and where the exponent is not that of the work
    slope: Estimate | None = None  # the exponent
    tail_from: int | None = None  # the shortest length that the exponent includes
    terms: Terms | None = None
    left_out_error: float | None = None
    predicted: float | None = None
    flops_slope: float | None = None
    disturbed: int = 0

    @property
    def status(self) -> str:
        """The text "ok", or why there is no exponent."""
        return NOT_ENOUGH if self.slope is None else "ok"

    @property
    def shares(self) -> tuple[float, float, float] | None:
        """The shares of the three terms at the longest length."""
        return self.terms.shares(self.length_max) if self.terms else None

    @property
    def predicted_length(self) -> int | None:
        """The length of the prediction, in tokens."""
        return None if self.predicted is None else 2 * self.length_max

    def columns(self) -> dict[str, Any]:
        """The fit as a row of fits.csv."""
        names = ("n_points", "length_min", "length_max", "tail_from", "left_out_error", "predicted_length", "predicted")
        names = (*names, "flops_slope", "disturbed")
        slope, terms = self.slope, self.terms
        return {
            **{name: getattr(self.series, name) for name in FIT_COLUMNS if hasattr(self.series, name)},
            **{name: getattr(self, name) for name in ("quantity", *names, "status", "note")},
            "figure": self.value,
            **({"slope": slope.value, "slope_low": slope.low, "slope_high": slope.high} if slope else {}),
            **({"a": terms.a, "b": terms.b, "c": terms.c} if terms else {}),
            **dict(zip(("share_a", "share_b", "share_c"), self.shares or (), strict=False)),
        }


def fit_of(row: TextRow) -> Fit:
    """The fit that a row of fits.csv is of. Raises JournalError where a number is something else."""
    return Fit(
        series=row.series(row.text("measure")),
        quantity=row.text("quantity"),
        n_points=row.whole("n_points"),
        length_min=row.whole("length_min"),
        length_max=row.whole("length_max"),
        value=row.number("figure"),
        note=row.text("note"),
        slope=row.estimate("slope"),
        tail_from=row.whole("tail_from") or None,
        terms=Terms(*map(row.number, ("a", "b", "c"))) if row.has("a") else None,
        left_out_error=row.known("left_out_error"),
        predicted=row.known("predicted"),
        flops_slope=row.known("flops_slope"),
        disturbed=row.whole("disturbed"),
    )


def fit_results(results: Iterable[Result]) -> tuple[list[Fit], list[Crossing]]:
    """The fits of all curves, and the crossings of all pairs of comparable curves."""
    curves = curves_of(results)
    fits = [fit_curve(curve) for curve in curves]
    flops = {fit.series: fit.slope.value for fit in fits if fit.quantity == "flops" and fit.slope}
    return [_with_work(fit, flops.get(fit.series)) for fit in fits], crossovers(curves)


def _with_work(fit: Fit, flops_slope: float | None) -> Fit:
    """The fit of a time with the exponent of the FLOPs, and a note where the two differ; other fits as they are."""
    if fit.quantity != "time_ms" or fit.slope is None or flops_slope is None:
        return fit
    low, high = fit.slope.interval or (fit.slope.value, fit.slope.value)
    belied = abs(fit.slope.value - flops_slope) > BELIED and not low <= flops_slope <= high
    note = f"the FLOPs grow with {flops_slope:.2f}: memory or overhead decides" if belied else ""
    return replace(fit, flops_slope=flops_slope, note="; ".join(filter(None, (fit.note, note))))


def table_of_fits(fits: Iterable[Fit]) -> CsvTable:
    """fits.csv."""
    return table_of(FIT_COLUMNS, (fit.columns() for fit in fits))


def write_fits(folder: Path, fits: list[Fit], crossings: list[Crossing]) -> None:
    """Write fits.csv and crossovers.csv."""
    run = RunFolder(folder)
    replace_file(run.fits, table_of_fits(fits).text)
    replace_file(run.crossovers, table_of_crossings(crossings).text)


def read_fits(folder: Path) -> tuple[list[Fit], list[Crossing]]:
    """What is in the folder's fits.csv and crossovers.csv, with the digits that those have; nothing of a missing file.

    Raises JournalError where a number is something else.
    """
    run = RunFolder(folder)
    fits, crossings = (read_table(path).text_rows() if path.exists() else [] for path in (run.fits, run.crossovers))
    return [fit_of(row) for row in fits], [crossing_of(row) for row in crossings]


def fit_folder(folder: Path) -> tuple[list[Fit], list[Crossing]]:
    """Fit the results of a folder and write both files. Returns what `fit_results` does.

    Raises JournalError where the folder has no journal.
    """
    fits, crossings = fit_results(RunFolder(folder).results())
    write_fits(folder, fits, crossings)
    return fits, crossings


def fit_curve(curve: Curve) -> Fit:
    """The fit of one curve."""
    lengths, values, errors = curve.lengths, curve.values, curve.errors
    known = {
        "series": curve.series,
        "quantity": curve.quantity,
        "n_points": len(curve.points),
        "length_min": int(lengths[0]),
        "length_max": int(lengths[-1]),
        "value": float(values[-1]),
        "note": curve.note,
        "disturbed": curve.disturbed,
    }
    if len(curve.points) < FEWEST:
        return Fit(**known)
    terms, before = (
        fit_terms(lengths[:count], values[:count], errors[:count]) for count in (len(lengths), len(lengths) - 1)
    )
    left_out_error = float(extrapolate(before, lengths[-2], values[-2], lengths[-1]) / values[-1] - 1)
    left_out_error = 0.0 if abs(left_out_error) < ROUNDING else left_out_error
    predicted = float(extrapolate(terms, lengths[-1], values[-1], 2 * lengths[-1]))
    return Fit(
        **known,
        slope=slope_of(curve.points),
        tail_from=int(lengths[-TAIL]),
        terms=terms,
        left_out_error=left_out_error,
        predicted=predicted if abs(left_out_error) <= LARGEST_ERROR else None,
    )


def slope_of(points: tuple[Point, ...]) -> Estimate:
    """The exponent over the last TAIL points; without an interval where there are fewer than 3 replicates."""
    tail = points[-TAIL:]
    x = np.log([point.length for point in tail])
    exponent = float(slope(x, np.log([point.value for point in tail])))
    replicates = by_replicate(tail)
    if replicates is None:
        return Estimate(exponent)
    return intervals.of_medians(np.log(replicates), lambda logs: slope(x, logs), exponent)


def slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The slope of y on x by least squares, for each row of y; of equal values it is exactly 0 on every CPU.

    x: (points,). y: (..., points).
    """
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    return (y - y[..., :1]) @ weights
