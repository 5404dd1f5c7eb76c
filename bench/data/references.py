"""What models that learn nothing by gradients lose on the same held-out targets: n-grams and LZMA.

An n-gram of order k predicts a token from the k - 1 before it, by the counts of the training part. Witten-Bell
smoothing (Witten and Bell, IEEE Trans. Information Theory 37, 1991) mixes it with the order below:

    p_k(w | h) = (count(h w) + types(h) p_{k-1}(w | h')) / (count(h) + types(h)),   p_0 uniform

where types(h) is the number of different tokens that followed h, and h' is h without its first token. LZMA needs no
training: its loss is what it needs to store the targets behind a context, less what the context alone needs. It finds
repeats at any distance, so its fall with the context says how much long range the data hold.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from lengthscale.bench.data.targets import RUN, SHARE, Targets

ORDERS = 6


def ngram_losses(train: np.ndarray, targets: Targets, vocab: int) -> Float[np.ndarray, "orders T"]:
    """The loss of each target under the n-grams of order 1, 2 ... ORDERS, nats a target.

    train: (N,) tokens 0 ... vocab - 1. With a large vocabulary there are fewer orders, as a context has to fit into 64
    bits.
    """
    orders = min(ORDERS, int(63 / math.log2(max(2, vocab))))
    at = targets.each()
    wanted = targets.tokens[at].astype(np.uint64)
    p = np.full(len(at), 1.0 / vocab)
    losses = []
    for order in range(1, orders + 1):
        asked = _codes(targets.tokens, at - 1, order - 1, vocab)
        known = np.unique(asked)  # other contexts are not counted
        ends = np.arange(order - 1, len(train))
        ends = ends[_places(known, _codes(train, ends - 1, order - 1, vocab)) >= 0]
        joint, counts = np.unique(_codes(train, ends, order, vocab), return_counts=True)  # count(h w)
        context = _places(known, joint // np.uint64(vocab))
        totals = np.bincount(context, counts, len(known)).astype(int)
        types = np.bincount(context, minlength=len(known))
        where, pair = _places(known, asked), _places(joint, asked * np.uint64(vocab) + wanted)
        total, kinds, pair = totals[where], types[where], np.where(pair >= 0, counts[pair], 0)
        p = np.where(total > 0, (pair + kinds * p) / np.maximum(total + kinds, 1), p)
        losses.append(-np.log(p))
    return np.array(losses)


def _codes(tokens: np.ndarray, ends: Int[np.ndarray, " T"], length: int, vocab: int) -> np.ndarray:
    """The `length` tokens up to each of these positions as one number to the base of the vocabulary, (T,) uint64."""
    code = np.zeros(len(ends), np.uint64)
    for back in range(length - 1, -1, -1):
        code = code * np.uint64(vocab) + tokens[ends - back].astype(np.uint64)
    return code


def _places(keys: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The index of each asked key among the keys, which are sorted; -1 for those that are not there."""
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, at, -1)


def lzma_losses(targets: Targets, context: int) -> Float[np.ndarray, " P"]:
    """The loss of each place's targets for LZMA, given `context` tokens before them, nats a target.

    Raises ValueError for a context that the targets of a place cannot share.
    """
    if context < SHARE * RUN:
        raise ValueError(f"the targets of a place share a context of {SHARE * RUN} tokens or more, got {context}")
    losses = []
    for start in targets.places:
        before = targets.tokens[start - context : start]
        both = targets.tokens[start - context : start + targets.run]
        losses.append((_packed(both) - _packed(before)) * 8 * math.log(2) / targets.run)
    return np.array(losses)


def _packed(tokens: np.ndarray) -> int:
    """The bytes that LZMA needs for these tokens, without a header."""
    data = tokens.tobytes()
    options = {"id": lzma.FILTER_LZMA1, "preset": 9, "dict_size": max(4_096, len(data))}
    return len(lzma.compress(data, lzma.FORMAT_RAW, filters=[options]))


def reference_lines(train: np.ndarray, targets: Targets, vocab: int, contexts: list[int]) -> Iterator[tuple]:
    """(name, context, losses of the places) of each reference: n-grams at the contexts that they read, LZMA beyond."""
    for order, losses in enumerate(ngram_losses(train, targets, vocab), start=1):
        yield f"{order}-gram", order - 1, losses.reshape(-1, targets.run).mean(1)
    for context in contexts:
        if context >= SHARE * RUN:
            yield "LZMA", context, lzma_losses(targets, context)
