"""N-grams against a direct transcription of their equation, and LZMA on data whose repeats are known."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from lengthscale.bench.data import load
from lengthscale.bench.data.references import lzma_losses, ngram_losses, reference_lines
from lengthscale.bench.data.streams import Stream
from lengthscale.bench.data.targets import make_targets


def witten_bell(train, vocab, order):
    """context -> token -> probability, by the recursion as it is written in the docstring of references.py."""
    counts = [defaultdict(Counter) for _ in range(order + 1)]
    for k in range(1, order + 1):
        for at in range(k - 1, len(train)):
            counts[k][tuple(train[at - k + 1 : at])][train[at]] += 1

    def p(token, context, k=order):
        if k == 0:
            return 1 / vocab
        seen = counts[k].get(tuple(context[len(context) - k + 1 :]))
        lower = p(token, context, k - 1)
        return lower if seen is None else (seen[token] + len(seen) * lower) / (seen.total() + len(seen))

    return p


@pytest.mark.parametrize("vocab", [3, 40])
def test_ngrams_equal_their_equation(vocab):
    rng = np.random.default_rng(vocab)
    tokens = (np.cumsum(rng.geometric(0.6, 3_000)) % vocab).astype(np.uint16)
    train, held_out = tokens[:2_000], tokens[2_000:]
    targets = make_targets(held_out, 100, 16)
    found = ngram_losses(train, targets, vocab)
    assert found.shape == (6, len(targets.each()))
    for order in range(1, 7):
        p = witten_bell(train.tolist(), vocab, order)
        expected = [-math.log(p(held_out[at], held_out[at - 10 : at].tolist())) for at in targets.each()]
        np.testing.assert_allclose(found[order - 1], expected, rtol=1e-12)
        total = sum(p(token, held_out[5:15].tolist()) for token in range(vocab))
        assert total == pytest.approx(1)


def test_published_ngrams_of_text():
    """Bigrams of tinyshakespeare, first 90% to train: 2.49 nats a byte, as an independent implementation has it."""
    stream = load("text")
    assert isinstance(stream, Stream)
    losses = ngram_losses(stream.train, make_targets(stream.held_out, 16_384, 64), stream.vocab).mean(1)
    assert losses[1] == pytest.approx(2.49, abs=0.02)
    assert losses[2] == pytest.approx(2.02, abs=0.04)
    assert (np.diff(losses[:5]) < 0).all()
    few = ngram_losses(stream.train[: 2**18], make_targets(stream.held_out, 16_384, 64), stream.vocab).mean(1)
    assert few[1:4] == pytest.approx([2.62, 2.37, 2.24], abs=0.03)


def test_lzma_finds_a_repeat_where_the_context_reaches_it():
    rng = np.random.default_rng(0)
    period = rng.integers(0, 256, 3_000, np.uint8)
    tokens = np.tile(period, 8)
    targets = make_targets(tokens, 2_048, 8_192)
    near, far = (lzma_losses(targets, context).mean() for context in (1_024, 8_192))
    assert near > 0.9 * math.log(256)
    assert far < 0.2 * math.log(256)
    with pytest.raises(ValueError, match="512 tokens or more, got 256"):
        lzma_losses(targets, 256)


def test_the_lines_of_a_stream():
    tokens = np.random.default_rng(1).integers(0, 4, 30_000).astype(np.uint8)
    targets = make_targets(tokens[20_000:], 2_048, 1_024)
    lines = list(reference_lines(tokens[:20_000], targets, 4, [1, 64, 512, 1_024]))
    names = [f"{order}-gram" for order in range(1, 7)] + ["LZMA", "LZMA"]
    assert [name for name, _, _ in lines] == names
    assert [context for _, context, _ in lines] == [0, 1, 2, 3, 4, 5, 512, 1_024]
    assert all(losses.shape == (32,) for _, _, losses in lines)
    assert lines[0][2].mean() == pytest.approx(math.log(4), abs=0.01)  # there is nothing to learn
