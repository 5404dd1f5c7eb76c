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
BEYOND = 2  # a context of this many training lengths says how a model does beyond what it was trained on


class Group(NamedTuple):
    """What the models of one sentence have in common."""

    measure: str
    data: str
    size: str
    dtype: str


class Span(NamedTuple):
    """From `start` to `end` tokens of context, of models that were trained at one length."""

    start: int
    end: int
    trained: int
    rows: list[TextRow]

    @property
    def words(self) -> str:
        """Such as "from 1 to 64 tokens (trained at 72)"."""
        first, last, trained = map(text.length, (self.start, self.end, self.trained))
        return f"from {first} to {last} tokens (trained at {trained})"


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


def rows_of(results: Iterable[Result]) -> dict[str, list[TextRow]]:
    """The rows of a run's results on which something was learned, by measure."""
    found: dict[str, list[Result]] = {}
    for result in results:
        if result.cell.measure in LEARNED:
            found.setdefault(result.cell.measure, []).append(result)
    return {measure: list(table_of_results(mine).text_rows()) for measure, mine in found.items()}


def sentences_of(results: Iterable[Result]) -> list[str]:
    """The sentences on the results of a run."""
    return sentences(rows_of(results))


def sentences(rows: Mapping[str, Sequence[TextRow]]) -> list[str]:
    """A sentence for each kind of data on which something was learned, on tasks for each length. rows: by measure."""
    said = []
    for group, mine in groups(rows):
        said += [_gains(group, mine)] if group.measure == "quality" else _recalled(group, mine)
    return [sentence for sentence in said if sentence]


def groups(rows: Mapping[str, Sequence[TextRow]]) -> list[tuple[Group, list[TextRow]]]:
    """The rows that are ok, by what their models have in common, in alphabetical order. rows: by measure."""
    found: dict[Group, list[TextRow]] = {}
    for measure in LEARNED:
        for row in rows.get(measure, ()):
            if row.ok:
                group = Group(measure, row.text("data"), size_name(row.text("size")), row.text("dtype"))
                found.setdefault(group, []).append(row)
    return sorted(
        found.items(), key=lambda item: (LEARNED.index(item[0].measure), title_of(item[0].data), item[0].size)
    )


def spans(rows: Iterable[TextRow]) -> list[Span]:
    """From which context to which there are gains, each with the rows of the models that have it.

    For each start: to the longest context that a training length has inside, and to the longest one of all where that
    is at least twice the longest training length. All models of one span were trained at the same length, the shortest
    one that has its context inside.
    """
    good = [row for row in rows if row.has("gain") and not row.text("control")]
    found = []
    for start in sorted({row.whole("gain_from") for row in good}):
        mine = [row for row in good if row.whole("gain_from") == start]
        furthest, at_most = max(row.whole("context") for row in mine), max(row.length for row in mine)
        ends = [max((row.whole("context") for row in mine if row.whole("context") < at_most), default=0)]
        if furthest >= BEYOND * at_most:
            ends.append(furthest)
        for end in filter(None, ends):
            there = [row for row in mine if row.whole("context") == end]
            lengths = sorted({row.length for row in there})
            trained = next((length for length in lengths if length > end), lengths[-1])
            found.append(Span(start, end, trained, [row for row in there if row.length == trained]))
    return found


def at_length(rows: Iterable[TextRow], trained: int, read: int) -> list[TextRow]:
    """The rows of models that were trained at one length and read sequences of another, with as many items."""
    rows = (row for row in rows if row.length == trained and row.has("eval_length") and not row.has("n_items"))
    return [row for row in rows if row.whole("eval_length") == read]


def _gains(group: Group, rows: list[TextRow]) -> str:
    """Such as "Context of text (tiny) is worth, in nats a token: from 1 to 64 tokens (trained at 72) 0.84 to rnn ...".

    A gain whose interval holds 0 is said to be nothing that can be measured; what lies below 0 is a loss and stays.
    """
    parts = [f"{span.words} {_worth(span.rows, group.measure)}" for span in spans(rows)]
    if not parts:
        return ""
    return f"Context of {title_of(group.data)} ({group.size}) is worth, in nats a token: {'; '.join(parts)}."


def _worth(rows: list[TextRow], measure: str) -> str:
    """What the context of these rows is worth to their models, the largest gain first."""
    rows = sorted(rows, key=lambda row: -row.number("gain"))
    nothing = [row for row in rows if row.number("gain_low") <= 0 <= row.number("gain_high")]  # False for nan
    said = [f"{worth(row.estimate('gain'))} to {_marked(row, measure)}" for row in rows if row not in nothing]
    if nothing:
        names = [_marked(row, measure) for row in nothing]
        said.append(f"nothing that can be measured to {' and '.join(filter(None, (', '.join(names[:-1]), names[-1])))}")
    return ", ".join(said)


def _recalled(group: Group, rows: list[TextRow]) -> list[str]:
    """Such as "Recall of 4 pairs, at 32 tokens (tiny, chance 6%), right: transformer 100% [99%, 100%], rnn 12% ..."."""
    said, title = [], title_of(group.data)
    for length in sorted({row.length for row in rows}):
        good = [row for row in at_length(rows, length, length) if row.has("accuracy")]
        good = sorted(good, key=lambda row: -row.number("accuracy"))
        right = ", ".join(f"{_marked(row, group.measure)} {share(row.estimate('accuracy'))}" for row in good)
        if right:
            chance = f", chance {good[0].number('chance_accuracy'):.0%}" if good[0].has("chance_accuracy") else ""
            where = f"at {text.length(length)} tokens ({group.size}{chance})"
            said.append(f"{title[0].upper()}{title[1:]}, {where}, right: {right}.")
    return said


def name_of(row: TextRow, measure: str) -> str:
    """A model's name, with its seed where that is not 0."""
    key = row.series(measure)
    return f"{key.name} seed {key.seed}" if key.seed else key.name


def mark_of(row: TextRow) -> str:
    """What is written after a name or number where the recipe was not tuned."""
    return f" ({UNTUNED})" if is_untuned(row) else ""


def _marked(row: TextRow, measure: str) -> str:
    return name_of(row, measure) + mark_of(row)


def worth(found: Estimate | None) -> str:
    """A gain with its interval, such as "0.84 [0.80, 0.88]"; with three decimals where two would be 0.00."""
    assert found is not None
    digits = 2 if round(found.value, 2) else 3
    ends = f" [{_decimal(found.low, digits)}, {_decimal(found.high, digits)}]" if found.interval else ""
    return f"{_decimal(found.value, digits)}{ends}"


def _decimal(value: float | None, digits: int) -> str:
    return "?" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"


def share(found: Estimate | None) -> str:
    """An accuracy with its interval, such as "28% [27%, 29%]"."""
    assert found is not None
    ends = f" [{found.low:.0%}, {found.high:.0%}]" if found.interval else ""
    return f"{found.value:.0%}{ends}"
