"""What length buys, in sentences: the gain from context on streams, and what is found again on tasks of recall."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from lengthscale.bench.analysis import text
from lengthscale.bench.data.titles import title_of
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.recipes import GIVEN, TUNED
from lengthscale.bench.plan.series import SeriesKey, size_name
from lengthscale.bench.results.codec import table_of_results
from lengthscale.bench.results.csv_table import TextRow
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.result import Result

LEARNED = tuple(name for name, measure in MEASURES.items() if "seen_loss" in measure.columns)
UNTUNED = "not tuned"


class Group(NamedTuple):
    """What the models of one sentence have in common."""

    data: str
    size: str
    dtype: str


def best_lengths(rows: Iterable[TextRow], measure: str) -> dict[SeriesKey, int]:
    """For each series, the training length at which its training loss is lowest; no held-out token takes part."""
    best: dict[SeriesKey, TextRow] = {}
    for row in rows:
        key = row.series(measure)
        if (
            row.ok
            and row.has("train_loss")
            and (key not in best or row.number("train_loss") < best[key].number("train_loss"))
        ):
            best[key] = row
    return {key: row.length for key, row in best.items()}


def is_untuned(row: TextRow) -> bool:
    """Whether a row's learning rate comes from no search near its budget; False for rows of earlier versions."""
    return row.text("recipe") not in ("", TUNED, GIVEN)


def sentences_of(results: Iterable[Result]) -> list[str]:
    """The sentences on the results of a run."""
    found: dict[str, list[Result]] = {}
    for result in results:
        if result.cell.measure in LEARNED:
            found.setdefault(result.cell.measure, []).append(result)
    return sentences({measure: list(table_of_results(mine).text_rows()) for measure, mine in found.items()})


def sentences(rows: Mapping[str, Sequence[TextRow]]) -> list[str]:
    """A sentence for each kind of data on which something was learned. rows: by measure."""
    said = []
    for measure in LEARNED:
        mine = [row for row in rows.get(measure, ()) if row.ok]
        groups: dict[Group, list[TextRow]] = {}
        for row in mine:
            group = Group(row.text("data"), size_name(row.text("size")), row.text("dtype"))
            groups.setdefault(group, []).append(row)
        say = _gains if measure == "quality" else _recalled
        said += [sentence for group, each in groups.items() if (sentence := say(group, each, measure))]
    return said


def _gains(group: Group, rows: list[TextRow], measure: str) -> str:
    """Such as "Context of text (tiny) is worth, in nats a token: from 1 to 64 tokens (trained at 72) 0.84 to rnn ...".

    A gain whose interval holds 0 is said to be nothing that can be measured; what lies below 0 is a loss and stays. All
    models of one span were trained at the same length: the shortest one that has the span's context inside.
    """
    good = [row for row in rows if row.has("gain") and not row.text("control")]
    starts = sorted({row.whole("gain_from") for row in good})
    parts = []
    for start in starts:
        longest = max(row.whole("context") for row in good if row.whole("gain_from") == start)
        mine = [row for row in good if (row.whole("gain_from"), row.whole("context")) == (start, longest)]
        lengths = sorted({row.length for row in mine})
        trained = next((length for length in lengths if length > longest), lengths[-1])
        span = f"from {text.length(start)} to {text.length(longest)} tokens (trained at {text.length(trained)})"
        parts.append(f"{span} {_worth([row for row in mine if row.length == trained], measure)}")
    if not parts:
        return ""
    return f"Context of {title_of(group.data)} ({group.size}) is worth, in nats a token: {'; '.join(parts)}."


def _worth(rows: list[TextRow], measure: str) -> str:
    """What the context of these rows is worth to their models, the largest gain first."""
    rows = sorted(rows, key=lambda row: -row.number("gain"))
    nothing = [row for row in rows if row.number("gain_low") <= 0 <= row.number("gain_high")]  # False for nan
    said = [f"{_gain(row.estimate('gain'))} to {_name(row, measure)}" for row in rows if row not in nothing]
    if nothing:
        names = [_name(row, measure) for row in nothing]
        said.append(f"nothing that can be measured to {' and '.join(filter(None, (', '.join(names[:-1]), names[-1])))}")
    return ", ".join(said)


def _recalled(group: Group, rows: list[TextRow], measure: str) -> str:
    """Such as "Recall of 4 pairs, at 32 tokens (tiny, chance 6%), right: transformer 100% [99%, 100%], rnn 12% ..."."""
    good = [row for row in rows if row.has("accuracy") and row.number("eval_length") == row.length]
    good = [row for row in good if not row.has("n_items")]
    if not good:
        return ""
    lengths = " and ".join(dict.fromkeys(text.length(row.length) for row in good))
    good = sorted(good, key=lambda row: -row.number("accuracy"))
    right = [f"{_name(row, measure)} {_share(row.estimate('accuracy'))}" for row in good]
    chance = f", chance {good[0].number('chance_accuracy'):.0%}" if good[0].has("chance_accuracy") else ""
    title = title_of(group.data)
    return f"{title[0].upper()}{title[1:]}, at {lengths} tokens ({group.size}{chance}), right: {', '.join(right)}."


def _name(row: TextRow, measure: str) -> str:
    key = row.series(measure)
    seed = f" seed {key.seed}" if key.seed else ""
    return f"{key.name}{seed}{f' ({UNTUNED})' if is_untuned(row) else ''}"


def _gain(found: Estimate | None) -> str:
    """A gain with its interval, such as "0.84 [0.80, 0.88]", and "0.00" where it rounds to -0."""
    assert found is not None
    ends = f" [{_two(found.low)}, {_two(found.high)}]" if found.interval else ""
    return f"{_two(found.value)}{ends}"


def _two(value: float | None) -> str:
    return "?" if value is None else f"{round(value, 2) + 0.0:.2f}"


def _share(found: Estimate | None) -> str:
    assert found is not None
    ends = f" [{found.low:.0%}, {found.high:.0%}]" if found.interval else ""
    return f"{found.value:.0%}{ends}"
