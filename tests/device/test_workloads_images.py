"""How images are fed and evaluated, as pixels and as pictures, against models whose losses are known.

In this set a pixel says which image it is of, so that a batch shows what it was made of.
"""

from math import log

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lengthscale.bench.data import Images
from lengthscale.bench.device.workloads import pictures, pixels
from lengthscale.bench.device.workloads.base import side_of
from lengthscale.bench.plan.settings import Settings
from lengthscale.models import Interface
from lengthscale.models.base import State
from tests.helpers.workloads import SURE, Constant, caller, cell, check_training_batches, first_batches, sure_loss

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
    (found,) = pixels.Workload(cell(16, data="set"), SET).evaluate(caller(SaysFirstPixel()), settings)
    row = found.columns
    assert (row["eval_length"], row["n_sequences"]) == (16, 20)
    assert row["accuracy"] == pytest.approx(0.8)  # numbers 100 ... 119
    assert row["loss"] == pytest.approx(0.8 * sure_loss(5) + 0.2 * sure_loss(5, right=False), rel=1e-6)
    (found,) = pixels.Workload(cell(4, data="set"), SET).evaluate(
        caller(Constant([0.0] * 5)), Settings(eval_tokens=10**6)
    )
    row = found.columns
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
    (row,) = (each.columns for each in workload.evaluate(lambda function, *args: function(classify, *args), Settings()))
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
