"""How sequence models and encoder-decoders are fed and evaluated, against models whose losses are known.

In these data a token says where it comes from, so that a batch shows what it was made of. Images:
test_workloads_images.py.
"""

from math import log
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lengthscale.bench.data import Stream
from lengthscale.bench.data.synthetic import Batch, generator, parse_task
from lengthscale.bench.data.targets import held_out_targets
from lengthscale.bench.device.workloads import pairs, scored, text, workload_on
from lengthscale.bench.device.workloads.base import fill
from lengthscale.bench.plan.settings import Settings
from lengthscale.models import Interface, build
from lengthscale.models.base import State
from tests.helpers.compare import assert_close
from tests.helpers.workloads import SURE, Constant, caller, cell, check_training_batches, first_batches, sure_loss

SETTINGS = Settings(contexts=(1, 4, 16), targets=256, windows=5, eval_tokens=32, least_sequences=3)
RUN, PLACES_READ = 8, 32  # targets in a row, and places, of so few targets


# A sequence model on a stream

PLACES = Stream("places", np.arange(200, dtype=np.uint16), 200, "version", split=(100, 130))


def test_the_papers_sizes_have_their_vocabulary_where_the_data_have_fewer_tokens():
    for module in (text, pairs):
        sizes = {size: module.Workload(cell(16, size=size), PLACES).interface.vocab for size in ("90m", "130m", "370m")}
        assert sizes == {"90m": 200, "130m": 50_257, "370m": 50_257}
    many = Stream("many", np.zeros(200, np.int32), 60_000, "version", split=(100, 130))
    assert text.Workload(cell(16, size="130m"), many).interface.vocab == 60_000


class Successor:
    """Says token + 1, from the `start`-th input on and of tokens from `first` on; else it has no opinion.

    Its state counts the inputs.
    """

    def __init__(self, start, first=0):
        self.start, self.first = start, first

    def init_state(self, batch, capacity):
        return State(jnp.int32(0), ())

    def __call__(self, inputs, state=None):
        position = 0 if state is None else state.position
        at = position + jnp.arange(inputs.shape[1])
        knows = (at >= self.start) & (inputs >= self.first)
        logits = SURE * jax.nn.one_hot((inputs + 1) % 200, 200) * knows[..., None]
        return logits, State(jnp.int32(position + inputs.shape[1]), ())

    features = __call__  # which are the logits already

    def logits(self, x):
        return x


def test_text_is_read_from_its_parts():
    tokens = check_training_batches(lambda seed: text.Workload(cell(seed=seed), PLACES))
    assert (tokens.min(), tokens.max()) == (0, 98)  # the last input's target is token 99
    workload = text.Workload(cell(), PLACES)
    assert workload.interface == Interface(vocab=200)
    for inputs, targets in [workload.example(), *first_batches(workload)]:
        np.testing.assert_array_equal(inputs, inputs[:, :1] + np.arange(12))
        np.testing.assert_array_equal(targets, inputs + 1)
    held_out = workload.last_scored(5)
    np.testing.assert_array_equal(held_out.inputs[[0, -1]][:, [0, -1]], [[130, 141], [187, 198]])
    np.testing.assert_array_equal(held_out.targets, held_out.inputs + 1)
    assert (held_out.weights == 1).all()
    (prompt,) = workload.prompt()
    np.testing.assert_array_equal(prompt, prompt[:, :1] + np.arange(12))
    assert (prompt[0, 0], prompt[-1, -1]) == (0, 199)  # where the time is measured, all is allowed


def test_every_context_has_the_same_targets():
    targets = held_out_targets(PLACES, SETTINGS.targets, max(SETTINGS.contexts))
    scored_tokens = []
    for context in SETTINGS.contexts:
        batch = text.scored_windows(targets.windows(context))
        at = batch.weights == 1
        assert ((batch.weights == 0) | at).all()
        assert (at.argmax(1) == context - 1).all()  # so many tokens are known when the first target is asked for
        assert batch.inputs.min() >= 130
        np.testing.assert_array_equal(batch.targets, batch.inputs + 1)
        scored_tokens.append(batch.targets[at])
    np.testing.assert_array_equal(scored_tokens, [scored_tokens[0]] * 3)
    assert len(scored_tokens[0]) == 256


