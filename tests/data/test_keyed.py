"""The stream of keys: its documents, that no context shorter than the distance says anything, and its targets."""

import numpy as np
import pytest

from lengthscale.bench.data import keyed
from lengthscale.bench.data.targets import held_out_targets
from tests.helpers.loading import refused, stream

DISTANCES = (64, 1_024, 16_384)


@pytest.fixture(scope="module", params=DISTANCES)
def planted(request):
    """(the distance, the stream, the position of each answer, its distance to its key)."""
    data = stream(f"keyed:distance={request.param}")
    keys, answers = np.flatnonzero(data.tokens < 4), np.flatnonzero((data.tokens >= 4) & (data.tokens < 8))
    return request.param, data, answers, answers - keys


def test_documents_are_a_key_fillers_a_query_and_its_answer(planted):
    distance, data, answers, apart = planted
    tokens = data.tokens
    assert data.vocab == 10 == tokens.max() + 1
    assert (apart.min(), keyed.LEAST) == (2, 2)
    assert distance * 0.9 < apart.max() <= distance
    np.testing.assert_array_equal(answers - apart, [0, *answers[:-1] + 1])  # a key follows the answer before it
    np.testing.assert_array_equal(tokens[answers], tokens[answers - apart] + 4)
    np.testing.assert_array_equal(np.flatnonzero(tokens == 9), answers - 1)
    assert np.count_nonzero(tokens == 8) == len(tokens) - 3 * len(answers)  # nothing else but fillers
    assert len(answers) > 2**24 / (distance + 1)
    assert 2**24 - distance <= len(tokens) <= 2**24


def test_every_doubling_of_the_distance_has_about_the_same_tokens(planted):
    """The law P(d >= n) says so, and the distances follow it within five standard errors."""
    distance, _, _, apart = planted
    at = np.arange(2, distance + 1)
    p = 1 / at - 1 / (at + 1)
    p /= p.sum()
    for low in (2, 8, distance // 4):
        share, expected = np.mean(apart > low), p[at > low].sum()
        assert share == pytest.approx(expected, abs=5 * (expected / len(apart)) ** 0.5)
    tokens = [(at * p)[(at > low) & (at <= 2 * low)].sum() for low in (8, distance // 4, distance // 2)]
    assert max(tokens) < 1.2 * min(tokens)


def test_nothing_nearer_than_the_key_tells_the_answer(planted):
    """Between the key and an answer there are fillers and the query alone; keys are uniform and independent."""
    distance, data, answers, apart = planted
    told = np.cumsum(data.tokens < 8)  # keys and answers
    np.testing.assert_array_equal(told[answers - 1] - told[answers - apart], 0)
    keys = data.tokens[answers].astype(int) - 4
    spread = 5 * (len(keys) * 3 / 16) ** 0.5
    np.testing.assert_allclose(np.bincount(keys), len(keys) / 4, atol=spread)
    np.testing.assert_allclose(np.bincount(4 * keys[1:] + keys[:-1]), len(keys) / 16, atol=spread)
    far = keys[apart > distance // 4]
    np.testing.assert_allclose(np.bincount(far), len(far) / 4, atol=5 * (len(far) * 3 / 16) ** 0.5)
    assert pytest.approx(np.log(4)) == keyed.CHANCE


def test_the_targets_are_the_far_answers_of_the_held_out_part(planted):
    distance, data, answers, apart = planted
    np.testing.assert_array_equal(data.scored, answers[apart > distance // 4])
    assert len(data.train) == 2**23
    longest = 4 * distance
    targets = held_out_targets(data, 64 * 100, longest)
    assert (targets.run, len(targets.places)) == (1, 100)
    assert len(np.unique(targets.places)) == 100
    assert np.isin(targets.places + 2**23, data.scored).all()
    assert targets.places.min() >= longest
    reach = dict(zip(answers.tolist(), apart.tolist(), strict=True))
    for context in (1, distance // 4, distance, longest):
        tokens, given, blocks = targets.windows(context)
        assert (tokens.shape, given, blocks) == ((100, context + 1), context, 1)
        for window, place in zip(tokens, targets.places + 2**23, strict=True):
            before = np.flatnonzero(window[:-1] < 4)  # keys in the window
            assert (len(before) > 0) == (context >= reach[place])
            assert not len(before) or window[before[-1]] == window[-1] - 4


def test_the_name_of_keyed_data():
    versions = [stream(name).version for name in ("keyed", "keyed:distance=1024", "keyed: distance = 1025")]
    assert versions[0] == versions[1] != versions[2]
    assert stream("keyed").name == "keyed:distance=1024"
    assert "distance must be from 4 to 65536, got 3" in refused("keyed:distance=3")
    assert "distance must be from 4 to 65536, got 65537" in refused("keyed:distance=65537")
    for wrong in ("keyed:", "keyed:keys=3", "keyed:distance=1k", "keyed:distance=9,part=validation"):
        assert "keyed has one option, written as keyed:distance=1024" in refused(wrong)
