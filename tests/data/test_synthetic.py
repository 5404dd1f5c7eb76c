"""Synthetic tasks: targets that follow from the inputs, the papers' distributions, chance and limits."""

import math
import tracemalloc

import numpy as np
import pytest

from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.synthetic import SYNTHETIC, generator, make_task, parse_task
from lengthscale.bench.data.synthetic.tracking import elements as elements_of
from tests.helpers.counts import uniform

MILLION = 1_048_576


# What each task means, written down once more: inputs of one sequence -> {scored position: what is to be said there}.


def solve_copy(task, inputs):
    blank, delimiter = task.alphabet, task.alphabet + 1
    symbols = [token for token in inputs if token < blank]
    assert [token for token in inputs if token == delimiter] == [delimiter]
    start = inputs.index(delimiter) + 1
    recall = {start + i: symbol for i, symbol in enumerate(symbols)}
    return recall if task.scored == "recall" else {t: recall.get(t, blank) for t in range(len(inputs))}


def solve_adding(task, inputs):
    return {len(inputs) - 1: sum(value for value, marked in inputs if marked)}


def solve_selective_copy(task, inputs):
    symbols = [token for token in inputs if 0 < token < task.vocab - 1]
    markers = [t for t, token in enumerate(inputs) if token == task.vocab - 1]
    return dict(zip(markers, symbols, strict=True))


def solve_induction(task, inputs):
    return {len(inputs) - 1: inputs[inputs.index(task.vocab - 1) + 1]}


def solve_mqar(task, inputs):
    context = inputs[: 2 * task.pairs]
    value_of = dict(zip(context[::2], context[1::2], strict=True))
    return {t: value_of[token] for t, token in enumerate(inputs) if t >= len(context) and token}


def solve_parity(task, inputs):
    said, state = {}, 0
    for t, bit in enumerate(inputs):
        said[t] = state = (state + bit) % 2
    return said if task.scored == "every" else {t: state}


def solve_a5(task, inputs):
    elements = [tuple(p) for p in elements_of(task.even).tolist()]
    said, state = {}, (0, 1, 2, 3, 4)
    for t, token in enumerate(inputs):
        state = tuple(elements[token][i] for i in state)
        said[t] = elements.index(state)
    return said if task.scored == "every" else {t: said[t]}


solve_s5 = solve_a5


CASES = [
    ("copy", 21), ("copy", 150), ("copy:scored=recall", 64), ("copy:symbols=1,alphabet=2", 3),
    ("adding", 2), ("adding", 3), ("adding", 101),
    ("selective_copy", 32), ("selective_copy", 257), ("selective_copy:symbols=3,vocab=4", 50),
    ("induction", 3), ("induction", 4), ("induction", 256), ("induction:vocab=3", 20),
    ("mqar", 16), ("mqar", 64), ("mqar:pairs=64", 513), ("mqar:pairs=3,vocab=8,power=1", 31), ("mqar:power=0", 97),
    ("parity", 1), ("parity", 77), ("parity:scored=last", 40),
    ("a5", 1), ("a5", 77), ("a5:scored=last", 40), ("s5", 33),
    ("a5:inputs=generators", 1), ("a5:inputs=generators", 77), ("s5:inputs=generators,scored=last", 40),
]  # fmt: skip


@pytest.mark.parametrize(("text", "length"), CASES)
def test_the_targets_follow_from_the_inputs_alone(text, length):
    task = parse_task(text)
    data = task.batch(generator(3), 16, length)
    solve = globals()[f"solve_{task.name}"]
    for inputs, targets, weights in zip(data.inputs, data.targets, data.weights, strict=True):
        said = solve(task, inputs.tolist())
        np.testing.assert_array_equal(np.flatnonzero(weights), sorted(said))
        assert set(weights.tolist()) <= {0.0, 1.0}
        expected = np.zeros(length)
        expected[list(said)] = list(said.values())
        np.testing.assert_allclose(targets, expected, rtol=1e-6)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_what_comes_out_fits_the_interface(name):
    task = SYNTHETIC[name]
    data = task.batch(generator(0), 3, 200)
    assert data.targets.shape == data.weights.shape == (3, 200)
    assert data.weights.dtype == np.float32
    if task.interface.features:
        assert (data.inputs.shape, data.inputs.dtype) == ((3, 200, task.interface.features), np.float32)
    else:
        assert (data.inputs.shape, data.inputs.dtype) == ((3, 200), np.int32)
        assert 0 <= data.inputs.min() <= data.inputs.max() < task.interface.vocab
    if task.regression:
        assert (task.interface.outputs, data.targets.dtype) == (1, np.float32)
    else:
        assert (task.interface.outputs, data.targets.dtype) == (None, np.int32)
        assert 0 <= data.targets.min() <= data.targets.max() < task.interface.vocab


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_same_seed_gives_the_same_data_and_every_other_stream_other_data(name):
    def first_two(seed, part):
        rng = generator(seed, part)
        return [SYNTHETIC[name].batch(rng, 4, 64).inputs for _ in range(2)]

    reference = first_two(7, "train")
    np.testing.assert_array_equal(reference, first_two(7, "train"))
    others = [reference[1], first_two(7, "held_out")[0], first_two(8, "train")[0], first_two(8, "held_out")[0]]
    assert all((other != reference[0]).any() for other in others)


