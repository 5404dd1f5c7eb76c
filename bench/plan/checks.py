"""Checks of a request's parts against each other: data and lengths, models and methods, models and data."""

from __future__ import annotations

from lengthscale.bench.data import Images, Stream
from lengthscale.bench.data.targets import least_tokens
from lengthscale.bench.plan.cell import READING, Cell
from lengthscale.bench.plan.checkpoint import reason_against
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.workloads import Data
from lengthscale.bench.plan.workloads import unsupported as unsupported_data
from lengthscale.models import STATES, spec_of
from lengthscale.models.checkpoints import Checkpoint


def check_shuffling(settings: Settings) -> list[str]:
    """Mistakes: --shuffle-beyond leaves nothing to shuffle."""
    longest = max(settings.shuffle_beyond or (0,))
    if longest < settings.shuffled_context:
        return []
    return [
        "--shuffle-beyond must be below the longest context at which all targets are read, "
        f"{settings.shuffled_context}, got {longest}"
    ]


def check_data(data: dict[str, Data], cells: list[Cell], settings: Settings) -> list[str]:
    """Mistakes: a stream is too short for the cells, images have one class only, or a length is too short for a task.

    data: by name.
    """
    mistakes = []
    for name, each in data.items():
        mine = [cell for cell in cells if cell.data == name]
        if isinstance(each, Stream):
            mistakes += _check_stream(each, mine, settings)
        elif isinstance(each, Images):
            mistakes += _check_images(each, mine)
        else:
            short = min((cell.length for cell in mine), default=each.min_length)
            if short < each.min_length:
                mistakes.append(f"{each} needs a length of at least {each.min_length}, got {short}")
    return mistakes


def _check_stream(data: Stream, cells: list[Cell], settings: Settings) -> list[str]:
    mistakes = []
    longest = max((cell.length for cell in cells if cell.measure in READING), default=0)
    if len(data.tokens) < longest + 1:
        mistakes.append(f"data {data.name!r} has {len(data.tokens)} tokens; length {longest} needs {longest + 1}")
    learned = max((cell.length for cell in cells if MEASURES[cell.measure].trains), default=0)
    if learned:
        for part, tokens, needed in (
            ("train part", data.train, learned + 1),
            ("held-out part", data.held_out, max(learned + 1, least_tokens(max(settings.contexts)))),
        ):
            if len(tokens) < needed:
                mistakes.append(f"data {data.name!r}: its {part} has {len(tokens)} tokens; {needed} are needed")
    return mistakes


def _check_images(data: Images, cells: list[Cell]) -> list[str]:
    learning = list(dict.fromkeys(cell.measure for cell in cells if MEASURES[cell.measure].trains))
    if not learning:
        return []
    need = f"{' and '.join(learning)} need{'s' if len(learning) == 1 else ''}"
    mistakes = []
    if len(data.classes) < 2:
        mistakes.append(f"data {data.name!r} has one class, {''.join(data.classes)!r}; {need} two or more")
    if not len(data.held_out):
        mistakes.append(f"data {data.name!r}: its held-out part is empty, as no class has two images; {need} one")
    return mistakes


def unsupported(cell: Cell, data: dict[str, Data], checkpoint: Checkpoint | None, room: int) -> str | None:
    """Why the cell is impossible: its method, its chunk or its data; None where it can be measured.

    data: by name. room: the positions that the measure needs beyond the cell's length.
    """
    methods = spec_of(cell.model).methods
    if cell.method not in ("auto", *methods):
        return f"{cell.model} has no method {cell.method!r} (it has: {', '.join(methods)})"
    if cell.size in STATES and not spec_of(cell.model).state_by_width:
        return f"{cell.model} has no state whose bytes follow from its width, as {cell.size} needs"
    if cell.chunk and cell.length > cell.chunk and cell.length % cell.chunk:
        return f"length {cell.length} is no multiple of the chunk, {cell.chunk} tokens"
    if cell.data not in data:
        return None
    reason = unsupported_data(cell.model, data[cell.data])
    return reason or (reason_against(checkpoint, cell, data[cell.data], room) if checkpoint else None)