def test_figures_of_a_stream():
    rows = [
        each.columns for each in text.Workload(cell(), PLACES).evaluate(caller(Successor(start=8, first=130)), SETTINGS)
    ]
    before, after = log(200), sure_loss(200)
    # Whether the 8th input has been read when a target is asked for; of 12 inputs, the first 8 are cold.
    points = (("context", 1, 1.0), ("context", 4, 1.0), ("context", 16, 0.0), ("eval_length", 12, 8 / 12))
    for row, (key, value, cold) in zip(rows, points, strict=True):
        assert row[key] == value
        assert row["n_sequences"] == (PLACES_READ if key == "context" else 5)
        assert row.get("n_targets") == (256 if key == "context" else None)
        loss = cold * before + (1 - cold) * after
        assert [row["loss"], row["loss_low"], row["loss_high"]] == pytest.approx([loss] * 3, rel=1e-6)
        assert row["accuracy"] == pytest.approx(1 - cold)  # of no opinion: class 0, never a target here


def test_a_model_with_a_table_of_positions_is_read_as_far_as_the_table_reaches():
    workload = text.Workload(cell(5, model="transformer"), PLACES)
    rows = [each.columns for each in workload.evaluate(caller(Successor(start=0)), SETTINGS)]
    assert [row.get("context") for row in rows] == [1, 4, None]
    assert workload_on(cell(5, model="transformer"), PLACES, room=3).interface.positions == 8
    assert workload_on(cell(5, model="gru"), PLACES, room=3).interface == Interface(vocab=200)


@pytest.mark.parametrize("chunk", [0, 4])
def test_the_loss_of_a_stream(chunk):
    workload = text.Workload(cell(chunk=chunk), PLACES)
    loss = jax.jit(lambda *batch: workload.loss(Successor(start=5), *batch))(*workload.example())
    assert float(loss) == pytest.approx((5 * log(200) + 7 * sure_loss(200)) / 12, rel=1e-6)


# An encoder-decoder on a stream


class Continues:
    """Says token + 1 of the decoder's inputs where the source's last token is the first of them, and asserts it is."""

    def teach(self, source, targets, lengths=None):
        follows = (source[:, -1] == targets[:, 0])[:, None, None]
        return SURE * jax.nn.one_hot(targets + 1, 200) * follows


@pytest.mark.parametrize(("length", "source"), [(12, 6), (7, 4), (1, 1)])
def test_pairs_are_the_halves_of_a_window(length, source):
    windows = check_training_batches(lambda seed: pairs.Workload(cell(length, seed=seed), PLACES))
    assert (windows.min() < 5, windows.max() <= 99) == (True, True)
    workload = pairs.Workload(cell(length), PLACES)
    assert (workload.source, workload.interface) == (source, Interface(vocab=200))
    given = []

    class Listens(Continues):
        def teach(self, source, targets, lengths=None):
            given.append((source, targets))
            return super().teach(source, targets, lengths)

    (window,) = workload.example()
    assert float(cast(Any, workload.loss(Listens(), window))) == pytest.approx(sure_loss(200), rel=1e-6)
    np.testing.assert_array_equal(given[0][0], window[:, :source])
    np.testing.assert_array_equal(given[0][1], window[:, source - 1 : -1])
    assert window.shape == (4, length + 1)


