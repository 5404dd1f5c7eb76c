"""The figures of what length buys: against training length and state, by size, and with published figures."""

import pytest

from lengthscale.bench.figures import learned, recall_state, trained
from lengthscale.bench.figures.published import PUBLISHED
from lengthscale.bench.figures.run import run_of
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.results.record import row_of
from lengthscale.bench.results.result import results_of
from tests.helpers.runs import finished_run, made


def result(measure, model, size, length, rows, data="text"):
    cell = Cell(measure, model, size, "auto", length, 1, "float32", 0, data, 0)
    shared = {"train_loss": 2.0, "train_tokens": 2**20, "recipe": "tuned", "time_median_ms": 1.0}
    return made(cell, rows=tuple(row_of(shared | row) for row in rows), samples_ms=(1.0,))


def run(tmp_path, records):
    return run_of(finished_run(tmp_path / "run"), results_of(records))


def at(context, loss):
    return {"context": context, "loss": loss, "loss_low": loss - 0.1, "loss_high": loss + 0.1}


def test_loss_against_the_training_length_is_read_at_the_longest_context_inside_it(tmp_path):
    records = [
        result("quality", model, "tiny", length, [at(context, loss + context / 10_000) for context in (1, 64, 1024)])
        for model, loss in (("rnn", 2.0), ("gru", 1.0))
        for length in (72, 1152)
    ]
    once = result("quality", "gru", "mini", 64, [at(1, 1.0)])  # one length: no curve against it
    (figure,) = trained.figures(run(tmp_path, [*records, once]))
    assert figure.title == "Loss against the training length: text (tiny)"
    assert {curve.name: (curve.x, curve.y) for curve in figure.curves} == {
        "rnn": ((72, 1152), pytest.approx((2.0064, 2.1024))),
        "gru": ((72, 1152), pytest.approx((1.0064, 1.1024))),
    }


def test_recall_is_drawn_against_the_state_of_each_size(tmp_path):
    def asked(right, state):
        known = {"state_bytes": state, "accuracy": right, "accuracy_low": right, "accuracy_high": right}
        near = {**known, "chance_accuracy": 0.0625}
        return [{"eval_length": 32, **near}, {"eval_length": 64, **near}, {"eval_length": 32, "n_items": 8, **near}]

    records = [
        result("recall", model, size, 32, asked(right, state), "mqar:pairs=4,vocab=32")
        for model, size, right, state in (
            ("rnn", "tiny", 0.2, 256),
            ("rnn", "state4k", 0.3, 8192),
            ("transformer", "tiny", 1.0, 16384),
            ("transformer", "state4k", 0.9, 8192),
        )
    ]
    other = result("recall", "rnn", "tiny", 64, [{"eval_length": 64, "accuracy": 0.5, "state_bytes": 256}], "induction")
    mine = run(tmp_path, [*records, other])
    (figure,) = recall_state.figures(mine)
    assert figure.title == "Accuracy against the state: recall of 4 pairs"
    assert {(curve.name, curve.x, curve.y) for curve in figure.curves} == {
        ("rnn, tiny", (256,), (0.2,)),
        ("rnn, state4k", (8192,), (0.3,)),
        ("transformer, tiny", (16384,), (1.0,)),
        ("transformer, state4k", (8192,), (0.9,)),
    }
    titles = {each.title for each in learned.figures(mine) if each.place.y == "accuracy"}
    assert titles == {  # a size has figures of its own
        "Accuracy beyond the training length: recall of 4 pairs (tiny)",
        "Accuracy beyond the training length: recall of 4 pairs (state4k)",
        "Accuracy with more to remember: recall of 4 pairs (tiny)",
        "Accuracy with more to remember: recall of 4 pairs (state4k)",
    }


def test_published_figures_stand_beside_ours(tmp_path):
    def asked(*lengths):
        right = {"accuracy": 0.9, "accuracy_low": 0.9, "accuracy_high": 0.9}
        return [{"eval_length": length, **right} for length in lengths]

    seen = [{"seen_tokens": tokens, "seen_s": 1.0, "seen_loss": 2.0} for tokens in (768, 1_536_000)]
    records = [
        result("recall", "mamba", "tiny", 64, asked(64, 256), "induction"),
        result("recall", "rnn", "tiny", 64, asked(64, 256), "induction"),
        result("quality", "transformer", "mini", 64, seen),
        result("quality", "transformer", "tiny", 64, seen),
    ]
    figures = learned.figures(run(tmp_path, records))
    hollow = {(each.title, curve.name): (curve.x, curve.y) for each in figures for curve in each.curves if curve.hollow}
    assert hollow == {
        ("Accuracy beyond the training length: induction heads", "mamba, published"): ((1024,), (1.0,)),
        ("Loss while training: text (mini)", "transformer, published"): ((1_536_000,), (1.88,)),
    }
    said = {note for each in figures for note in each.notes if note.startswith("hollow")}
    assert said == {f"hollow: {PUBLISHED[0].source}", f"hollow: {PUBLISHED[-1].source}"}
