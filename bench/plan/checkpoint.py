"""--checkpoint DIR: a model with the widths and weights of a folder, as one more size of it.

The cell's size is the folder's path. What costs time and memory is measured; what it learns is not, since its tokens
are its own tokenizer's, and its classes its own: bytes stand for tokens, modulo its vocabulary.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from lengthscale.bench.data import Images, Stream
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.models import SIZES
from lengthscale.models.checkpoints import Checkpoint, inspect


@lru_cache(maxsize=1)
def open_checkpoint(folder: str) -> Checkpoint:
    """Of a path with or without links. Raises CheckpointError."""
    return inspect(Path(folder).expanduser().resolve())


def of_cell(cell: Cell) -> Checkpoint | None:
    return None if cell.size in SIZES else open_checkpoint(cell.size)


def possible_lengths(checkpoint: Checkpoint, listed: list[int]) -> list[int]:
    """Of a suite's, those that the checkpoint can have, and its own longest one."""
    only = checkpoint.architecture.only_length(checkpoint.config)
    longest = checkpoint.architecture.longest(checkpoint.config)
    if only:
        return [only]
    return sorted({min(length, longest) for length in listed}) if longest else listed


def default_data(checkpoint: Checkpoint) -> str:
    interface = checkpoint.interface
    if interface.outputs is None:
        return "text"
    return "photos" if interface.features == 3 else "mnist"


def fold(checkpoint: Checkpoint, data):
    """The data with no more tokens, or classes, than the checkpoint has."""
    interface = checkpoint.interface
    if isinstance(data, Stream) and interface.vocab < data.vocab:
        return replace(data, tokens=data.tokens % interface.vocab, vocab=interface.vocab)
    if isinstance(data, Images) and interface.outputs is not None and interface.outputs < len(data.classes):
        train, held_out = (labels % interface.outputs for labels in (data.train_labels, data.held_out_labels))
        classes = data.classes[: interface.outputs]
        return replace(data, train_labels=train, held_out_labels=held_out, classes=classes)
    return data


def reason_against(checkpoint: Checkpoint, cell: Cell, data) -> str | None:
    """Why the checkpoint is unavailable for this cell, or None."""
    name, architecture, interface = checkpoint.path.name, checkpoint.architecture, checkpoint.interface
    if MEASURES[cell.measure].learns:
        return f"{name} has its own tokens and classes, which {cell.data} does not have; its costs can be measured"
    only, longest = architecture.only_length(checkpoint.config), architecture.longest(checkpoint.config)
    if only and cell.length != only:
        return f"{name} has {only} patches, not {cell.length}"
    if longest and cell.length > longest:
        return f"{name} has {longest} learned positions, not {cell.length}"
    if isinstance(data, Images) and interface.features != data.train.shape[-1]:
        return f"{name} reads images of {interface.features} channels; {cell.data} has {data.train.shape[-1]}"
    if isinstance(data, Images) and not interface.side:
        return f"{name} reads images that are not square, which {cell.data} has not"
    if not isinstance(data, Stream) and interface.outputs is None:
        return f"{name} reads tokens, which {cell.data} has not"
    return None
