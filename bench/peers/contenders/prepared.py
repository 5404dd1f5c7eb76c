"""What a builder is given and what it returns. This file loads neither jax nor torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Given:
    """The inputs of a contender; inputs.py makes them."""

    arrays: Arrays  # inputs and parameters, by which gradients are taken
    state: Arrays  # decode: the state that goes from step to step
    w: np.ndarray | None  # train: the weights of the sum
    work: float | None  # of one call of ours, for a limit that is a rate
    summed: bool = True  # train: whether sum(y * w) is taken, or w is given as the gradient of y


@dataclass(frozen=True)
class Prepared:
    """A contender that is ready to be called.

    call(): runs once; its results may be complete only after wait(results). outputs(results): the arrays to compare
    with ours, by name. work: bytes, FLOPs or tokens of one call, where a rate counts. temp_bytes: the temporaries that
    the compiler planned. peak_bytes(): the peak memory of the process, after a call; None where it is not observed.
    device_s(calls): the seconds of one call by the device's own clock; None where a package has no such clock.
    """

    call: Callable[[], Any]
    outputs: Callable[[Any], Arrays]
    work: float | None = None
    temp_bytes: int | None = None
    peak_bytes: Callable[[], int | None] = lambda: None
    wait: Callable[[Any], Any] = lambda results: None
    device_s: Callable[[int], float] | None = None


def nothing(results: Any) -> Arrays:
    """No outputs: for a limit, which is not an implementation of the op."""
    return {}
