"""A run's answer in three sentences, from its fits: how cost grows, where the curves cross, what decoding takes.

They are about the Transformer and Mamba where both were measured, else about the steepest and the flattest curve.
Where something was not measured, its sentence says so.
"""

from __future__ import annotations

from typing import Any

from lengthscale.bench.analysis import text
from lengthscale.bench.analysis.crossover import BEYOND, CROSSES, NOT_DECIDED, SHARED, Crossing
from lengthscale.bench.analysis.fit import Fit
from lengthscale.bench.plan.series import SeriesKey

PAIR = ("transformer", "mamba")
STEPS = {"train": "a training step", "forward": "prefill", "decode": "decoding a token"}


def sentences(fits: list[Fit], crossings: list[Crossing], environment: dict[str, Any]) -> list[str]:
    """The three sentences on a run, and a fourth one if it was disturbed. environment: of its environment.json."""
    said = [_growth(fits, environment), _crossing(fits, crossings), _decoding(fits)]
    timed = [fit for fit in fits if fit.quantity == "time_ms"]
    disturbed, points = sum(fit.disturbed for fit in timed), sum(fit.n_points for fit in timed)
    if disturbed:
        said.append(
            f"Other processes disturbed {disturbed} of {points} cells: repeat them before quoting these numbers."
        )
    return said


def device_name(environment: dict[str, Any]) -> str:
    """The device in words, such as "AMD EPYC, 2 cores"."""
    if environment.get("backend") == "cpu":
        return f"{environment.get('cpu_model')}, {environment.get('n_cpus')} cores"
    count = environment.get("n_devices") or 1
    return f"{environment.get('device_kind')}{f' x {count}' if count > 1 else ''}"


def _growth(fits: list[Fit], environment: dict[str, Any]) -> str:
    on = device_name(environment)
    for measure in ("train", "forward"):
        pair = _pair(fits, measure)
        if pair is None:
            continue
        steep, flat = pair
        assert steep.slope
        assert flat.slope
        assert steep.tail_from
        series, end = steep.series, min(steep.length_max, flat.length_max)
        sentence = (
            f"On {on} ({series.size}, {series.dtype}, batch {series.batch}) the time of {STEPS[measure]} grows "
            f"from {text.length(steep.tail_from)} to {text.length(end)} tokens with exponent "
            f"{text.exponent(steep.slope)} for {series.model} and {text.exponent(flat.slope)} for {flat.series.model}"
        )
        if steep.length_max == flat.length_max:
            times = (text.milliseconds(each.value) for each in pair)
            sentence += f": there it takes {' against '.join(times)}"
        return f"{sentence}."
    return f"On {on} no cost was measured at four lengths, which an exponent needs."


def _crossing(fits: list[Fit], crossings: list[Crossing]) -> str:
    parts = []
    for measure in ("train", "forward"):
        pair = _pair(fits, measure)
        if pair is None:
            continue
        names = {fit.series.model for fit in pair}
        for crossing in crossings:
            same = crossing.quantity == pair[0].quantity and _shared(crossing.series) == _shared(pair[0].series)
            if same and {crossing.model_short, crossing.model_long} == names:
                parts.append(f"in {STEPS[measure]} {_meeting(crossing)}")
    sentence = "; ".join(parts)
    if not sentence:
        return "No two curves were measured that could cross."
    return f"{sentence[0].upper()}{sentence[1:]}."


def _meeting(crossing: Crossing) -> str:
    before, beyond = crossing.model_short, crossing.model_long
    if crossing.length and crossing.status == CROSSES:
        low, high = (text.number(end) if end else "?" for end in (crossing.length.low, crossing.length.high))
        return f"{beyond} passes {before} at {text.number(crossing.length.value)} tokens [{low}, {high}]"
    if crossing.status == BEYOND and crossing.range_min and crossing.range_max:
        where = f"{text.length(crossing.range_min)} to {text.length(crossing.range_max)}"
        farther = crossing.extrapolated_length
        then = f"; extrapolated, {beyond} passes it at {text.number(farther)}" if farther else ""
        return f"{before} is the cheaper of the two from {where} tokens{then}"
    if crossing.status != NOT_DECIDED:
        return f"too few lengths were measured to say where {beyond} and {before} cross"
    about = f" (about {text.number(crossing.length.value)} tokens)" if crossing.length else ""
    return f"it is not decided where {beyond} and {before} cross{about}: {crossing.note}"


def _decoding(fits: list[Fit]) -> str:
    mine = (fit for fit in reversed(fits) if fit.series.measure == "decode" and fit.series.method == "auto")
    found = {(fit.quantity, fit.series.model): fit for fit in mine}
    times = [fit for (quantity, _), fit in found.items() if quantity == "time_ms"]
    if not times:
        return "Decoding was not measured."
    slowest, fastest = max(times, key=lambda fit: fit.value), min(times, key=lambda fit: fit.value)
    names = PAIR if set(PAIR) <= {fit.series.model for fit in times} else [slowest.series.model, fastest.series.model]
    parts = []
    for name in dict.fromkeys(names):
        time, state = found["time_ms", name], found.get(("state_bytes", name))
        size = f" and a state of {text.number(state.value / 1e6)} MB" if state else ""
        slope = f", exponent {text.exponent(time.slope)}" if time.slope else ""
        parts.append(f"{name} {text.milliseconds(time.value)}{size} (context {text.length(time.length_max)}{slope})")
    return f"Decoding one token takes {', '.join(parts)}."


def _pair(fits: list[Fit], measure: str) -> tuple[Fit, Fit] | None:
    """The two curves of a measure's time that the answer is about, the steeper one first."""
    mine = [fit for fit in fits if fit.series.measure == measure and fit.quantity == "time_ms" and fit.slope]
    mine = [fit for fit in mine if fit.series.method == "auto"]
    mine = [fit for fit in mine if _shared(fit.series) == _shared(mine[0].series)]
    named = [fit for fit in mine if fit.series.model in PAIR]
    mine = sorted(named if len(named) == 2 else mine, key=lambda fit: fit.slope.value if fit.slope else 0.0)
    return (mine[-1], mine[0]) if len(mine) >= 2 else None


def _shared(series: SeriesKey) -> tuple:
    """What two series must have in common to be compared."""
    return tuple(getattr(series, name) for name in SHARED)
