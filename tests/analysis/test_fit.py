"""Exponents, terms, crossings and their intervals, on synthetic curves whose truth is known."""

import csv
import math

import numpy as np
import pytest

from lengthscale.bench.analysis import answer, fit
from lengthscale.bench.analysis.crossover import crossover, table_of_crossings
from lengthscale.bench.analysis.curves import Curve, time_point
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.codec import line_of
from lengthscale.bench.results.csv_table import table_of
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.record import Row
from tests.helpers.reports import first_run
from tests.helpers.runs import made

LENGTHS = (256, 1024, 4096, 16384)
FEW, MANY = (60, 16, 5, 3), (200, 200, 200, 200)  # samples: a short run's, and a patient one's


def parabola(length):
    return 1 + 0.05 * length + 2e-5 * length * length


def line(length):
    return 3 + 0.09 * length


TRUE_CROSSING = (0.04 + math.sqrt(0.04**2 + 4 * 2e-5 * 2)) / (2 * 2e-5)
TRUE_SLOPE = np.polyfit(np.log(LENGTHS[-3:]), np.log([parabola(length) for length in LENGTHS[-3:]]), 1)[0]


def cell(model, length=0, measure="train"):
    return Cell(measure, model, "small", "auto", length, 1, "float32", 0, "text", 0)


def curve(model, cost, counts, random, noise=0.05, drift=0.0):
    """drift: how alike samples are that follow each other (an AR(1) process)."""
    points = []
    for length, count in zip(LENGTHS, counts, strict=True):
        errors = random.standard_normal(count)
        for i in range(1, count):
            errors[i] = drift * errors[i - 1] + math.sqrt(1 - drift**2) * errors[i]
        points.append(time_point(length, cost(length) * np.exp(noise * errors)))
    return Curve(cell(model).series(), "time_ms", tuple(points))


@pytest.mark.parametrize(("counts", "drift"), [(FEW, 0.0), (MANY, 0.0), ((500,) * 4, 0.9)])
def test_the_exponents_interval_covers_the_truth_in_95_of_100(counts, drift):
    runs = 200
    covered = 0
    for seed in range(runs):
        random = np.random.default_rng(seed)
        slope = fit.fit_curve(curve("transformer", parabola, counts, random, drift=drift)).slope
        covered += slope.low <= TRUE_SLOPE <= slope.high
    assert 0.93 * runs <= covered <= 0.97 * runs


@pytest.mark.parametrize("counts", [FEW, MANY])
def test_the_crossings_interval_covers_the_truth_in_95_of_100(counts):
    runs = 200
    covered = 0
    for seed in range(runs):
        random = np.random.default_rng(seed)
        row = crossover(curve("transformer", parabola, counts, random), curve("mamba", line, counts, random))
        assert (row.status, row.model_short, row.model_long) == ("crosses", "transformer", "mamba")
        assert row.length.low is not None
        assert row.length.high is not None
        covered += row.length.low <= TRUE_CROSSING <= row.length.high
    assert 0.93 * runs <= covered <= 0.97 * runs


def test_the_terms_are_found_and_the_longest_is_foretold():
    row = fit.fit_curve(curve("transformer", parabola, MANY, np.random.default_rng(0), noise=0.001))
    assert row.terms.b == pytest.approx(0.05, rel=0.02)
    assert row.terms.c == pytest.approx(2e-5, rel=0.02)
    assert row.shares[2] == pytest.approx(2e-5 * 16384**2 / parabola(16384), rel=0.02)
    assert row.shares is not None
    assert sum(row.shares) == pytest.approx(1)
    assert row.predicted_length == 32768
    assert row.predicted == pytest.approx(parabola(32768), rel=0.02)


@pytest.mark.parametrize("cost", [parabola, line, lambda length: 4.0, lambda length: 0.1 * length])
def test_the_longest_is_foretold_from_the_others_within_15_percent(cost):
    for seed in range(20):
        row = fit.fit_curve(curve("model", cost, FEW, np.random.default_rng(seed), noise=0.02))
        assert row.left_out_error is not None
        assert abs(row.left_out_error) < 0.15


def test_a_line_has_no_parabola_in_it():
    shares = [fit.fit_curve(curve("mamba", line, FEW, np.random.default_rng(seed))).shares[2] for seed in range(50)]
    assert np.mean(np.array(shares) == 0) > 0.9


def test_curves_that_do_not_differ_have_no_crossing():
    statuses = []
    for seed in range(50):
        random = np.random.default_rng(seed)
        statuses.append(crossover(curve("gru", line, FEW, random), curve("lstm", line, FEW, random)).status)
    assert statuses.count("crosses") <= 5


def test_a_crossing_beyond_the_range_is_extrapolated_and_never_measured():
    random = np.random.default_rng(0)
    late = curve("transformer", lambda length: 0.05 * length + 1e-6 * length**2, MANY, random, noise=0.001)
    row = crossover(curve("mamba", line, MANY, random, noise=0.001), late)
    assert (row.status, row.model_short, row.model_long) == ("beyond the range", "transformer", "mamba")
    assert row.length is None
    assert row.extrapolated_length == pytest.approx(40_000, rel=0.1)
    never = crossover(curve("rnn", lambda length: 0.01 * length, MANY, random, noise=0.001), late)
    assert (never.model_short, never.extrapolated_length) == ("rnn", None)
    assert never.note is not None
    assert "not up to" in never.note


