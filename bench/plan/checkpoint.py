"""`--checkpoint DIR`: a model with the widths and weights of a folder, handled as one more size of that model.

The cell's size is the folder's path. Time and memory are measured; training is not, since a checkpoint's tokens and
classes are those of its own tokenizer and data. The bytes of our data stand for its tokens, modulo its vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from lengthscale.bench.data import Images, Stream
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.models import SIZES, STATES
from lengthscale.models.checkpoints import Checkpoint, inspect


@lru_cache(maxsize=1)
def open_checkpoint(folder: str) -> Checkpoint:
    """The checkpoint in a folder, of which ~ and links are resolved. Raises CheckpointError where there is none."""
    return inspect(Path(folder).expanduser().resolve())


def of_cell(cell: Cell) -> Checkpoint | None:
    """The checkpoint that a cell's size names; None for a size of our own. Raises CheckpointError."""
    return None if cell.size in (*SIZES, *STATES) else open_checkpoint(cell.size)


def possible_lengths(checkpoint: Checkpoint, listed: list[int], room: int = 0) -> list[int]:
    """The lengths of a suite that the checkpoint allows; longer ones become its longest length.

    room: the positions that are needed beyond a length.
    """
    only = checkpoint.architecture.only_length(checkpoint.config)
    longest = checkpoint.architecture.longest(checkpoint.config)
    if only:
        return [only]
    return sorted({min(length, max(1, longest - room)) for length in listed}) if longest else listed


def default_data(checkpoint: Checkpoint) -> str:
    """The name of the data for a checkpoint where the user gives none."""
    interface = checkpoint.interface
    if interface.outputs is None:
        return "text"
    return "photos" if interface.features == 3 else "mnist"


def fold(checkpoint: Checkpoint, data):
    """The data with tokens or classes taken modulo the checkpoint's number of them, where the data have more."""
    interface = checkpoint.interface
    if isinstance(data, Stream) and interface.vocab < data.vocab:
        return replace(data, tokens=data.tokens % interface.vocab, vocab=interface.vocab)
    if isinstance(data, Images) and interface.outputs is not None and interface.outputs < len(data.classes):
        train, held_out = (labels % interface.outputs for labels in (data.train_labels, data.held_out_labels))
        classes = data.classes[: interface.outputs]
        return replace(data, train_labels=train, held_out_labels=held_out, classes=classes)
    return data


def reason_against(checkpoint: Checkpoint, cell: Cell, data, room: int = 0) -> str | None:
    """Why the checkpoint is unavailable for this cell, or None. room: the positions needed beyond the cell's length."""
    name, architecture, interface = checkpoint.path.name, checkpoint.architecture, checkpoint.interface
    if MEASURES[cell.measure].trains:
        return f"{name} has its own tokens and classes, which {cell.data} does not have; its costs can be measured"
    only, longest = architecture.only_length(checkpoint.config), architecture.longest(checkpoint.config)
    if only and cell.length != only:
        return f"{name} has {only} patches, not {cell.length}"
    if longest and cell.length + room > longest:
        return f"{name} has {longest} learned positions, not {cell.length}" + (f" and {room} new ones" if room else "")
    if isinstance(data, Images) and interface.features != data.train.shape[-1]:
        return f"{name} reads images of {interface.features} channels; {cell.data} has {data.train.shape[-1]}"
    if isinstance(data, Images) and not interface.side:
        return f"{name} reads images that are not square, which {cell.data} does not have"
    if not isinstance(data, Stream) and interface.outputs is None:
        return f"{name} reads tokens, which {cell.data} does not have"
    return None
