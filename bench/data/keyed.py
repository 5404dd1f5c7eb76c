"""A stream of documents that each end with what only their first token tells, a known distance before.

`keyed:distance=1024`: a document has a key, fillers, a query, and the answer, which is the key's:

    x_t = key_k,  x_{t+1} ... x_{t+d-2} = filler,  x_{t+d-1} = query,  x_{t+d} = answer_k
    k uniform in 0 ... KEYS - 1,   P(d >= n) proportional to 1 / n - 1 / (D + 1),   n = LEAST ... D = distance

A window that reaches the key of an answer can have a loss of 0 nats there; one that does not has CHANCE = log(KEYS) at
best, since it holds fillers and the query alone. So the targets that a run scores are the held-out answers with
D / 4 < d <= D: along their curve of loss against context, CHANCE must be gained between the contexts D / 4 and D, and
nothing below or beyond.

The stream is the positive control of that protocol for models that carry a state, such as Mamba, which need not find an
earlier token by its place, as in planted.py, but keep two bits and forget the last ones. A model learns that from short
documents, and then keeps the key for longer: each doubling of d has about the same number of tokens, so documents of
twice the length are half as frequent. With d log-uniform in 4 ... 1,024, a tiny Mamba learned nothing from 1 M tokens,
as there were too few answers; random fillers of 4 kinds, which have a loss of their own, also slow it down.
"""

from __future__ import annotations

import math

import numpy as np

from lengthscale.bench.data.options import distance_of
from lengthscale.bench.data.streams import Stream, version

NAME = "keyed"
DISTANCE, LONGEST = 1_024, 65_536
LEAST = 2  # with 4, one of two tiny Mambas did not learn which key has which answer in 128 steps of 16 k tokens
TOKENS = 1 << 24  # the first half is trained on: long documents are rare, and many answers are to be scored
KEYS = 4
FILLER, QUERY = 2 * KEYS, 2 * KEYS + 1  # keys are 0 ... KEYS - 1, and answers follow them
CHANCE = math.log(KEYS)  # nats an answer: the loss with too little context; with enough of it, 0


def keyed(distance: int = DISTANCE) -> Stream:
    """The stream with this distance in tokens: always the same tokens."""
    rng = np.random.default_rng(distance)
    least, most = 1 / LEAST, 1 / (distance + 1)
    apart = np.floor(1 / (most + (least - most) * (1 - rng.random(TOKENS // (LEAST + 1))))).astype(np.int64)
    apart = np.clip(apart, LEAST, distance)  # against rounding
    answers = np.cumsum(apart + 1) - 1
    whole = np.searchsorted(answers, TOKENS)  # documents
    apart, answers = apart[:whole], answers[:whole]
    keys = rng.integers(0, KEYS, whole, np.uint8)
    tokens = np.full(answers[-1] + 1, FILLER, np.uint8)
    tokens[answers - apart] = keys
    tokens[answers - 1] = QUERY
    tokens[answers] = KEYS + keys
    half, scored = TOKENS // 2, answers[apart > distance // 4]
    return Stream(f"{NAME}:distance={distance}", tokens, QUERY + 1, version(tokens), split=(half, half), scored=scored)


def parse(text: str) -> Stream:
    """The stream of a text like "keyed" or "keyed:distance=4096". Raises DataError for any other text."""
    return keyed(distance_of(text, DISTANCE, (2 * LEAST, LONGEST)))
