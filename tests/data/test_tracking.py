"""Tasks of tracking a state: their groups, the distribution of words, and chance on words in two generators."""

import math
from itertools import product

import numpy as np
import pytest

from lengthscale.bench.data.synthetic import SYNTHETIC, generator, parse_task
from lengthscale.bench.data.synthetic.tracking import Permutations
from lengthscale.bench.data.synthetic.tracking import elements as elements_of
from lengthscale.bench.data.synthetic.tracking import table as table_of
from tests.helpers.counts import uniform


@pytest.mark.parametrize("name", ["parity", "a5"])
def test_words_are_uniform_and_independent(name):
    task = SYNTHETIC[name]
    inputs = task.batch(generator(0), 4000, 20).inputs
    vocab = task.interface.vocab
    assert uniform(np.bincount(inputs.ravel(), minlength=vocab)) < 5
    pairs = inputs[:, :-1] * vocab + inputs[:, 1:]
    assert uniform(np.bincount(pairs.ravel(), minlength=vocab**2)) < 5


def test_a5_is_the_group_it_says():
    elements, table = elements_of(True), table_of(True)
    assert len({tuple(p) for p in elements.tolist()}) == 60
    assert all((np.sort(p) == np.arange(5)).all() for p in elements)
    assert all(round(np.linalg.det(np.eye(5)[p])) == 1 for p in elements)  # even
    np.testing.assert_array_equal(table[0], np.arange(60))  # identity
    np.testing.assert_array_equal(table[:, 0], np.arange(60))
    for row in (*table, *table.T):  # closure and inverses: every row and column a permutation
        np.testing.assert_array_equal(np.sort(row), np.arange(60))
    np.testing.assert_array_equal(table[table], table[:, table])  # (a b) c = a (b c)
    for a, b in product(range(60), range(60)):
        np.testing.assert_array_equal(elements[table[a, b]], elements[b][elements[a]])
    assert (table != table.T).any()  # not abelian
    # Not solvable: the commutators a^-1 b^-1 a b generate the whole group again.
    inverse = np.argmin(table, axis=1)
    a, b = np.divmod(np.arange(3600), 60)
    derived = np.unique(table[table[inverse[a], inverse[b]], table[a, b]])
    assert len(np.unique(table[derived][:, derived])) == 60


@pytest.mark.parametrize(("text", "order"), [("a5:inputs=generators", 60), ("s5:inputs=generators", 120)])
def test_generators_make_the_whole_group(text, order):
    task = parse_task(text)
    assert isinstance(task, Permutations)
    inputs = task.batch(generator(0), 4000, 20).inputs
    tokens, counts = np.unique(inputs, return_counts=True)
    assert len(tokens) == 2
    assert uniform(counts) < 5
    table, found = table_of(task.even), {0}
    while len(more := found | {int(table[a, b]) for a in found for b in tokens}) > len(found):
        found = more
    assert len(found) == order == task.interface.vocab


@pytest.mark.parametrize("text", ["a5:inputs=generators", "s5:inputs=generators", "s5:inputs=generators,scored=last"])
def test_chance_on_generators_is_counted_over_all_words(text):
    task, length = parse_task(text), 6
    assert isinstance(task, Permutations)
    table, tokens = table_of(task.even), np.unique(task.batch(generator(0), 8, 20).inputs)
    losses, accuracies = [], []
    for steps in range(1, length + 1):
        ends = np.zeros(task.interface.vocab)
        for word in product(tokens, repeat=steps):
            state = 0
            for token in word:
                state = table[state, token]
            ends[state] += 1 / 2**steps
        losses.append(-sum(p * math.log(p) for p in ends if p))
        accuracies.append(ends.max())
    first = length - 1 if task.scored == "last" else 0
    assert task.chance_loss(length) == pytest.approx(np.mean(losses[first:]), rel=1e-12)
    assert task.chance_accuracy(length) == pytest.approx(np.mean(accuracies[first:]), rel=1e-12)
    assert task.chance_accuracy(2000) == pytest.approx(1 / task.interface.vocab, rel=0.2)
