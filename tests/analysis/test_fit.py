"""Exponents, terms, crossings and their intervals, on synthetic curves whose truth is known."""

import csv
import itertools
import math
from dataclasses import astuple

import numpy as np
import pytest

from lengthscale.bench.analysis import answer, fit
from lengthscale.bench.analysis.crossover import crossover, table_of_crossings
from lengthscale.bench.analysis.curves import Curve, Point, point_of
from lengthscale.bench.analysis.terms import Terms
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.codec import line_of
from lengthscale.bench.results.csv_table import table_of
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.record import Row
from lengthscale.bench.results.result import results_of
from tests.helpers.reports import first_run
from tests.helpers.runs import changed, made

LENGTHS = (256, 1024, 4096, 16384)
FEW, MANY = 3, 200  # replicates: those of a run, and of a patient one


def parabola(length):
    return 1 + 0.05 * length + 2e-5 * length * length


def line(length):
    return 3 + 0.09 * length


TRUE_CROSSING = (0.04 + math.sqrt(0.04**2 + 4 * 2e-5 * 2)) / (2 * 2e-5)
TRUE_SLOPE = np.polyfit(np.log(LENGTHS[-3:]), np.log([parabola(length) for length in LENGTHS[-3:]]), 1)[0]


def cell(model, length=0, measure="train"):
    return Cell(measure, model, "small", "auto", length, 1, "float32", 0, "text", 0)


def normal(random, count):
    return random.standard_normal(count)


def heavy_tailed(random, count):
    """Student's t with 3 degrees of freedom, scaled to a standard deviation of 1."""
    return random.standard_t(3, count) / math.sqrt(3)


def curve(model, cost, replicates, random, noise=0.05, errors=normal, levels=0.0):
    """levels: of the machine during each replicate, which all lengths share."""
    points = [
        point_of(length, (cost(length) * np.exp(noise * errors(random, replicates) + levels)).tolist())
        for length in LENGTHS
    ]
    return Curve(cell(model).series(), "time_ms", tuple(points))


KINDS = [(3, normal, 0.0), (3, normal, 0.1), (3, heavy_tailed, 0.1), (5, normal, 0.1), (8, heavy_tailed, 0.0)]


@pytest.mark.parametrize(("replicates", "errors", "level"), KINDS)
def test_the_exponents_interval_covers_the_truth_in_95_of_100(replicates, errors, level):
    runs = 400
    covered = 0
    for seed in range(runs):
        random = np.random.default_rng(seed)
        levels = level * random.standard_normal(replicates)
        slope = fit.fit_curve(curve("a", parabola, replicates, random, errors=errors, levels=levels)).slope
        covered += slope.low <= TRUE_SLOPE <= slope.high
    assert 0.93 * runs <= covered <= 0.97 * runs


@pytest.mark.parametrize(("replicates", "errors", "level"), KINDS)
def test_the_crossings_interval_covers_the_truth_in_95_of_100(replicates, errors, level):
    runs = 400
    covered = 0
    for seed in range(runs):
        random = np.random.default_rng(seed)
        levels = level * random.standard_normal(replicates)
        both = [
            curve(model, cost, replicates, random, errors=errors, levels=levels)
            for model, cost in (("transformer", parabola), ("mamba", line))
        ]
        row = crossover(*both)
        assert (row.status, row.model_short, row.model_long) == ("crosses", "transformer", "mamba")
        covered += (row.length.low or 0) <= TRUE_CROSSING <= (row.length.high or math.inf)
    assert 0.93 * runs <= covered <= 0.97 * runs


def test_two_replicates_have_no_interval_and_decide_nothing():
    random = np.random.default_rng(0)
    steep, flat = (curve(model, cost, 2, random) for model, cost in (("transformer", parabola), ("mamba", line)))
    assert fit.fit_curve(steep).slope.interval is None
    row = crossover(steep, flat)
    assert (row.status, row.note) == ("not decided", "fewer than 3 replicates")
    assert row.length.value == pytest.approx(TRUE_CROSSING, rel=0.2)
    assert row.length.interval is None


def test_a_replicate_that_does_not_cross_leaves_it_undecided():
    """Two replicates cross; in the third one the flat curve is the cheaper one everywhere."""
    steep = curve("transformer", parabola, 3, np.random.default_rng(0), noise=0.001)
    points = [
        point_of(length, [line(length), line(length), line(length) * (0.3 if length < 2000 else 1.0)])
        for length in LENGTHS
    ]
    row = crossover(steep, Curve(cell("mamba").series(), "time_ms", tuple(points)))
    assert row.status == "not decided"


def test_the_terms_are_found_and_the_longest_is_predicted():
    row = fit.fit_curve(curve("transformer", parabola, MANY, np.random.default_rng(0), noise=0.001))
    assert row.terms.b == pytest.approx(0.05, rel=0.02)
    assert row.terms.c == pytest.approx(2e-5, rel=0.02)
    assert row.shares[2] == pytest.approx(2e-5 * 16384**2 / parabola(16384), rel=0.02)
    assert row.shares is not None
    assert sum(row.shares) == pytest.approx(1)
    assert row.predicted_length == 32768
    assert row.predicted == pytest.approx(parabola(32768), rel=0.02)


