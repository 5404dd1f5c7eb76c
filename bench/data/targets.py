"""Held-out targets of a stream, and the windows in which a model reads them with a given context.

The targets are the same for every context: `run` of them in a row at each of many places. For a context of c tokens a
run is cut into blocks of at most c / 8 targets, and each block has a window of its own, which starts c tokens before
the block. So every target has c to 1.125 c tokens before it, and along a curve only the context changes.

A stream may name the only targets on which it is evaluated (Stream.scored). Then there are as many places as for other
streams, with one of these targets at each, or fewer where the stream names too few.

Places are independent where targets of one run are not: the unit of an interval is the place (a block bootstrap).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.streams import Stream, spread_starts

RUN = 64  # targets in a row, at most
LEAST_PLACES = 32
SHARE = 8  # a block has at most this part of the context


class Windows(NamedTuple):
    """Windows at one context: the first `context` tokens of each are before its targets, the others are its targets."""

    tokens: Int[np.ndarray, "N W"]  # the blocks of one place follow each other
    context: int
    blocks: int  # of a place

    @property
    def n_targets(self) -> int:
        """The number of targets in all windows."""
        return len(self.tokens) * (self.tokens.shape[1] - self.context)


@dataclass(frozen=True, eq=False)
class Targets:
    """The targets of a stream, and the stream itself."""

    tokens: np.ndarray
    places: Int[np.ndarray, " P"]  # the positions of the first targets; any first ones are spread over the stream
    run: int  # targets at each place

    def windows(self, context: int, places: int | None = None) -> Windows:
        """The windows of the first `places` places (None: all of them) at a context of this many tokens."""
        block = block_of(context, self.run)
        first = self.places[:places, None] + np.arange(0, self.run, block)
        starts = first.reshape(-1) - context
        tokens = np.stack([self.tokens[start : start + context + block] for start in starts]).astype(np.int32)
        return Windows(tokens, context, self.run // block)

    def each(self) -> Int[np.ndarray, " T"]:
        """The positions of all targets in the stream, place by place."""
        return (self.places[:, None] + np.arange(self.run)).reshape(-1)


def held_out_targets(stream: Stream, count: int, longest: int) -> Targets:
    """The targets of a stream's held-out part: those of `make_targets`, or of `named_targets` where it names any.

    Raises DataError as they do.
    """
    if stream.held_out_scored is None:
        return make_targets(stream.held_out, count, longest)
    return named_targets(stream.held_out, stream.held_out_scored, places_of(count), longest)


def make_targets(tokens: np.ndarray, count: int, longest: int) -> Targets:
    """At least `count` targets of this stream, at LEAST_PLACES places or more, each behind `longest` tokens or more.

    Raises DataError where the stream is too short.
    """
    run, places = run_of(count), places_of(count)
    starts = spread_starts(tokens, places, longest + run)
    return Targets(tokens, (starts + longest)[_spread(places)], run)


def named_targets(tokens: np.ndarray, named: Int[np.ndarray, " N"], places: int, longest: int) -> Targets:
    """At most `places` of the targets at the named positions, spread over them, each behind `longest` tokens or more.

    Raises DataError where there are fewer than LEAST_PLACES, or than `places` if that is less.
    """
    named = named[named >= longest]
    needed = min(places, LEAST_PLACES)
    if len(named) < needed:
        raise DataError(
            f"{len(named)} targets have {longest} tokens before them in the held-out part, expected {needed}"
        )
    places = min(places, len(named))
    return Targets(tokens, named[spread_starts(named, places, 1)][_spread(places)], 1)


def run_of(count: int) -> int:
    """The number of targets in a row, of this many targets."""
    return max(1, min(RUN, count // LEAST_PLACES))


def places_of(count: int) -> int:
    """The number of places at which this many targets lie."""
    return -(-count // run_of(count))


def least_tokens(longest: int) -> int:
    """The shortest stream, in tokens, that has a place behind `longest` tokens."""
    return longest + RUN


def block_of(context: int, run: int = RUN) -> int:
    """The number of targets that share a window: the largest divisor of `run` that is at most context / SHARE, or 1."""
    return largest_divisor(run, max(1, context // SHARE))


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is at most `most`."""
    return next(each for each in range(min(number, most), 0, -1) if number % each == 0)


def window_length(context: int, run: int = RUN) -> int:
    """The tokens that a model reads at this context, in one window."""
    return context + block_of(context, run) - 1


def _spread(count: int) -> np.ndarray:
    """0 ... count - 1 in an order whose first numbers, however many, are spread evenly (steps of the golden ratio)."""
    return np.argsort((np.arange(count) * 0.6180339887498949 + 0.5) % 1).argsort()


def by_place(values: np.ndarray, windows: Windows) -> np.ndarray:
    """The mean of each place, (P,), of values of its blocks, (N,)."""
    return values.reshape(-1, windows.blocks).mean(1)
