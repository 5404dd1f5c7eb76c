"""Titles of data, for sentences and pictures."""

from __future__ import annotations

from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.synthetic import SYNTHETIC, parse_task

LONGEST = 24


def title_of(name: str) -> str:
    """The data in a few plain words: a task's title, or else the name, of which a long one loses its start."""
    if name.partition(":")[0] in SYNTHETIC:
        try:
            return parse_task(name).title
        except DataError:  # a name that an earlier version wrote
            pass
    return name if len(name) <= LONGEST else f"...{name[3 - LONGEST :]}"