def test_one_sample_has_no_interval():
    points = [time_point(length, [line(length)]) for length in LENGTHS]
    row = fit.fit_curve(Curve(cell("mamba").series(), "time_ms", tuple(points)))
    assert row.slope.value == pytest.approx(1, abs=0.02)
    assert row.slope.interval is None


def records(models, lengths=LENGTHS, measure="train"):
    found = []
    for model, cost in models.items():
        random = np.random.default_rng(len(found))
        for length in lengths:
            samples = (cost(length) * np.exp(0.01 * random.standard_normal(5))).tolist()
            row = Row(time_median_ms=float(np.median(samples)), mem_peak_bytes=1000 * length, state_bytes=64)
            found.append(made(cell(model, length, measure), rows=(row,), samples_ms=tuple(samples)))
    return found


def test_a_folder_gets_both_files_and_what_failed_is_noted(tmp_path):
    failed = made(cell("mamba", 65536), Status.OOM)
    lines = map(line_of, (*records({"transformer": parabola, "mamba": line}), failed))
    (tmp_path / "journal.jsonl").write_bytes(b"".join(lines))
    fits, crossings = fit.fit_folder(tmp_path)
    with open(tmp_path / "fits.csv") as file:
        rows = {(row["model"], row["quantity"]): row for row in csv.DictReader(file)}
    assert len(rows) == len(fits) == 6
    assert rows["mamba", "time_ms"]["note"] == "oom at 65536"
    assert rows["mamba", "time_ms"]["length_max"] == "16384"
    assert float(rows["transformer", "time_ms"]["slope"]) == pytest.approx(TRUE_SLOPE, abs=0.02)
    assert float(rows["mamba", "memory_bytes"]["slope"]) == pytest.approx(1)
    assert [rows["mamba", "state_bytes"][key] for key in ("slope", "slope_low", "slope_high")] == ["0", "0", "0"]
    with open(tmp_path / "crossovers.csv") as file:
        [row] = [row for row in csv.DictReader(file) if row["quantity"] == "time_ms"]
    assert float(row["length"]) == pytest.approx(TRUE_CROSSING, rel=0.1)
    assert len(crossings) == 3


def test_three_lengths_are_not_enough():
    fits, crossings = fit.fit_records(records({"transformer": parabola, "mamba": line}, LENGTHS[:3]))
    assert {row.status for row in (*fits, *crossings)} == {"not enough data"}
    assert {row.slope for row in fits} == {None}
    assert {row.length for row in crossings} == {None}


def test_a_folder_without_a_journal(tmp_path):
    with pytest.raises(JournalError, match=r"holds no journal\.jsonl"):
        fit.fit_folder(tmp_path)


ON = {"backend": "cpu", "cpu_model": "A CPU", "n_cpus": 2}


def test_the_answer_says_how_cost_grows_where_curves_cross_and_what_decoding_takes():
    all_of = records({"rnn": lambda length: 0.02 * length, "transformer": parabola, "mamba": line})
    all_of += records({"transformer": line, "mamba": lambda length: 2.0}, measure="decode")
    growth, crossing, decoding = answer.sentences(*fit.fit_records(all_of), ON)
    assert growth.startswith("On A CPU, 2 cores (small, float32, batch 1) the time of a training step grows from 1k to")
    assert f"exponent {TRUE_SLOPE:.2f} [" in growth
    assert " for transformer and 0.9" in growth or " for transformer and 1.0" in growth
    assert "there it takes 6.1" in growth or "there it takes 6.2" in growth
    assert crossing.startswith("In a training step mamba passes transformer at 2,0")
    assert decoding.startswith("Decoding one token takes transformer 1.4")
    assert "mamba 1.99 ms" in decoding or "mamba 2 ms" in decoding
    assert "a state of 6.4e-05 MB (context 16k, exponent" in decoding


def test_the_answer_says_what_was_not_measured():
    growth, crossing, decoding = answer.sentences(*fit.fit_records(records({"rnn": line}, LENGTHS[:2])), ON)
    assert growth == "On A CPU, 2 cores no cost was measured at four lengths, which an exponent needs."
    assert crossing == "No two curves were measured that could cross."
    assert decoding == "Decoding was not measured."


def test_fits_that_are_read_are_those_that_were_made(tmp_path):
    folder = first_run(tmp_path / "run")
    made = fit.fit_folder(folder)
    found = fit.read_fits(folder)
    assert table_of_crossings(found[1]) == table_of_crossings(made[1])
    assert len(found[0]) == len(made[0]) > 0
    for ours, read in zip(made[0], found[0], strict=True):
        assert read.series == ours.series
        shares = [each.shares or () for each in (read, ours)]  # of terms that were rounded
        assert shares[0] == pytest.approx(shares[1], abs=1e-5)
        columns = [{**each.columns(), "share_a": 0, "share_b": 0, "share_c": 0} for each in (read, ours)]
        assert table_of(fit.FIT_COLUMNS, columns[:1]) == table_of(fit.FIT_COLUMNS, columns[1:])
