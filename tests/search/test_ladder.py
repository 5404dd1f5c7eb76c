"""The search of a recipe, on losses that are known functions of the learning rate."""

import math

import pytest

from lengthscale.bench.search.ladder import FIRST, RATES, WARMUPS, Trial, at_edge, best_of, next_trials


def searched(loss, first=FIRST):
    """All trials of a search in which `loss(rate, warmup)` is what a trial gives, in rounds."""
    losses = {}
    for _ in range(20):
        trials = next_trials(losses, first)
        if not trials:
            return losses
        assert not set(trials) & set(losses)
        losses |= {trial: loss(*trial) for trial in trials}
    raise AssertionError("the search does not end")


@pytest.mark.parametrize("rate", RATES)
def test_it_finds_the_best_rate_wherever_it_is(rate):
    losses = searched(lambda r, w: abs(math.log(r / rate)) + abs(w - 0.1))
    assert best_of(losses) == Trial(rate, 0.1)
    assert at_edge(losses) == (rate in (RATES[0], RATES[-1]))  # beyond the ladder's ends nothing is tried
    tried = {trial.rate for trial in losses}
    assert set(FIRST) <= tried
    assert {RATES[i] for i in range(len(RATES)) if abs(i - RATES.index(rate)) == 1} <= tried
    assert {trial.warmup for trial in losses if trial.rate == rate} == set(WARMUPS)


def test_a_search_finds_a_far_minimum_where_it_begins_with_all_rates():
    """Such as a plain RNN on the adding problem: it learns at 3e-4 and at no other rate."""

    def loss(rate, warmup):
        return 0.01 if rate == 3e-4 else 0.16 + abs(math.log(rate / 3e-3)) / 100

    near = searched(loss)
    assert best_of(near).rate == 3e-3
    assert best_of(searched(loss, first=RATES[:6])) == Trial(3e-4, 0.1)


def test_a_search_that_was_cut_short_is_at_its_edge():
    assert at_edge({Trial(3e-3, 0.1): 2.0, Trial(1e-2, 0.1): 1.9})
    assert not at_edge({Trial(3e-3, 0.1): 2.0, Trial(1e-2, 0.1): 1.9, Trial(3e-2, 0.1): 2.1})


def test_another_warmup_is_taken_where_it_is_better():
    losses = searched(lambda r, w: abs(math.log(r / 1e-2)) - w)
    assert best_of(losses) == Trial(1e-2, 0.3)


def test_where_all_rates_diverge_smaller_ones_are_tried():
    losses = searched(lambda r, w: math.nan if r > 1e-3 else r)
    assert best_of(losses) == Trial(RATES[0], 0.1)
    assert at_edge(losses)
    hopeless = searched(lambda r, w: math.nan)
    assert best_of(hopeless) is None
    assert min(trial.rate for trial in hopeless) == RATES[0]
