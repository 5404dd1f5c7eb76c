"""The description of a row that the page shows when the reader points at its marker."""

from __future__ import annotations

import textwrap
from html import escape

from lengthscale.bench.analysis.text import number
from lengthscale.bench.figures.costs import STEPS
from lengthscale.bench.plan.series import model_name, size_name

_WIDTH, _LONGEST = 60, 300  # the most letters of a line and of a message


def text_of(measure: str, row: dict[str, str], run: str = "") -> str:
    """The description of a CSV's row as HTML for plotly, with <b> and <br>. Text from the data is escaped.

    run: "A" or "B" if two runs are compared, else "".
    """
    name = model_name(row["model"], row.get("method", ""))
    kind = [size_name(row.get("size", "")), row.get("dtype", ""), f"batch {row.get('batch', '')}"]
    lines = [
        f"<b>{escape(name)}</b>" + (f" (run {run})" if run else ""),
        escape(", ".join(part for part in kind if part)),
        f"{escape(STEPS.get(measure, measure))}, {_whole(row.get('length', ''))} tokens" + _seed(row),
        *_outcome(row),
    ]
    if row.get("status") == "ok":
        own = (_held_out(row), _gradient(row), _part(row), _frontier(row), _time(row), _generation(row))
        lines += [line for line in (*own, _samples(row), _rate(row), _memory(row), _compile(row)) if line]
    return "<br>".join(lines)


def _outcome(row: dict[str, str]) -> list[str]:
    stage = f" in {row['stage']}" if row.get("stage") else ""
    lines = [f"status: {escape(row.get('status', '') + stage)}"]
    if message := row.get("message"):
        lines += [escape(line) for line in textwrap.wrap(textwrap.shorten(message, _LONGEST), _WIDTH)]
    return lines


def _time(row: dict[str, str]) -> str:
    if not row.get("time_median_ms"):
        return ""
    return f"{_number(row, 'time_median_ms')} ms{_interval(row, 'time_low_ms', 'time_high_ms')}"


def _generation(row: dict[str, str]) -> str:
    if not row.get("ttft_ms"):
        return ""
    first, other = _number(row, "ttft_ms"), _number(row, "tpot_ms")
    return f"the first of {escape(row['new_tokens'])} new tokens {first} ms, each other one {other} ms"


def _samples(row: dict[str, str]) -> str:
    spread = [_number(row, name) for name in ("time_p10_ms", "time_p90_ms")]
    parts = [f"p10 to p90 {' to '.join(spread)} ms"] if all(spread) else []
    parts += [f"{row['n_samples']} samples"] if row.get("n_samples") else []
    parts += [row["flags"]] if row.get("flags") else []
    return escape(", ".join(parts))


def _rate(row: dict[str, str]) -> str:
    parts = [f"{_number(row, 'tokens_per_s')} tokens/s"] if row.get("tokens_per_s") else []
    if row.get("gemm_share"):
        parts.append(f"{_number(row, 'gemm_share', 100)}% of a matrix product's rate")
    return ", ".join(parts)


def _memory(row: dict[str, str]) -> str:
    parts = [f"peak {_number(row, 'mem_peak_bytes', 1e-6)} MB"] if row.get("mem_peak_bytes") else []
    if row.get("mem_planned_bytes"):
        parts.append(f"planned {_number(row, 'mem_planned_bytes', 1e-6)} MB")
    for name, column in (("weights", "weights_bytes"), ("state", "state_bytes"), ("activations", "activation_bytes")):
        if row.get(column):
            parts.append(f"{name} {_number(row, column, 1e-6)} MB")
    return ", ".join(parts)


def _compile(row: dict[str, str]) -> str:
    return f"compiled in {_number(row, 'compile_s')} s" if row.get("compile_s") else ""


def _held_out(row: dict[str, str]) -> str:
    where = f"at a context of {_whole(row['context'])}" if row.get("context") else ""
    if row.get("eval_length"):
        where = f"on sequences of {_whole(row['eval_length'])}"
    if not where:
        return ""
    parts = [
        f"{name} {row[name]}{_interval(row, f'{name}_low', f'{name}_high')}"
        for name in ("loss", "accuracy")
        if row.get(name)
    ]
    return f"{escape(', '.join(parts))} {where}"


def _gradient(row: dict[str, str]) -> str:
    if not row.get("grad_norm"):
        return ""
    when = "after training" if row.get("trained") == "1" else "at initialisation"
    return f"norm {escape(row['grad_norm'])} {when}, {_whole(row['distance'])} steps back"


def _part(row: dict[str, str]) -> str:
    if not row.get("part_ms"):
        return ""
    step = STEPS.get(row["mode"], row["mode"]).lower()
    share = f"{_number(row, 'part_share', 100)}% of a {step}'s time"
    return escape(f"{row['part']}: {_number(row, 'part_ms')} ms, {share}")


def _frontier(row: dict[str, str]) -> str:
    if not row.get("longest_how"):
        return ""
    found = (("longest_tokens", "longest", "tokens"), ("largest_batch", "largest batch", "sequences"))
    parts = [f"{name}: {_whole(row[column])} {unit}" if row.get(column) else name for column, name, unit in found]
    hows = [row.get(name, "") for name in ("longest_how", "largest_batch_how")]
    shown = "; ".join(f"{part} ({how})" for part, how in zip(parts, hows, strict=True))
    return escape(f"{row.get('mode', '')}: {shown}")


def _interval(row: dict[str, str], low: str, high: str) -> str:
    ends = [_number(row, name) for name in (low, high)]
    return f" [{', '.join(ends)}]" if all(ends) else ""


def _seed(row: dict[str, str]) -> str:
    return f", seed {escape(row['seed'])}" if row.get("seed") not in (None, "", "0") else ""


def _number(row: dict[str, str], name: str, factor: float = 1) -> str:
    """The number in a column, times factor, as text; "" if there is none."""
    try:
        return number(float(row.get(name, "")) * factor)
    except ValueError:
        return ""


def _whole(text: str) -> str:
    try:
        return f"{float(text):,.0f}"
    except ValueError:
        return escape(text)
