"""What a builder is given and what it gives. Neither jax nor torch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Given:
    """inputs and w: see inputs.py. work: of ours' call, for a limit that is a rate. cores: threads to run."""

    arrays: Arrays  # what gradients are taken by
    state: Arrays  # decode: what a step carries on
    w: np.ndarray | None  # train: the weights of the sum
    work: float | None


@dataclass(frozen=True)
class Prepared:
    """call() runs once and waits for all of its results; outputs(results) are to be compared with ours', by name.

    work: bytes, FLOPs or tokens of a call, where a rate counts. temp_bytes: the temporaries that the compiler planned.
    peak_bytes(): after a call, the most that the process held; None where that is not observed.
    """

    call: Callable[[], Any]
    outputs: Callable[[Any], Arrays]
    work: float | None = None
    temp_bytes: int | None = None
    peak_bytes: Callable[[], int | None] = lambda: None


def nothing(results: Any) -> Arrays:
    """The outputs of what is no implementation of the op: a limit."""
    return {}
