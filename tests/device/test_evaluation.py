"""Losses at exact contexts: padded programs, and curves of streams whose truth is known."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lengthscale.bench.data import Stream, keyed, planted
from lengthscale.bench.data.synthetic import Batch
from lengthscale.bench.device import evaluation
from lengthscale.bench.device.evaluation import padded, padded_lengths, score, score_many
from lengthscale.bench.device.workloads import text
from lengthscale.bench.plan.settings import Settings
from lengthscale.models import build
from lengthscale.models.base import State
from tests.helpers.workloads import caller, cell


def test_lengths_are_padded_to_few_and_never_too_far():
    assert padded_lengths([1, 2, 4, 8, 17, 35, 71, 143, 287, 575, 1087]) == [8] * 4 + [71] * 3 + [1087] * 4
    assert padded_lengths([16_447, 4_159, 4_000, 500, 499]) == [16_447, 4_159, 4_000, 4_000, 499]
    assert padded_lengths([5, 5]) == [5, 5]


def test_padding_changes_no_score():
    rng = np.random.default_rng(0)
    model = jax.jit(lambda: build("gru", size="tiny", rngs=nnx.Rngs(0)))()
    batches = []
    for rows, length in ((6, 3), (4, 11), (2, 20), (2, 40)):
        inputs, targets = rng.integers(0, 256, (2, rows, length)).astype(np.int32)
        weights = (rng.random((rows, length)) < 0.7).astype(np.float32)
        weights[:, -1] = 1
        batches.append(Batch(inputs, targets, weights))
    assert padded(batches[0], 5).inputs[:, 3:].tolist() == [[0, 0]] * 6
    for batch, (loss, accuracy) in zip(batches, score_many(caller(model), batches), strict=True):
        alone = score(caller(model), batch)
        np.testing.assert_allclose(loss, alone[0], rtol=1e-5)
        np.testing.assert_array_equal(accuracy, alone[1])


def test_batches_are_read_in_parts_of_equal_shape(monkeypatch):
    monkeypatch.setattr(evaluation, "AT_ONCE", 64)
    shapes = set()

    def call(function, inputs, targets, weights):
        shapes.add(inputs.shape)
        return jnp.ones((3, len(inputs)))

    rows = [(48, 2), (24, 4), (12, 16), (6, 16)]
    zeros = [np.zeros(shape, np.int32) for shape in rows]
    batches = [Batch(each, each, np.ones(each.shape, np.float32)) for each in zeros]
    assert [len(loss) for loss, _ in score_many(call, batches)] == [48, 24, 12, 6]
    assert shapes == {(3, 16)}  # all are padded to 16; of 48, 24, 12 and 6 rows, 3 at a time take 48 positions


class Oracle:
    """Knows the Markov chain's next token as well as the last `order` tokens that it has read tell.

    tables: for each number of known tokens 0 ... order, the log probabilities, (V ** number, V). Its state is the
    number of tokens read, and the last ones.
    """

    def __init__(self, tables, order, vocab):
        self.tables, self.order, self.vocab = tables, order, vocab

    def init_state(self, batch, capacity):
        return State(jnp.int32(0), jnp.zeros((batch, self.order), jnp.int32))

    def __call__(self, inputs, state=None):
        assert state is not None
        whole = jnp.concatenate([state.layers, inputs], axis=1)
        length = inputs.shape[1]
        position = state.position + 1 + jnp.arange(length)
        logits = jnp.zeros((*inputs.shape, self.vocab))
        for known in range(1, self.order + 1):
            parts = [whole[:, self.order - back : self.order - back + length] for back in range(known)]
            code = sum(part * self.vocab**back for back, part in enumerate(parts))
            here = (jnp.minimum(position, self.order) == known)[None, :, None]
            logits = jnp.where(here, self.tables[known][code], logits)
        return logits, State(state.position + length, whole[:, -self.order :])


def markov(order, vocab=3, length=120_000):
    """(a stream, its tables): a Markov chain of this order, whose transitions are far from uniform."""
    rng = np.random.default_rng(order)
    p = rng.dirichlet(np.full(vocab, 0.25), vocab**order)
    tokens, code = np.zeros(length, np.uint8), 0
    steps = p.cumsum(1)
    for at, u in enumerate(rng.random(length)):
        tokens[at] = min(vocab - 1, np.searchsorted(steps[code], u))
        code = (code * vocab + tokens[at]) % vocab**order
    tables = []
    for known in range(order + 1):
        counts = np.ones((vocab**known, vocab))
        codes: Any = sum(
            tokens[known - 1 - back : length - 1 - back].astype(int) * vocab**back for back in range(known)
        )
        np.add.at(counts, (codes if known else np.zeros(length, int), tokens[known:].astype(int)), 1)
        tables.append(jnp.asarray(np.log(counts / counts.sum(1, keepdims=True)), jnp.float32))
    return Stream(f"markov-{order}", tokens, vocab, "v"), tables


@pytest.mark.parametrize("order", [1, 3])
def test_the_curve_of_a_markov_chain_falls_up_to_its_order_and_is_flat_beyond(order):
    stream, tables = markov(order)
    settings = Settings(contexts=(1, 2, 3, 4, 8, 64, 256), targets=8_192)
    rows = list(text.Workload(cell(64), stream).evaluate(caller(Oracle(tables, order, 3)), settings))
    losses = {each.columns["context"]: np.array(each.place_losses) for each in rows if "context" in each.columns}
    beyond = losses[256]
    for context, mine in losses.items():
        apart = mine - beyond
        error = apart.std() / len(apart) ** 0.5
        if context >= order:
            np.testing.assert_allclose(apart, 0, atol=1e-5)
        else:
            assert apart.mean() > 5 * error > 0
    last = next(each.columns for each in rows if each.columns.get("context") == 256)
    assert last["n_targets"] == 8_192
    assert last["loss_low"] < entropy(tables[order], stream, order) < last["loss_high"]
    assert math.isclose(last["loss"], beyond.mean(), rel_tol=1e-5)


def entropy(table, stream, order):
    """The mean loss of all tokens under the chain itself, nats a token."""
    tokens = stream.tokens.astype(int)
    codes = sum(tokens[order - 1 - back : len(tokens) - 1 - back] * 3**back for back in range(order))
    return -float(np.asarray(table)[codes, tokens[order:]].mean())


class Repeats:
    """Knows of planted repeats that the token of `distance` before is likely to come again, once it has read it."""

    def __init__(self, distance):
        self.distance, self.vocab = distance, planted.VALUES * distance

    def init_state(self, batch, capacity):
        return State(jnp.int32(0), jnp.zeros((batch, self.distance), jnp.int32))

    def __call__(self, inputs, state=None):
        assert state is not None
        whole = jnp.concatenate([state.layers, inputs], axis=1)
        length = inputs.shape[1]
        phase = (inputs // planted.VALUES + 1) % self.distance  # of the next token
        possible = jnp.arange(self.vocab) // planted.VALUES == phase[..., None]
        before = whole[:, 1 : 1 + length]
        again = (jnp.arange(self.vocab) == before[..., None]) & (
            state.position + jnp.arange(length) + 1 >= self.distance
        )[None, :, None]
        same = planted.REPEAT + (1 - planted.REPEAT) / planted.VALUES
        logits = jnp.where(possible, jnp.log((1 - same) / (planted.VALUES - 1)), -jnp.inf)
        known = again.any(-1, keepdims=True)
        logits = jnp.where(again, jnp.log(same), jnp.where(known | ~possible, logits, -jnp.log(planted.VALUES)))
        return jnp.maximum(logits, -1e9), State(state.position + length, whole[:, -self.distance :])


@pytest.mark.parametrize("distance", [16, 32])
def test_the_gain_of_planted_repeats_is_found_at_their_distance_and_not_before(distance):
    settings = Settings(contexts=(1, 8, distance - 1, distance, 64, 256), targets=2_048)
    workload = text.Workload(cell(64), planted.planted(distance))
    rows = list(workload.evaluate(caller(Repeats(distance)), settings))
    curve = {each.columns["context"]: each.columns for each in rows if "context" in each.columns}
    for context, columns in curve.items():
        last = context + max(1, context // 8) - 1  # tokens before the last target of a block
        if last < distance:
            assert columns["loss"] == pytest.approx(planted.CHANCE, abs=1e-4)
        elif context >= distance:
            assert columns["loss_low"] - 0.01 < planted.floor() < columns["loss_high"] + 0.01
    assert curve[64]["gain"] == pytest.approx(planted.CHANCE - planted.floor(), abs=0.06)
    assert abs(curve[256]["gain"]) < 1e-4  # from 64: nothing beyond the distance


class Keeper:
    """Answers with the last key that it has read, and does not know which where it has read none."""

    def init_state(self, batch, capacity):
        return State(jnp.int32(0), jnp.full((batch, 1), -1, jnp.int32))

    def __call__(self, inputs, state=None):
        assert state is not None
        whole = jnp.concatenate([state.layers, jnp.where(inputs < keyed.KEYS, inputs, -1)], axis=1)
        at = jax.lax.cummax(jnp.where(whole >= 0, jnp.arange(whole.shape[1]), 0), axis=1)  # of the last key
        key = jnp.take_along_axis(whole, at, axis=1)
        answers = jnp.arange(keyed.QUERY + 1) - keyed.KEYS
        possible = (answers >= 0) & (answers < keyed.KEYS)
        logits = jnp.where(possible & ((answers == key[:, 1:, None]) | (key[:, 1:, None] < 0)), 0.0, -1e9)
        return logits, State(state.position + inputs.shape[1], key[:, -1:])


def test_the_gain_of_kept_keys_is_found_between_a_quarter_of_their_distance_and_it():
    settings = Settings(contexts=(1, 16, 64, 128, 256, 300), targets=64 * 200)
    workload = text.Workload(cell(64), keyed.keyed(256))
    rows = list(workload.evaluate(caller(Keeper()), settings))
    losses = {each.columns["context"]: np.array(each.place_losses) for each in rows if "context" in each.columns}
    for context, loss in losses.items():
        assert len(loss) == 200
        np.testing.assert_allclose(loss[loss > 1e-6], keyed.CHANCE, rtol=1e-6)  # a target's is CHANCE, or 0
        if context <= 64:
            assert loss.min() > 1
        if context >= 256:
            assert loss.max() == 0
    assert np.mean(losses[128] == 0) == pytest.approx(0.66, abs=0.15)  # 1 / 65 - 1 / 129 of 1 / 65 - 1 / 257
    assert [each.columns["n_targets"] for each in rows if "context" in each.columns] == [200] * 6