def test_figures_of_pairs():
    sources = []

    class Doubts(Continues):
        """Right but for targets that can be divided by three, which it takes for token 0."""

        def teach(self, source, targets, lengths=None):
            sources.append(source.shape)
            logits = (
                super().teach(source, targets, lengths) * (targets >= 130)[..., None]
            )  # no opinion on training data
            return jnp.where(((targets + 1) % 3 == 0)[..., None], SURE * jax.nn.one_hot(0, 200), logits)

    rows = [each.columns for each in pairs.Workload(cell(), PLACES).evaluate(caller(Doubts()), SETTINGS)]
    assert sources == [(256, 1), (256, 4), (128, 16)]
    tokens = text.scored_windows(
        held_out_targets(PLACES, SETTINGS.targets, max(SETTINGS.contexts)).windows(1)
    )  # as a sequence model's
    wrong = (tokens.targets[tokens.weights == 1] % 3 == 0).mean()
    for row, context in zip(rows, (1, 4, 16), strict=True):
        assert row["context"] == context
        assert row["loss"] == pytest.approx(
            wrong * sure_loss(200, right=False) + (1 - wrong) * sure_loss(200), rel=1e-6
        )
        assert row["accuracy"] == pytest.approx(1 - wrong)


def test_a_prefill_of_pairs_reads_both_halves():
    workload = pairs.Workload(cell(7, 2, model="seq2seq-gru"), PLACES)
    (window,) = workload.prompt()

    @jax.jit
    def both(window):
        model: Any = build("seq2seq-gru", size="tiny", interface=Interface(200), rngs=nnx.Rngs(0))
        return *workload.prefill(model, window), model.teach(window[:, :4], window[:, 4:])

    outputs, state, taught = both(window)
    assert_close(outputs, taught[:, -1], 1e-6)
    assert int(state.position) == 3


def test_pairs_have_no_gradients_to_follow():
    with pytest.raises(NotImplementedError, match="no single sequence of inputs"):
        pairs.Workload(cell(), PLACES).last_scored(2)


# A sequence model on a synthetic task


def test_a_task_is_drawn_from_its_parts():
    task = parse_task("copy:symbols=3,alphabet=4")
    length = task.min_length + 2

    def make(seed):
        return scored.Workload(cell(length, seed=seed, data=str(task)), task)

    check_training_batches(make)
    assert make(0).interface == task.interface
    rng = generator(0, "train")
    for inputs, targets, weights in first_batches(make(0), 3):
        drawn = task.batch(rng, 4, length)
        for mine, expected in ((inputs, drawn.inputs), (targets, drawn.targets), (weights, drawn.weights)):
            np.testing.assert_array_equal(mine, expected)
    held_out = make(0).last_scored(4)
    np.testing.assert_array_equal(held_out.inputs, task.batch(generator(0, "held_out"), 4, length).inputs)
    assert not np.array_equal(held_out.inputs, make(0).example()[0])


def test_figures_of_a_task():
    task = parse_task("parity")
    classes = task.interface.outputs or 2
    favourite = [SURE] + [0.0] * (classes - 1)
    rows = [
        each.columns
        for each in scored.Workload(cell(8, data="parity"), task).evaluate(caller(Constant(favourite)), SETTINGS)
    ]
    for row, (length, sequences) in zip(rows, ((8, 4), (16, 3), (32, 3)), strict=True):
        assert (row["eval_length"], row["n_sequences"]) == (length, sequences)
        drawn = task.batch(generator(0, "held_out"), sequences, length)
        right = np.average(drawn.targets == 0, weights=drawn.weights)
        assert row["accuracy"] == pytest.approx(right)
        loss = right * sure_loss(classes) + (1 - right) * sure_loss(classes, right=False)
        assert row["loss"] == pytest.approx(loss, rel=1e-6)
        assert (row["chance_loss"], row["chance_accuracy"]) == (task.chance_loss(length), task.chance_accuracy(length))


def test_a_task_is_also_scored_with_more_and_fewer_items():
    task = parse_task("mqar:pairs=4,vocab=32")
    settings = Settings(eval_factors=(1,), eval_tokens=10_000)
    workload = scored.Workload(cell(40, data=str(task)), task)
    rows = [each.columns for each in workload.evaluate(caller(Constant(np.zeros(32))), settings)]
    # Of 40 steps 10 pairs are the most, and of 15 keys too; chance is a guess among the 16 values.
    assert [(row["eval_length"], row.get("n_items")) for row in rows] == [
        (40, None),
        (40, 1),
        (40, 2),
        (40, 4),
        (40, 8),
    ]
    for row in rows:
        assert row["loss"] == pytest.approx(log(32))
        assert row["chance_accuracy"] == 1 / 16


