"""What length buys, in one table: a line for each thing that was learned, a column for each model.

On a stream: the mean loss at the training length, and the gain from context, both in nats a token. On a task: what is
right at the training length and at four times that length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from lengthscale.bench.analysis import learned, text
from lengthscale.bench.analysis.learned import Group
from lengthscale.bench.data.titles import title_of
from lengthscale.bench.results.csv_table import TextRow

LONGER = 4  # how many times the training length a task is shown at, too

Line = tuple[str, list[TextRow], Callable[[TextRow], str]]  # (its words, its rows, what to write of a row)


def table(rows: Mapping[str, Sequence[TextRow]]) -> str:
    """The table in Markdown; empty where nothing was learned. rows: by measure."""
    lines = [
        (words, {learned.name_of(row, group.measure): write(row) + learned.mark_of(row) for row in shown})
        for group, mine in learned.groups(rows)
        for words, shown, write in (_of_stream(group, mine) if group.measure == "quality" else _of_task(group, mine))
        if shown
    ]
    if not lines:
        return ""
    models = list(dict.fromkeys(model for _, cells in lines for model in cells))
    return text.table(("what length buys", *models), ((words, *map(cells.get, models)) for words, cells in lines))


def _of_stream(group: Group, rows: list[TextRow]) -> Iterable[Line]:
    name = f"{title_of(group.data)} ({group.size})"
    for length in sorted({row.length for row in rows}):
        shown = [row for row in learned.at_length(rows, length, length) if row.has("loss")]
        yield f"{name}: loss at {text.length(length)} tokens", shown, lambda row: f"{row.number('loss'):.2f}"
    for span in learned.spans(rows):
        yield f"{name}: gain {span.words}", span.rows, lambda row: learned.worth(row.estimate("gain"))


def _of_task(group: Group, rows: list[TextRow]) -> Iterable[Line]:
    name = f"{title_of(group.data)} ({group.size})"
    for length in sorted({row.length for row in rows}):
        for times in (1, LONGER):
            trained = f" (trained at {text.length(length)})" if times > 1 else ""
            words = f"{name}: right at {text.length(times * length)} tokens{trained}"
            shown = [row for row in learned.at_length(rows, length, times * length) if row.has("accuracy")]
            yield words, shown, lambda row: learned.share(row.estimate("accuracy"))
