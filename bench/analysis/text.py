"""Numbers, lengths, estimates and tables as text for readers: one way to write each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lengthscale.bench.results.estimate import Estimate


def number(value: float) -> str:
    """A number with three significant digits: 0.973, 22.9, 1,330."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:.3g}"


def length(tokens: float) -> str:
    """A length that was measured, such as 16k or 1M (k = 1,024)."""
    tokens = int(tokens)
    for unit, letter in ((1 << 20, "M"), (1 << 10, "k")):
        if tokens >= unit and tokens % unit == 0:
            return f"{tokens // unit}{letter}"
    return str(tokens)


def rounded_length(tokens: float) -> str:
    """A length that was searched, such as 976, 61k or 1.9M (k = 1,024), with at most three significant digits."""
    for unit, letter in ((1 << 20, "M"), (1 << 10, "k")):
        if tokens >= unit:
            return f"{number(tokens / unit)}{letter}"
    return number(tokens)


def memory(n_bytes: float) -> str:
    """An amount of memory, such as 24 GiB or 512 MiB, with at most three significant digits."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB")):
        if n_bytes >= unit:
            return f"{number(n_bytes / unit)} {name}"
    return f"{number(n_bytes)} bytes"


def slope(value: float) -> str:
    """An exponent without its interval: "1.06", and "0.00" where it rounds to -0."""
    return f"{round(value, 2) + 0.0:.2f}"


def exponent(estimate: Estimate) -> str:
    """An exponent with its interval, such as "1.06 [0.92, 1.21]"."""
    if estimate.interval is None:
        return slope(estimate.value)
    return f"{slope(estimate.value)} [{', '.join(map(slope, estimate.interval))}]"


def estimated(estimate: Estimate) -> str:
    """An estimate with its interval, such as "1,330 [1,250, 2,450]"; a missing end is "?"."""
    ends = ("?" if end is None else number(end) for end in (estimate.low, estimate.high))
    return f"{number(estimate.value)} [{', '.join(ends)}]"


def milliseconds(ms: float) -> str:
    """A time with its unit, such as "39 ms" or "4.44 s". ms: milliseconds."""
    return f"{number(ms / 1e3)} s" if ms >= 1e3 else f"{number(ms)} ms"


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown. rows: a cell for each column; None is a blank."""
    lines = [columns, ["---"] * len(columns), *rows]
    texts = (("" if cell is None else str(cell).replace("|", r"\|") for cell in line) for line in lines)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in texts)