def test_a_part_or_seed_that_is_none():
    with pytest.raises(DataError, match="part must be one of train, held_out, got 'test'"):
        generator(0, "test")
    with pytest.raises(DataError, match="seed must be at least 0, got -1"):
        generator(-1)


@pytest.mark.parametrize("text", ["copy", "copy:symbols=2", "selective_copy", "mqar:pairs=5", *SYNTHETIC])
def test_a_length_that_cannot_hold_the_task(text):
    task = parse_task(text)
    short = task.min_length - 1
    for call in (lambda: task.batch(generator(0), 1, short), lambda: task.chance_loss(short)):
        with pytest.raises(DataError, match=f"{text} needs a length of at least {task.min_length}, got {short}"):
            call()
    assert task.batch(generator(0), 2, task.min_length).weights.sum() > 0
    with pytest.raises(DataError, match="batch must be at least 1, got 0"):
        task.batch(generator(0), 0, 100)


# Distributions: 4,000 sequences, bounds of over four standard deviations.


def test_copy_symbols_are_uniform():
    inputs = SYNTHETIC["copy"].batch(generator(0), 4000, 40).inputs
    assert uniform(np.bincount(inputs[:, :10].ravel(), minlength=8)) < 5
    assert (inputs[:, 10:29] == 8).all()
    assert (inputs[:, 29] == 9).all()
    assert (inputs[:, 30:] == 8).all()


def test_adding_marks_one_step_of_each_half():
    inputs = SYNTHETIC["adding"].batch(generator(0), 4000, 21).inputs
    marks = inputs[..., 1]
    assert set(marks.ravel().tolist()) == {0.0, 1.0}
    np.testing.assert_array_equal(marks[:, :10].sum(1), 1)
    np.testing.assert_array_equal(marks[:, 10:].sum(1), 1)
    assert uniform(marks[:, :10].sum(0)) < 5
    assert uniform(marks[:, 10:].sum(0)) < 5
    assert uniform(np.histogram(inputs[..., 0], 20, (0, 1))[0]) < 5


def test_selective_copy_strews_uniform_symbols_over_uniform_places():
    inputs = SYNTHETIC["selective_copy"].batch(generator(0), 4000, 100).inputs
    data = inputs[:, :84]
    np.testing.assert_array_equal((data > 0).sum(1), 16)
    assert uniform((data > 0).sum(0)) < 5
    assert uniform(np.bincount(data[data > 0])[1:]) < 5
    assert data.max() == 14
    assert (inputs[:, 84:] == 15).all()


def test_induction_has_two_special_tokens_and_its_first_anywhere():
    inputs = SYNTHETIC["induction"].batch(generator(0), 4000, 33).inputs
    special = inputs == 15
    np.testing.assert_array_equal(special.sum(1), 2)
    assert special[:, -1].all()
    assert not special[:, -2].any()
    assert uniform(special[:, :31].sum(0)) < 5
    assert uniform(np.bincount(inputs[~special])) < 5


