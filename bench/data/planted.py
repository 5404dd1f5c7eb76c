"""A stream that repeats tokens at a known distance, and has nothing else to learn.

`planted:distance=16`: the phase of position t is t mod distance. Each phase has VALUES symbols of its own, so that one
token tells which phase comes next. The symbol's value is the one of `distance` tokens before with probability REPEAT,
and else uniformly random:

    x_t = VALUES (t mod distance) + v_t,   v_t = v_{t - distance} with probability REPEAT, else uniform

For each phase, v is a Markov chain. With less than `distance` tokens of context nothing is known about v_t, and the
loss is log(VALUES) at best; with as many or more it can be `floor()`, and still more context does not help. A
measurement of loss against context must find this gain at the distance, and not below: the stream is the positive
control of that protocol (bench/claims/real_context.py).

With phases, a small model learns the repeat in a few hundred steps, since it finds the earlier token by its content.
Without them, repeated uniform tokens could be found by their position only, which tiny models did not learn in 400
steps at a distance of 128.
"""

from __future__ import annotations

import math

import numpy as np

from lengthscale.bench.data.options import distance_of
from lengthscale.bench.data.streams import Stream, version

NAME = "planted"
DISTANCE = 16
LONGEST = 4_096
TOKENS = 1 << 20
VALUES, REPEAT = 4, 0.9
CHANCE = math.log(VALUES)  # nats a token: the loss with too little context


def planted(distance: int = DISTANCE) -> Stream:
    """The stream with this distance in tokens: always the same tokens."""
    rng = np.random.default_rng(distance)
    rows = -(-TOKENS // distance)
    values = rng.integers(0, VALUES, (rows, distance), np.uint16)
    repeated = rng.random((rows, distance)) < REPEAT
    for row in range(1, rows):
        values[row] = np.where(repeated[row], values[row - 1], values[row])
    tokens = (VALUES * np.arange(distance, dtype=np.uint16) + values).reshape(-1)[:TOKENS]
    return Stream(f"{NAME}:distance={distance}", tokens, VALUES * distance, version(tokens))


def floor() -> float:
    """The lowest possible loss with enough context, in nats a token: the entropy of v_t given v_{t - distance}."""
    same = REPEAT + (1 - REPEAT) / VALUES
    return -same * math.log(same) - (1 - same) * math.log((1 - same) / (VALUES - 1))


def parse(text: str) -> Stream:
    """The stream of a text like "planted" or "planted:distance=32". Raises DataError for any other text."""
    return planted(distance_of(text, DISTANCE, (2, LONGEST)))
