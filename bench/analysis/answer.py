"""The answer in three sentences, made of a run's fits: how cost grows, where the curves cross, what decoding takes.

They are about the Transformer and Mamba where both were measured, else about the steepest and the flattest curve.
What was not measured is said, not left out.
"""

from __future__ import annotations

PAIR = ("transformer", "mamba")
STEPS = {"train": "a training step", "forward": "prefill", "decode": "decoding a token"}
SHARED = ("size", "batch", "dtype", "seed")


def sentences(fits: list[dict], crossovers: list[dict], environment: dict) -> list[str]:
    """Of the rows of fits.csv and crossovers.csv (fit.py, crossover.py) and of environment.json."""
    return [_growth(fits, environment), _crossing(fits, crossovers), _decoding(fits)]


def device_name(environment: dict) -> str:
    """As people call it, such as "AMD EPYC, 2 cores"."""
    if environment.get("backend") == "cpu":
        return f"{environment.get('cpu_model')}, {environment.get('n_cpus')} cores"
    count = environment.get("n_devices") or 1
    return f"{environment.get('device_kind')}{f' x {count}' if count > 1 else ''}"


def number(value: float) -> str:
    """Three digits or so: 0.973, 22.9, 1,330."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:.3g}"


def tokens(length: int) -> str:
    """A length that was measured, such as 16k."""
    for unit, letter in ((1 << 20, "M"), (1 << 10, "k")):
        if length >= unit and length % unit == 0:
            return f"{length // unit}{letter}"
    return str(length)


def _growth(fits: list[dict], environment: dict) -> str:
    on = device_name(environment)
    for measure in ("train", "forward"):
        pair = _pair(fits, measure)
        if pair is None:
            continue
        steep, flat = pair
        end = min(steep["length_max"], flat["length_max"])
        text = (
            f"On {on} ({steep['size']}, {steep['dtype']}, batch {steep['batch']}) the time of {STEPS[measure]} grows "
            f"from {tokens(steep['tail_from'])} to {tokens(end)} tokens with exponent {slope_text(steep)} for "
            f"{steep['model']} and {slope_text(flat)} for {flat['model']}"
        )
        if steep["length_max"] == flat["length_max"]:
            text += f": there it takes {_time(steep['figure'])} against {_time(flat['figure'])}"
        return f"{text}."
    return f"On {on} no cost was measured at the four lengths that an exponent takes."


def _crossing(fits: list[dict], crossovers: list[dict]) -> str:
    said = []
    for measure in ("train", "forward"):
        pair = _pair(fits, measure)
        if pair is None:
            continue
        names = {row["model"] for row in pair}
        for row in crossovers:
            same = all(row[key] == pair[0][key] for key in (*SHARED, "measure", "quantity"))
            if same and {row["model_short"], row["model_long"]} == names:
                said.append(f"in {STEPS[measure]} {_meeting(row)}")
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}." if text else "No two curves were measured that could cross."


def _meeting(row: dict) -> str:
    if row["status"] == "crosses":
        low, high = (number(row[key]) if row[key] else "?" for key in ("length_low", "length_high"))
        return f"{row['model_long']} passes {row['model_short']} at {number(row['length'])} tokens [{low}, {high}]"
    if row["status"] == "beyond the range":
        where = f"{tokens(row['range_min'])} to {tokens(row['range_max'])}"
        farther = row["extrapolated_length"]
        then = f"; extrapolated, {row['model_long']} passes it at {number(farther)}" if farther else ""
        return f"{row['model_short']} is the cheaper of the two from {where} tokens{then}"
    why = "it is not decided" if row["status"] == "not decided" else "too few lengths say"
    return f"{why} where {row['model_long']} and {row['model_short']} cross"


def _decoding(fits: list[dict]) -> str:
    rows = {
        (r["quantity"], r["model"]): r for r in reversed(fits) if r["measure"] == "decode" and r["method"] == "auto"
    }
    times = [row for (quantity, _), row in rows.items() if quantity == "time_ms"]
    if not times:
        return "Decoding was not measured."
    models = {row["model"] for row in times}
    names = PAIR if set(PAIR) <= models else [max(times, key=_figure)["model"], min(times, key=_figure)["model"]]
    said = []
    for name in dict.fromkeys(names):
        time, state = rows["time_ms", name], rows.get(("state_bytes", name))
        held = f" and a state of {number(state['figure'] / 1e6)} MB" if state else ""
        slope = f", exponent {slope_text(time)}" if time["slope"] is not None else ""
        said.append(f"{name} {_time(time['figure'])}{held} (context {tokens(time['length_max'])}{slope})")
    return f"Decoding one token takes {', '.join(said)}."


def _figure(row: dict) -> float:
    return row["figure"]


def _pair(fits: list[dict], measure: str) -> tuple[dict, dict] | None:
    """The two curves of a measure's time that the answer is about, the steeper one first."""
    rows = [r for r in fits if r["measure"] == measure and r["quantity"] == "time_ms" and r["method"] == "auto"]
    rows = [row for row in rows if row["slope"] is not None]
    rows = [row for row in rows if all(row[key] == rows[0][key] for key in SHARED)]
    named = [row for row in rows if row["model"] in PAIR]
    rows = sorted(named if len(named) == 2 else rows, key=lambda row: row["slope"])
    return (rows[-1], rows[0]) if len(rows) >= 2 else None


def slope_text(row: dict) -> str:
    """The exponent of a row of fits.csv with its 95% interval, such as "1.06 [0.92, 1.21]"."""
    if row["slope_low"] is None:
        return f"{row['slope']:.2f}"
    return f"{row['slope']:.2f} [{row['slope_low']:.2f}, {row['slope_high']:.2f}]"


def _time(ms: float) -> str:
    return f"{number(ms / 1e3)} s" if ms >= 1e3 else f"{number(ms)} ms"