@pytest.mark.parametrize("cost", [parabola, line, lambda length: 4.0, lambda length: 0.1 * length])
def test_the_longest_is_predicted_from_the_others_within_15_percent(cost):
    for seed in range(20):
        row = fit.fit_curve(curve("model", cost, FEW, np.random.default_rng(seed), noise=0.02))
        assert row.left_out_error is not None
        assert abs(row.left_out_error) < 0.15


def test_a_line_has_no_parabola_in_it():
    shares = [fit.fit_curve(curve("mamba", line, FEW, np.random.default_rng(seed))).shares[2] for seed in range(50)]
    assert np.mean(np.array(shares) == 0) > 0.9


@pytest.mark.parametrize("truth", [Terms(311_300.0, 0.0), Terms(0.0, 4_098.7), Terms(132_868.0, 7_015_360.0, 2_080.0)])
def test_exact_values_leave_no_rounding_in_the_terms_or_the_error(truth):
    """What is nothing is 0 on every CPU, and not 1e-16 on one and 2e-16 on another."""
    lengths = np.array([256.0, 2048.0, 8192.0, 16384.0])
    points = tuple(Point(int(length), (truth(length),), exact=True) for length in lengths)
    found = fit.fit_curve(Curve(cell("rnn").series(), "flops", points))
    terms = found.terms
    assert [value == 0 for value in (terms.a, terms.b, terms.c)] == [
        value == 0 for value in (truth.a, truth.b, truth.c)
    ]
    assert found.left_out_error == 0


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


def records(models, lengths=LENGTHS, measure="train"):
    found = []
    for model, cost in models.items():
        random = np.random.default_rng(len(found))
        for length, number in itertools.product(lengths, range(3)):
            ms = cost(length) * float(np.exp(0.002 * random.standard_normal()))
            row = Row(time_median_ms=ms, mem_peak_bytes=1000 * length, state_bytes=64, flops=length * length)
            found.append(made(cell(model, length, measure), replicate=number, rows=(row,), samples_ms=(ms,) * 5))
    return found


def test_a_folder_gets_both_files_and_what_failed_is_noted(tmp_path):
    failed = made(cell("mamba", 65536), Status.OOM)
    lines = map(line_of, (*records({"transformer": parabola, "mamba": line}), failed))
    (tmp_path / "journal.jsonl").write_bytes(b"".join(lines))
    fits, crossings = fit.fit_folder(tmp_path)
    with open(tmp_path / "fits.csv") as file:
        rows = {(row["model"], row["quantity"]): row for row in csv.DictReader(file)}
    assert len(rows) == len(fits) == 8
    assert rows["mamba", "time_ms"]["length_max"] == "16384"
    assert float(rows["transformer", "time_ms"]["slope"]) == pytest.approx(TRUE_SLOPE, abs=0.02)
    assert float(rows["mamba", "memory_bytes"]["slope"]) == pytest.approx(1)
    assert [rows["mamba", "state_bytes"][key] for key in ("slope", "slope_low", "slope_high")] == ["0", "0", "0"]
    with open(tmp_path / "crossovers.csv") as file:
        [row] = [row for row in csv.DictReader(file) if row["quantity"] == "time_ms"]
    assert float(row["length"]) == pytest.approx(TRUE_CROSSING, rel=0.1)
    assert len(crossings) == 4
    assert [rows["mamba", "time_ms"][key] for key in ("flops_slope", "note")] == [
        "2",
        "oom at 65536; the FLOPs grow with 2.00: memory or overhead decides",
    ]


def test_the_operator_alone_has_exact_exponents_of_flops_and_bytes():
    found = records({"transformer": parabola, "mamba": line}, measure="operator")
    rows = [changed(each.row, operand_bytes=4096 * each.cell.length) for each in found]
    results = results_of(changed(each, rows=(row,)) for each, row in zip(found, rows, strict=True))
    fits, _ = fit.fit_results(results)
    slopes = {(each.series.model, each.quantity): each.slope for each in fits if each.slope}
    exact = {("mamba", "operand_bytes"): 1, ("transformer", "flops"): 2}
    for which, exponent in exact.items():
        assert astuple(slopes[which]) == pytest.approx((exponent,) * 3, abs=1e-12), which
    assert slopes["transformer", "time_ms"].value == pytest.approx(TRUE_SLOPE, abs=0.02)


def test_three_lengths_are_not_enough():
    fits, crossings = fit.fit_results(results_of(records({"transformer": parabola, "mamba": line}, LENGTHS[:3])))
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
    growth, crossing, decoding = answer.sentences(*fit.fit_results(results_of(all_of)), ON)
    assert growth.startswith("On A CPU, 2 cores (small, float32, batch 1) the time of a training step grows from 1k to")
    assert f"exponent {TRUE_SLOPE:.2f} [" in growth
    assert " for transformer and 0.9" in growth or " for transformer and 1.0" in growth
    assert "there it takes 6.1" in growth or "there it takes 6.2" in growth
    assert crossing.startswith("In a training step mamba passes transformer at 2,0")
    assert decoding.startswith("Decoding one token takes transformer 1.4")
    assert "mamba 1.99 ms" in decoding or "mamba 2 ms" in decoding
    assert "a state of 6.4e-05 MB (context 16k, exponent" in decoding


def test_the_answer_says_what_was_not_measured():
    growth, crossing, decoding = answer.sentences(*fit.fit_results(results_of(records({"rnn": line}, LENGTHS[:2]))), ON)
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
