"""A stream in which a repeat is planted at a known distance, and nothing else is to be learned.

`planted:distance=16`: position t has VALUES symbols of its own, those of phase t mod distance, so that one token says
which phase comes next. Which of the symbols it is was drawn at random, and with probability REPEAT is the one that was
there `distance` tokens before:

    x_t = VALUES (t mod distance) + v_t,   v_t = v_{t - distance} with probability REPEAT, else any value, all alike.

v is a Markov chain for each phase: with less than `distance` tokens of context nothing is known of v_t and the loss is
log(VALUES) at best; with as many or more it can be `floor()`, and still more context says nothing. Who measures loss
against context must find this gain at the distance, and not below: the positive control of the protocol
(bench/claims/real_context.py).

The phases are there so that a small model learns it in a few hundred steps: it finds the earlier token by what it is.
Bare uniform tokens that come again are found by position alone, which tiny models did not learn in 400 steps at a
distance of 128.
"""

from __future__ import annotations

import math
import re

import numpy as np

from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.streams import Stream, version

NAME = "planted"
DISTANCE = 16
LONGEST = 4_096
TOKENS = 1 << 20
VALUES, REPEAT = 4, 0.9
CHANCE = math.log(VALUES)  # nats a token


def planted(distance: int = DISTANCE) -> Stream:
    """Always the same stream for a distance."""
    rng = np.random.default_rng(distance)
    rows = -(-TOKENS // distance)
    values = rng.integers(0, VALUES, (rows, distance), np.uint16)
    repeated = rng.random((rows, distance)) < REPEAT
    for row in range(1, rows):
        values[row] = np.where(repeated[row], values[row - 1], values[row])
    tokens = (VALUES * np.arange(distance, dtype=np.uint16) + values).reshape(-1)[:TOKENS]
    return Stream(f"{NAME}:distance={distance}", tokens, VALUES * distance, version(tokens))


def floor() -> float:
    """Nats a token of who knows the token at the distance: the entropy of v_t given v_{t - distance}."""
    same = REPEAT + (1 - REPEAT) / VALUES
    return -same * math.log(same) - (1 - same) * math.log((1 - same) / (VALUES - 1))


def parse(text: str) -> Stream:
    """Of "planted" or "planted:distance=32". Raises DataError."""
    _, colon, options = text.partition(":")
    match = re.fullmatch(r"\s*distance\s*=\s*(\d{1,9})\s*", options, re.ASCII) if colon else None
    if colon and match is None:
        raise DataError(f"data {text!r}: {NAME} has one option, written as {NAME}:distance={DISTANCE}")
    distance = int(match[1]) if match else DISTANCE
    if not 2 <= distance <= LONGEST:
        raise DataError(f"data {text!r}: distance must be from 2 to {LONGEST}, got {distance}")
    return planted(distance)
