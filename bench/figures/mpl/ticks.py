"""Sets the ticks of an axis: at the measured lengths as far as there is room, at given places, or at round numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from matplotlib.ticker import MaxNLocator

from lengthscale.bench.analysis import text
from lengthscale.bench.figures.spec import Axis


def at_lengths(axes, lengths: Iterable[int], trained: int | None = None) -> None:
    """Make the x axis logarithmic, with a tick at each length except those whose texts would overlap.

    trained: the length of training, whose tick is always there and says "trained".
    """
    kept = [trained] if trained else []
    every: list[int] = sorted({*lengths, *kept})
    width_points = axes.figure.get_figwidth() * axes.get_position().width * 72
    least = np.log(every[-1] / every[0]) * 26 / width_points
    for length in reversed(every):
        if all(abs(np.log(other / length)) >= least for other in kept):
            kept.append(length)
    axes.set_xscale("log")
    axes.set_xticks(kept, [text.length(length) + ("\ntrained" if length == trained else "") for length in kept])
    axes.set_xticks([], minor=True)


def at_places(axis, wanted: Axis) -> None:
    """Set those of the wanted ticks that are within the limits of the axis."""
    low, high = sorted(axis.get_view_interval())
    inside = [(at, text) for at, text in wanted.ticks if low <= at <= high]
    turned = {} if wanted.upright else {"rotation": 90, "va": "center"}
    axis.set_ticks([at for at, _ in inside], labels=[text for _, text in inside], **turned)
    axis.set_ticks([], minor=True)


def at_round_numbers(axis) -> None:
    """Set ticks at 1, 2, 5, ... or at powers of ten. axis: axes.xaxis or axes.yaxis, logarithmic, with final limits."""
    low, high = axis.get_view_interval()
    powers = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [f * 10.0**p for p in powers for f in factors if low <= f * 10.0**p <= high]
        if len(ticks) >= 3:
            break
    else:
        ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    ticks = ticks[:: -(-len(ticks) // 7)]
    scientific = min(ticks) < 1e-4 or max(ticks) >= 1e7
    axis.set_ticks(ticks, labels=[_power(tick) if scientific else f"{tick:,.6g}" for tick in ticks])
    axis.set_ticks([], minor=True)


def _power(value: float) -> str:
    exponent = int(np.floor(np.log10(value) + 1e-9))
    factor = value / 10.0**exponent
    return f"$10^{{{exponent}}}$" if abs(factor - 1) < 1e-6 else f"${factor:g} \\times 10^{{{exponent}}}$"
