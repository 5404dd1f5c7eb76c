"""The held-out targets of a stream and their windows: exact contexts, the same targets, all over the stream."""

import numpy as np
import pytest

from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.streams import Stream
from lengthscale.bench.data.targets import (
    block_of,
    by_place,
    held_out_targets,
    least_tokens,
    make_targets,
    named_targets,
    places_of,
    run_of,
    window_length,
)

STREAM = np.arange(60_000, dtype=np.uint16)  # a token is its own position
CONTEXTS = (1, 2, 3, 4, 7, 8, 16, 24, 64, 100, 256, 511, 512, 1024, 16_384)


@pytest.mark.parametrize("count", [1, 100, 2_048, 5_000])
def test_every_target_has_its_context_and_an_eighth_more_at_most(count):
    targets = make_targets(STREAM, count, max(CONTEXTS))
    asked = targets.each()
    assert (len(targets.places), targets.run) == (places_of(count), run_of(count))
    assert count <= len(asked) < count + targets.run
    for context in CONTEXTS:
        tokens, given, blocks = targets.windows(context)
        assert given == context
        np.testing.assert_array_equal(tokens[:, context:].reshape(-1), asked)  # the same targets, in the same order
        np.testing.assert_array_equal(tokens, tokens[:, :1] + np.arange(tokens.shape[1]))  # as they are in the stream
        before = np.arange(tokens.shape[1])[context:]  # tokens in the window before each target
        assert context <= before.min() <= before.max() <= 1.125 * context
        assert tokens.shape[1] - 1 == window_length(context, targets.run)
        assert len(tokens) == blocks * len(targets.places)
        places = by_place(tokens[:, context].astype(float), targets.windows(context))
        assert (np.abs(places - targets.places) < targets.run).all()


def test_two_thousand_targets_lie_at_32_places_of_the_whole_stream():
    targets = make_targets(STREAM, 2_048, 1_024)
    assert len(targets.places) == 32
    assert len(np.unique(targets.each())) == 2_048
    apart = np.diff(np.sort(targets.places))
    assert (apart.min(), apart.max()) == pytest.approx((apart.mean(), apart.mean()), abs=1)
    assert (targets.places.min(), targets.places.max() + 64) == (1_024, 60_000)
    for count in (4, 8, 16):  # the first places, however many, are spread as well
        assert np.diff(np.sort([0, *targets.places[:count], 60_000])).max() < 2.6 * 60_000 / count


def test_blocks_are_as_large_as_they_may_be():
    assert [block_of(context) for context in (1, 8, 15, 16, 64, 100, 512, 10**6)] == [1, 1, 1, 2, 8, 8, 64, 64]
    assert block_of(10**6, run=6) == 6


def test_a_stream_that_is_too_short_is_refused():
    make_targets(STREAM[: least_tokens(512)], 2_048, 512)
    with pytest.raises(DataError, match="a window of 576 tokens does not fit into a stream of 575"):
        make_targets(STREAM[: least_tokens(512) - 1], 2_048, 512)


def test_a_stream_may_name_its_targets():
    named = np.arange(40, 60_000, 7)
    stream = Stream("named", STREAM, 60_000, "", split=(1_000, 2_000), scored=named)
    np.testing.assert_array_equal(stream.held_out[stream.held_out_scored], named[named >= 2_000])
    targets = held_out_targets(stream, 50 * 64, 1_024)
    assert (targets.run, len(targets.places)) == (1, 50)
    asked = targets.each() + 2_000
    assert np.isin(asked, named).all()
    assert (asked.min(), asked.max()) == (named[named >= 2_000 + 1_024][0], named[-1])
    assert np.diff(np.sort(asked)).max() < 1.1 * (asked.max() - asked.min()) / 49
    for count in (4, 8, 16):  # the first places, however many, are spread as well
        assert np.diff(np.sort([0, *asked[:count], 60_000])).max() < 2.6 * 60_000 / count
    for context in (1, 8, 100, 1_024):
        tokens, given, blocks = targets.windows(context)
        assert (given, blocks) == (context, 1)
        np.testing.assert_array_equal(tokens, asked[:, None] + np.arange(-context, 1))


def test_too_few_named_targets_are_refused():
    named = np.arange(20, 520, 10)  # 50 of them
    whole = named_targets(STREAM, named, 100, 200)
    assert sorted(whole.places) == list(range(200, 520, 10))  # all that there are, 32
    few = named_targets(STREAM, named, 3, 480)
    assert len(few.places) == 3
    with pytest.raises(DataError, match="31 targets have 201 tokens before them in the held-out part, expected 32"):
        named_targets(STREAM, named, 100, 201)
    with pytest.raises(DataError, match="2 targets have 500 tokens before them in the held-out part, expected 3"):
        named_targets(STREAM, named, 3, 500)
