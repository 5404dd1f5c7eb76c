"""How each kind of model is fed and evaluated on each kind of data, against models whose losses are known.

In these data a token or a pixel says where it comes from, so that a batch shows what it was made of.
"""

import itertools
from math import exp, log
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from bench.cell import Cell
from bench.suites import Settings
from bench.tasks import Images, Stream
from bench.tasks.synthetic import Batch, generator, parse_task
from bench.workloads import pairs, pictures, pixels, scored, text
from bench.workloads.base import fill, side_of
from models import Interface, build
from models.base import State

SURE = 3.0  # the logit of the hand-made models' answer; the others' is 0
SETTINGS = Settings(contexts=(1, 4, 16), target_tokens=8, windows=5, eval_tokens=32, least_sequences=3)


def cell(length=12, batch=4, seed=0, model="gru", data="text", chunk=0) -> Cell:
    return Cell("quality", model, "tiny", "auto", length, batch, "float32", chunk, data, seed)


def sure_loss(classes: int, right=True) -> float:
    """Of a model that gives one class the logit SURE."""
    return log(exp(SURE) + classes - 1) - (SURE if right else 0)


def first_batches(workload, n=40):
    return list(itertools.islice(workload.training_batches(), n))


def check_training_batches(make) -> np.ndarray:
    """The same for a seed, others for another one; all of the first arrays."""
    batches, again, others = (first_batches(make(seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, batches, again)
    assert not np.array_equal(batches[0][0], batches[1][0])
    assert not np.array_equal(batches[0][0], others[0][0])
    jax.tree.map(np.testing.assert_array_equal, make(0).example(), make(0).example())
    jax.tree.map(np.testing.assert_array_equal, make(0).prompt(), make(0).prompt())
    return np.stack([batch[0] for batch in batches])


# A sequence model on a stream

PLACES = Stream("places", np.arange(200, dtype=np.uint16), 200, "version", split=(100, 130))


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


def caller(model):
    """What TrainedModel.call is: here of a hand-made model."""
    return lambda function, *args: jax.jit(lambda *args: function(model, *args))(*args)


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
    scored_tokens = []
    for context in SETTINGS.contexts:
        batch = text.context_batch(PLACES.held_out, context, SETTINGS)
        at = batch.weights == 1
        assert (at.sum(1) == SETTINGS.target_tokens).all()
        assert ((batch.weights == 0) | at).all()
        assert (at.argmax(1) == context - 1).all()  # so many tokens are known when the first target is asked for
        assert batch.inputs.min() >= 130
        np.testing.assert_array_equal(batch.targets, batch.inputs + 1)
        scored_tokens.append(batch.targets[at])
    np.testing.assert_array_equal(scored_tokens, [scored_tokens[0]] * 3)
    assert len(np.unique(scored_tokens[0])) > SETTINGS.target_tokens  # windows lie in several places


def test_figures_of_a_stream():
    rows = list(text.Workload(cell(), PLACES).evaluate(caller(Successor(start=8, first=130)), SETTINGS))
    before, after = log(200), sure_loss(200)
    # Of 8 targets after 1, 4 or 16 tokens, or of 12 without any before: so many are asked for before the 8th input.
    for row, (key, value), cold, count in zip(
        rows,
        (("context", 1), ("context", 4), ("context", 16), ("eval_length", 12)),
        (8, 5, 0, 8),
        (8, 8, 8, 12),
        strict=True,
    ):
        assert row[key] == value
        assert row["n_sequences"] == 5
        loss = (cold * before + (count - cold) * after) / count
        assert [row["loss"], row["loss_low"], row["loss_high"]] == pytest.approx([loss] * 3, rel=1e-6)
        assert row["accuracy"] == pytest.approx((count - cold) / count)  # of no opinion: class 0, never a target here


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
            logits = super().teach(source, targets, lengths)
            return jnp.where(((targets + 1) % 3 == 0)[..., None], SURE * jax.nn.one_hot(0, 200), logits)

    rows = list(pairs.Workload(cell(), PLACES).evaluate(caller(Doubts()), SETTINGS))
    assert sources == [(5, 1), (5, 4), (5, 16)]
    tokens = text.context_batch(PLACES.held_out, 1, SETTINGS)  # scored on just what a sequence model is scored on
    wrong = (tokens.targets[tokens.weights == 1] % 3 == 0).mean()
    for row, context in zip(rows, (1, 4, 16), strict=True):
        assert row["context"] == context
        assert row["loss"] == pytest.approx(
            wrong * sure_loss(200, right=False) + (1 - wrong) * sure_loss(200), rel=1e-6
        )
        assert row["accuracy"] == pytest.approx(1 - wrong)


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


class Constant:
    """The same outputs at every step."""

    def __init__(self, outputs):
        self.outputs = jnp.asarray(outputs, jnp.float32)

    def init_state(self, batch, capacity):
        return State(jnp.int32(0), ())

    def __call__(self, inputs, state=None):
        return jnp.broadcast_to(self.outputs, (*inputs.shape[:2], *self.outputs.shape)), state


def test_figures_of_a_task():
    task = parse_task("parity")
    classes = task.interface.outputs or 2
    favourite = [SURE] + [0.0] * (classes - 1)
    rows = list(scored.Workload(cell(8, data="parity"), task).evaluate(caller(Constant(favourite)), SETTINGS))
    for row, (length, sequences) in zip(rows, ((8, 4), (16, 3), (32, 3)), strict=True):
        assert (row["eval_length"], row["n_sequences"]) == (length, sequences)
        drawn = task.batch(generator(0, "held_out"), sequences, length)
        right = np.average(drawn.targets == 0, weights=drawn.weights)
        assert row["accuracy"] == pytest.approx(right)
        loss = right * sure_loss(classes) + (1 - right) * sure_loss(classes, right=False)
        assert row["loss"] == pytest.approx(loss, rel=1e-6)
        assert (row["chance_loss"], row["chance_accuracy"]) == (task.chance_loss(length), task.chance_accuracy(length))


def test_figures_of_a_regression_at_lengths_that_were_asked_for():
    task = parse_task("adding")
    settings = Settings(eval_lengths=(1, 20), eval_tokens=1, least_sequences=6)
    (row,) = scored.Workload(cell(10, data="adding"), task).evaluate(caller(Constant([1.0])), settings)
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


# Images

SIDE = 4


def numbered(count: int, first: int) -> np.ndarray:
    """Images whose top left pixel is their number and whose others count on from their place."""
    pixels = np.tile(np.arange(SIDE * SIDE, dtype=np.uint8).reshape(1, SIDE, SIDE, 1), (count, 1, 1, 3))
    pixels[:, 0, 0] = first + np.arange(count)[:, None]
    return pixels


TRAIN, HELD_OUT = numbered(60, 0), numbered(41, 100)
SET = Images(
    "set",
    TRAIN,
    TRAIN[:, 0, 0, 0] % np.int32(5),
    HELD_OUT,
    HELD_OUT[:, 0, 0, 0] % np.int32(5),
    tuple("abcde"),
    "version",
)


def test_images_as_pixels_are_read_from_their_parts():
    inputs = check_training_batches(lambda seed: pixels.Workload(cell(16, seed=seed, data="set"), SET))
    numbers = np.rint(inputs * 255)[..., 0, :]
    assert numbers.max() < 60
    assert len(np.unique(numbers)) > 40
    workload = pixels.Workload(cell(16, data="set"), SET)
    assert workload.interface == Interface(features=3, outputs=5)
    for inputs, targets, weights in first_batches(workload, 3):
        np.testing.assert_allclose(inputs[:, 1:, 1] * 255, np.tile(np.arange(1, 16), (4, 1)), rtol=1e-6)  # row by row
        np.testing.assert_array_equal(targets[:, -1], np.rint(inputs[:, 0, 0] * 255) % 5)
        np.testing.assert_array_equal(weights, np.eye(16)[[-1] * 4])
    held_out = workload.last_scored(7)
    np.testing.assert_array_equal(np.rint(held_out.inputs[:, 0, 2] * 255), np.arange(100, 107))
    np.testing.assert_array_equal(held_out.targets[:, -1], np.arange(100, 107) % 5)


class SaysFirstPixel:
    """The class that the first pixel's number gives, after the last pixel; it remembers it in its state."""

    def init_state(self, batch, capacity):
        return State(jnp.int32(0), jnp.zeros(batch))

    def __call__(self, inputs, state):
        number = jnp.where(state.position == 0, inputs[:, 0, 0] * 255, state.layers)
        right = jnp.rint(number).astype(int) % 5
        logits = SURE * jax.nn.one_hot(jnp.where(right == 4, 0, right), 5)  # but for class 4
        return jnp.broadcast_to(logits[:, None], (*inputs.shape[:2], 5)), State(state.position + 1, number)


def test_figures_of_images_as_pixels():
    settings = Settings(eval_tokens=16 * 20)
    (row,) = pixels.Workload(cell(16, data="set"), SET).evaluate(caller(SaysFirstPixel()), settings)
    assert (row["eval_length"], row["n_sequences"]) == (16, 20)
    assert row["accuracy"] == pytest.approx(0.8)  # numbers 100 ... 119
    assert row["loss"] == pytest.approx(0.8 * sure_loss(5) + 0.2 * sure_loss(5, right=False), rel=1e-6)
    (row,) = pixels.Workload(cell(4, data="set"), SET).evaluate(
        caller(Constant([0.0] * 5)), Settings(eval_tokens=10**6)
    )
    assert row["n_sequences"] == len(HELD_OUT)
    assert row["loss"] == pytest.approx(log(5), rel=1e-6)
    assert row["accuracy"] == pytest.approx((HELD_OUT[:, 0, 0, 0] % 5 == 0).mean())


def test_images_are_read_from_their_parts():
    images = check_training_batches(lambda seed: pictures.Workload(cell(1, 8, seed=seed, data="set"), SET))
    numbers = np.rint((images + 1) * 127.5)[..., 0, 0, :]
    assert numbers.max() < 60
    assert len(np.unique(numbers)) == 60
    workload = pictures.Workload(cell(1, data="set"), SET)
    assert workload.interface == Interface(features=3, outputs=5, side=4)
    images, labels = workload.example()
    np.testing.assert_array_equal(np.rint((images[:, 0, 0, 0] + 1) * 127.5) % 5, labels)
    assert workload.scaled(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1).repeat(3, -1))[:, 0, 0, 0].tolist() == [
        -1,
        1,
    ]
    assert pictures.Workload(cell(9, data="set"), SET).example()[0].shape == (4, 12, 12, 3)
    with pytest.raises(NotImplementedError, match="does not decode"):
        workload.full_state(None, jax.random.key(0))
    with pytest.raises(NotImplementedError, match="no last step"):
        workload.last_scored(2)


def test_figures_of_images(monkeypatch):
    monkeypatch.setattr(pictures, "AT_ONCE", 16)
    sizes = []

    def classify(images, *, train=False):
        assert not train
        sizes.append(len(images))
        right = jnp.rint((images[:, 0, 0, 0] + 1) * 127.5).astype(int) % 5
        return SURE * jax.nn.one_hot(jnp.where(right == 4, 0, right), 5)

    workload = pictures.Workload(cell(1, data="set"), SET)
    (row,) = workload.evaluate(lambda function, *args: function(classify, *args), Settings())
    assert sizes == [16, 16, 9]
    wrong = (HELD_OUT[:, 0, 0, 0] % 5 == 4).mean()
    assert (row["eval_length"], row["n_sequences"]) == (1, 41)
    assert row["accuracy"] == pytest.approx(1 - wrong)
    assert row["loss"] == pytest.approx((1 - wrong) * sure_loss(5) + wrong * sure_loss(5, right=False), rel=1e-6)


@pytest.mark.parametrize("length", [1, 4, 65_536])
def test_squares_have_a_side(length):
    assert side_of(length) ** 2 == length


@pytest.mark.parametrize(("length", "nearest"), [(2, [1, 4]), (3, [4, 1]), (10, [9, 16]), (15, [16, 9])])
def test_other_lengths_have_none(length, nearest):
    with pytest.raises(NotImplementedError) as caught:
        side_of(length)
    assert str(caught.value) == f"images are square: {length} is not; the nearest lengths are {nearest}"
    for workload in (pixels.Workload, pictures.Workload):
        with pytest.raises(NotImplementedError, match="images are square"):
            workload(cell(length, data="set"), SET)


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
        module = build(model, size="tiny", vocab=200, rngs=nnx.Rngs(0))
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