@pytest.mark.parametrize("power", [0.01, 0.5, 1.0])
def test_mqar_gaps_follow_the_power_law(power):
    task = make_task("mqar", pairs=1, vocab=4, power=power)
    inputs = task.batch(generator(0), 20_000, 42).inputs
    np.testing.assert_array_equal((inputs > 0).sum(1), 3)
    places = np.argmax(inputs[:, 2:] > 0, axis=1)
    assert (places % 2 == 0).all()
    expected = np.arange(1, 21) ** (power - 1.0)
    expected *= len(places) / expected.sum()
    deviation = (np.bincount(places // 2, minlength=20) - expected) / np.sqrt(expected)
    assert np.abs(deviation).max() < 4.5


def test_mqar_pairs_are_different_and_each_is_asked_once():
    task = make_task("mqar", pairs=7, vocab=32)
    inputs = task.batch(generator(0), 4000, 61).inputs
    keys, values = np.sort(inputs[:, 0:14:2]), np.sort(inputs[:, 1:14:2])
    assert (np.diff(keys) > 0).all()
    assert (np.diff(values) > 0).all()
    np.testing.assert_array_equal(np.sort(inputs[:, 14:])[:, -7:], keys)
    np.testing.assert_array_equal(np.unique(keys), np.arange(1, 16))
    np.testing.assert_array_equal(np.unique(values), np.arange(16, 32))
    for column in range(14):  # not only the set: every place of the order too
        assert uniform(np.unique(inputs[:, column], return_counts=True)[1]) < 5


# Chance.


@pytest.mark.parametrize(
    ("text", "length", "loss", "accuracy"),
    [
        ("copy", 1020, 10 * math.log(8) / (1000 + 20), (1010 + 10 / 8) / 1020),
        ("copy:scored=recall", 1020, math.log(8), 1 / 8),
        ("adding", 600, 1 / 6, None),
        ("selective_copy", 4096, math.log(14), 1 / 14),
        ("induction", 256, math.log(15), 1 / 15),
        ("mqar", 64, math.log(4096), 1 / 4096),
        ("mqar:vocab=11", 64, math.log(6), 1 / 6),
        ("parity", 10, math.log(2), 1 / 2),
        ("a5", 10, math.log(60), 1 / 60),
    ],
)
def test_chance_is_the_formula(text, length, loss, accuracy):
    task = parse_task(text)
    assert task.chance_loss(length) == pytest.approx(loss, rel=1e-12)
    assert task.chance_accuracy(length) == (accuracy and pytest.approx(accuracy, rel=1e-12))


@pytest.mark.parametrize(
    "text",
    [
        "copy",
        "copy:scored=recall",
        "adding",
        "selective_copy",
        "induction",
        "mqar:vocab=24",
        "parity",
        "a5:scored=last",
        "a5:inputs=generators",
    ],
)
def test_chance_is_what_the_best_constant_reaches(text):
    """A predictor that says at each step what is most likely there, fitted and then tried on new data."""
    task, length = parse_task(text), 40
    fit, test = (task.batch(generator(1, part), 20_000, length) for part in ("train", "held_out"))
    scored = test.weights.sum()
    if task.regression:
        constant = (fit.targets * fit.weights).sum(0) / np.maximum(fit.weights.sum(0), 1)
        assert (test.weights * (test.targets - constant) ** 2).sum() / scored == pytest.approx(1 / 6, rel=0.02)
        return
    counts = np.zeros((length, task.interface.vocab))
    np.add.at(counts, (np.arange(length)[None].repeat(20_000, 0), fit.targets), fit.weights)
    chances = np.maximum(counts, 1e-3) / np.maximum(counts, 1e-3).sum(1, keepdims=True)
    said = np.take_along_axis(chances, test.targets.T, axis=1).T
    loss = -(test.weights * np.log(said)).sum() / scored
    accuracy = (test.weights * (test.targets == chances.argmax(1))).sum() / scored
    assert loss == pytest.approx(task.chance_loss(length), rel=0.02)
    assert accuracy == pytest.approx(task.chance_accuracy(length), abs=0.01)


# Long sequences.


@pytest.mark.parametrize(
    "text", [*SYNTHETIC, "mqar:pairs=4095", "selective_copy:symbols=50000", "s5:inputs=generators"]
)
def test_a_million_steps_in_little_memory(text):
    task = parse_task(text)
    task.batch(generator(0), 1, task.min_length)  # tables
    tracemalloc.start()
    try:
        data = task.batch(generator(0), 1, MILLION)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert data.targets.shape == (1, MILLION)
    assert data.weights.sum() > 0
    assert peak < 64 * 2**20  # what is returned takes 12 or 16 MiB
    if task.name == "parity":
        np.testing.assert_array_equal(data.targets, np.cumsum(data.inputs, axis=1) % 2)