def test_figures_of_a_regression_at_lengths_that_were_asked_for():
    task = parse_task("adding")
    settings = Settings(eval_lengths=(1, 20), eval_tokens=1, least_sequences=6)
    (row,) = (
        each.columns
        for each in scored.Workload(cell(10, data="adding"), task).evaluate(caller(Constant([1.0])), settings)
    )
    drawn = task.batch(generator(0, "held_out"), 6, 20)  # length 1 does not hold two numbers
    error = (drawn.weights * (1 - drawn.targets) ** 2).sum(1) / drawn.weights.sum(1)
    assert (row["eval_length"], row["n_sequences"]) == (20, 6)
    assert row["loss"] == pytest.approx(error.mean(), rel=1e-5)
    assert "accuracy" not in row
    workload = scored.Workload(cell(10, data="adding"), task)
    inputs, targets, weights = workload.example()
    loss = cast(Any, workload.loss(Constant([1.0]), inputs, targets, weights))
    assert float(loss) == pytest.approx((weights * (1 - targets) ** 2).sum() / weights.sum(), rel=1e-5)


def test_a_task_that_does_not_score_its_last_step_has_no_gradients():
    class Early:
        interface, regression = Interface(vocab=2), False

        def batch(self, rng, batch, length):
            weights = np.ones((batch, length), np.float32)
            weights[-1, -1] = 0
            return Batch(np.zeros((batch, length), np.int32), np.zeros((batch, length), np.int32), weights)

    with pytest.raises(NotImplementedError, match="does not score the last step"):
        scored.Workload(cell(), cast(Any, Early())).last_scored(3)


# States to decode from


def test_a_filled_state_leaves_integers_alone():
    layers = {
        "length": jnp.arange(5),
        "real": jnp.zeros((2, 1000), jnp.bfloat16),
        "other": jnp.zeros((2, 1000), jnp.bfloat16),
        "complex": jnp.zeros((1000,), jnp.complex64),
    }
    state = fill(State(jnp.int32(0), layers), 7, jax.random.key(0))
    assert int(state.position) == 7
    filled = state.layers
    np.testing.assert_array_equal(filled["length"], np.arange(5))
    assert {name: x.dtype for name, x in filled.items()} == {name: x.dtype for name, x in layers.items()}
    for each in (*(filled[name].astype(np.float32) for name in ("real", "other")), *_parts(filled["complex"])):
        assert (float(each.min()) < -0.95, float(each.max()) > 0.95) == (True, True)
        assert -1 <= float(each.min()) < float(each.max()) <= 1
    assert not np.array_equal(filled["real"], filled["other"])
    assert not np.array_equal(*_parts(filled["complex"]))


def _parts(x):
    return x.real, x.imag


@pytest.mark.parametrize("model", ["gru", "transformer", "seq2seq-gru", "transformer-encdec"])
def test_a_full_state_has_room_for_one_step_more(model):
    encoder = model in ("seq2seq-gru", "transformer-encdec")
    workload = (pairs if encoder else text).Workload(cell(7, 2, model=model), PLACES)

    @jax.jit
    def run(key):
        module = build(model, size="tiny", interface=Interface(200), rngs=nnx.Rngs(0))
        state = workload.full_state(module, key)
        outputs, after = module(jnp.asarray(workload.prompt()[0][:, :1]), state)
        return state, outputs, after

    state, outputs, after = run(jax.random.key(1))
    room = 3 if encoder else 7  # of seven tokens the source has four
    assert (int(state.position), int(after.position)) == (room - 1, room)
    jax.tree.map(np.testing.assert_array_equal, run(jax.random.key(1))[0], state)
    others = [
        (x, y) for x, y in zip(*map(jax.tree.leaves, (state.layers, run(jax.random.key(2))[0].layers)), strict=True)
    ]
    assert all(not np.array_equal(x, y) for x, y in others if x.dtype.kind == "f")
    assert np.isfinite(outputs).all()
    if model == "transformer":  # a cache of just the cell's length
        assert {x.shape[-2] for x in jax.tree.leaves(state.layers)} == {7}
