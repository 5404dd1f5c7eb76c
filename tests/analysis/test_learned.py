"""What length buys, in sentences and a table, from rows whose gains are known; and the losses of references."""

import json

import pytest

from lengthscale.bench.analysis import bought, learned
from lengthscale.bench.analysis.references import read_references, write_references
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.record import row_of
from lengthscale.bench.results.result import results_of
from tests.helpers.runs import made


def result(model, length, rows, *, measure="quality", data="text", train_loss=2.0, recipe="tuned"):
    cell = Cell(measure, model, "tiny", "auto", length, 4, "float32", 0, data, 0)
    shared = {"train_loss": train_loss, "recipe": recipe, "time_median_ms": 1.0}
    return results_of([made(cell, rows=tuple(row_of(shared | row) for row in rows), samples_ms=(1.0,))])[0]


def gains(near, far):
    return [
        {"context": 1, "loss": 3.0, "n_targets": 64},
        {
            "context": 64,
            "loss": 3.0 - near,
            "gain_from": 1,
            "gain": near,
            "gain_low": near - 0.05,
            "gain_high": near + 0.04,
        },
        {"context": 1024, "loss": 2.0, "gain_from": 64, "gain": far, "gain_low": far - 0.01, "gain_high": far + 0.01},
        {"eval_length": 72, "loss": 2.0},
    ]


def test_what_context_is_worth():
    results = [
        result("rnn", 72, gains(0.80, 9.0)),
        result("rnn", 1152, gains(9.0, -0.001)),
        result("rnn", 2304, gains(9.0, 9.0)),
        result("gru", 72, gains(0.7, 9.0)[:2]),
        result("gru", 1152, gains(9.0, -0.2)),  # worse with more context, which is not nothing
        result("transformer", 72, gains(0.5, 0.3)[:2], recipe="untuned"),  # its table of positions ends there
        result("transformer", 1152, gains(9.0, 0.3)),
    ]
    (said,) = learned.sentences_of(results)
    assert said == (  # each span at the shortest training length that has it inside, the same one for all models
        "Context of text (tiny) is worth, in nats a token: from 1 to 64 tokens (trained at 72) 0.80 [0.75, 0.84] to "
        "rnn, 0.70 [0.65, 0.74] to gru, 0.50 [0.45, 0.54] to transformer (not tuned); from 64 to 1k tokens (trained at "
        "1152) 0.30 [0.29, 0.31] to transformer, -0.20 [-0.21, -0.19] to gru, nothing that can be measured to rnn."
    )


def test_a_context_beyond_the_training_length_is_a_span_of_its_own():
    far = {"context": 16_384, "gain_from": 64, "gain": -1.5, "gain_low": -1.6, "gain_high": -1.4}
    (said,) = learned.sentences_of([result("transformer++", 1152, [*gains(0.8, 0.02)[:-1], far])])
    assert said == (
        "Context of text (tiny) is worth, in nats a token: from 1 to 64 tokens (trained at 1152) 0.80 [0.75, 0.84] to "
        "transformer++; from 64 to 1k tokens (trained at 1152) 0.02 [0.01, 0.03] to transformer++; from 64 to 16k "
        "tokens (trained at 1152) -1.50 [-1.60, -1.40] to transformer++."
    )
    near = {"context": 32, "gain_from": 1, "gain": 0.5, "gain_low": 0.4, "gain_high": 0.6}
    (said,) = learned.sentences_of([result("transformer", 64, [near]), result("rnn", 64, [near, *gains(0.8, 9)[:2]])])
    assert "from 1 to 32 tokens (trained at 64) 0.50 [0.40, 0.60] to transformer, 0.50 [0.40, 0.60] to rnn." in said


def test_what_is_found_again():
    def rows(right):
        asked = {"accuracy": right, "accuracy_low": right - 0.01, "accuracy_high": right, "chance_accuracy": 0.0625}
        return [
            {"eval_length": 32, **asked},
            {"eval_length": 64, **asked, "accuracy": 0.5},
            {"eval_length": 32, "n_items": 8, **asked, "accuracy": 0.2},
        ]

    results = [
        result(model, 32, rows(right), measure="recall", data="mqar:pairs=4")
        for model, right in (("rnn", 0.12), ("transformer", 1.0))
    ]
    said = "Recall of 4 pairs, at 32 tokens (tiny, chance 6%), right: transformer 100% [99%, 100%], rnn 12% [11%, 12%]."
    assert learned.sentences_of(results) == [said]
    longer = result("rnn", 64, rows(0.3)[1:], measure="recall", data="mqar:pairs=4")
    assert learned.sentences_of([*results, longer]) == [  # a sentence for each training length
        said,
        "Recall of 4 pairs, at 64 tokens (tiny, chance 6%), right: rnn 50% [29%, 30%].",
    ]


def test_the_table_has_a_line_for_each_thing_learned_and_a_column_for_each_model():
    asked = {"accuracy": 0.3, "accuracy_low": 0.29, "accuracy_high": 0.31}
    results = [
        result("rnn", 72, gains(0.80, 9.0)),
        result("mamba", 72, gains(0.7, 9.0), recipe="nearest"),
        result("rnn", 1152, [*gains(9.0, -0.001)[:-1], {"eval_length": 1152, "loss": 1.77}]),
        result("gru", 32, [{"eval_length": 32, **asked}, {"eval_length": 128, **asked}], measure="tracking", data="a5"),
        result("gru", 32, [{"eval_length": 32, "n_items": 8, **asked}], measure="recall", data="mqar"),
    ]
    assert bought.table(learned.rows_of(results)).splitlines() == [
        "| what length buys | rnn | mamba | gru |",
        "| --- | --- | --- | --- |",
        "| text (tiny): loss at 72 tokens | 2.00 | 2.00 (not tuned) |  |",
        "| text (tiny): loss at 1152 tokens | 1.77 |  |  |",
        "| text (tiny): gain from 1 to 64 tokens (trained at 72) "
        "| 0.80 [0.75, 0.84] | 0.70 [0.65, 0.74] (not tuned) |  |",
        "| text (tiny): gain from 64 to 1k tokens (trained at 1152) | -0.001 [-0.011, 0.009] |  |  |",
        "| word problem of A5 (tiny): right at 32 tokens |  |  | 30% [29%, 31%] |",
        "| word problem of A5 (tiny): right at 128 tokens (trained at 32) |  |  | 30% [29%, 31%] |",
    ]
    assert bought.table({}) == ""


def test_nothing_is_said_of_what_was_not_measured():
    assert learned.sentences_of([]) == []
    assert learned.sentences_of([result("rnn", 72, [{"eval_length": 72, "loss": 2.0}])]) == []


def test_references_are_of_the_targets_of_the_run(tmp_path):
    run = RunFolder(tmp_path)
    run.suite.write_text(json.dumps({"settings": {"targets": 2_048, "contexts": [1, 64, 1_024]}, "cells": []}))
    write_references(tmp_path, [result("rnn", 72, gains(0.8, 0.0))])
    points = read_references(tmp_path)
    assert {point.data for point in points} == {"text"}
    found = {(point.name, point.context): point.loss for point in points}
    assert list(found) == [*((f"{order}-gram", order - 1) for order in range(1, 7)), ("LZMA", 1_024)]
    assert found["2-gram", 1] == pytest.approx(2.49, abs=0.05)
    before = run.references.read_text()
    write_references(tmp_path, [])
    assert run.references.read_text() == before
