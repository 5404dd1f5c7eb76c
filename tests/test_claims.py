"""The claims: each judge on records whose truth is known, and the command round them, nothing being measured."""

import csv
import dataclasses
import json
import math
import os
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest

from bench import sweep as sweep_module
from bench.__main__ import _parse_run, main
from bench.cell import Cell
from bench.claims import (
    CLAIMS,
    claim,
    command,
    decode_speed,
    discretisation,
    long_dependencies,
    parallel_and_recurrent,
    scaling,
    small_data,
    table,
)
from bench.claims.claim import FAILS, HOLDS, NOT_DECIDED, Claim, Finding, Part
from bench.journal import Journal, read_journal
from bench.request import make_request
from bench.validate import validate
from tests.quick_run import FACTS
from tests.runs import ENVIRONMENT

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[1]
MINE = {1: long_dependencies, 2: scaling, 3: decode_speed, 6: small_data, 7: parallel_and_recurrent, 8: discretisation}


def record(measure, model, length, ms=1.0, *, spread=0.002, status="ok", rows=({},), batch=1, seed=0, method="auto"):
    """Its 24 samples scatter around `ms` by the spread."""
    cell = Cell(measure, model, "tiny", method, length, batch, "float32", 0, "text", seed)
    rng = np.random.default_rng([length, batch, seed, len(model)])
    samples = [float(x) for x in ms * np.exp(rng.normal(0, spread, 24))]
    median = float(np.median(samples))
    row = {"time_median_ms": median, "time_p10_ms": median, "time_p90_ms": median, "n_params": 1000}
    good = status == "ok"
    return {
        "cell": asdict(cell),
        "status": status,
        "message": "" if good else "why",
        "rows": [row | each for each in rows] if good else [],
        "samples_ms": samples if good else [],
        "peaks": {"copy_bytes_per_s": 1e10},
    }


def drawn(number, records):
    """The texts of the claim's picture."""
    figure, axes = plt.subplots()
    CLAIMS[number].draw(axes, records)
    figure.canvas.draw()
    legend = axes.get_legend()
    texts = [*axes.texts, *(legend.get_texts() if legend else [])]
    plt.close(figure)
    return " ".join(text.get_text() for text in texts)


def verdict_of(number, records):
    findings = CLAIMS[number].judge(records)
    assert all(each.decided_by for each in findings)
    return findings[0].verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(1.1, 1.9, HOLDS), (0.9, 1.5, NOT_DECIDED), (2.0, 3.0, FAILS), (0.1, 1.0, FAILS), (None, None, NOT_DECIDED)],
)
def test_an_interval_decides_as_a_whole(low, high, verdict):
    assert claim.verdict_within(low, high, 1.0, 2.0) == verdict


def test_one_sided_rules():
    assert claim.verdict_below(0.1, 0.2, 0.3) == HOLDS
    assert claim.verdict_below(0.3, 0.4, 0.3) == FAILS
    assert claim.verdict_above(0.4, 0.5, 0.3) == HOLDS
    assert claim.verdict_above(0.2, 0.4, 0.3) == NOT_DECIDED
    assert claim.all_of([HOLDS, HOLDS]) == HOLDS
    assert claim.all_of([HOLDS, NOT_DECIDED]) == NOT_DECIDED
    assert claim.all_of([NOT_DECIDED, FAILS]) == FAILS
    assert claim.all_of([]) == NOT_DECIDED


def test_what_the_minutes_allow():
    levels = {0.0: "least", 3.0: "more", 8.0: "most"}
    assert [claim.affordable(levels, minutes) for minutes in (0, 2.9, 3, 7, 100)] == [
        *("least", "least", "more", "more", "most")
    ]
    assert claim.affordable({5.0: "only"}, 1) == "only"


@pytest.mark.parametrize("number", MINE)
def test_parts_are_runs_that_their_models_can_do(number):
    for minutes in (0.1, *MINE[number].LEVELS):
        for part in CLAIMS[number].parts(minutes):
            request = make_request(_parse_run([*part.arguments]))
            assert request.cells
            assert not request.unsupported
        names = [part.name for part in CLAIMS[number].parts(minutes)]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("number", MINE)
def test_nothing_measured_decides_nothing(number):
    names = [part.name for part in CLAIMS[number].parts(1.0)]
    for records in ({}, {name: [] for name in names}):
        findings = CLAIMS[number].judge(records)
        assert findings
        assert {each.verdict for each in findings} == {NOT_DECIDED}
        assert {each.figure for each in findings} == {None}
    failed = {name: [record("train", "rnn", 64, status="timeout")] for name in names}
    assert verdict_of(number, failed) == NOT_DECIDED


# 1: long dependencies


def learned(model, *, error, decades, seeds=3, rate=0.003, scatter=0.0):
    """Records after training: norms 10^(decades x lag), a loss around `error` for each seed."""
    found = []
    for seed in range(seeds):
        known = {"learning_rate": rate, "train_loss": error + scatter * seed}
        rows = [
            known | {"trained": trained, "distance": lag, "grad_norm": 10 ** (decades * trained * 1.4 * lag - 2)}
            for trained in (0, 1)
            for lag in (0, 1, 2, 4, 8, 16, 32, 64)
        ]
        found.append(record("gradients", model, 100, rows=rows, seed=seed))
    return found


def of_all(rnn, gru, lstm):
    return {"rate-3e-3": learned("rnn-plain", **rnn) + learned("gru-plain", **gru) + learned("lstm-plain", **lstm)}


LOST: dict[str, Any]
KEPT: dict[str, Any]
LOST, KEPT = {"error": 0.16, "decades": -0.3, "scatter": 0.001}, {"error": 3e-4, "decades": -0.001, "scatter": 1e-4}


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (of_all(LOST, KEPT, KEPT), HOLDS),
        (of_all(KEPT, KEPT, KEPT), FAILS),  # a plain RNN that learns it
        (of_all(LOST, KEPT, LOST), FAILS),
        (of_all(LOST, KEPT, {**KEPT, "scatter": 0.01}), NOT_DECIDED),
        (of_all(LOST, KEPT, {**KEPT, "seeds": 2}), NOT_DECIDED),
    ],
)
def test_long_dependencies(records, verdict):
    assert verdict_of(1, records) == verdict


def test_the_learning_rate_is_each_models_best():
    records = of_all(LOST, KEPT, KEPT) | {
        "rate-1e-3": learned("rnn-plain", **LOST, rate=1e-3)
        + learned("gru-plain", error=0.1, decades=-0.001, rate=1e-3),
        "rate-1e-1": learned("gru-plain", error=1e-6, decades=0, rate=0.1, seeds=1),  # the others diverged
    }
    findings = long_dependencies.judge(records)
    (gru,) = (each for each in findings if each.measured.startswith("gru-plain: squared"))
    assert gru.figure == pytest.approx(4e-4)  # 3, 4 and 5 e-4
    assert gru.note == "learning rate 0.003 of 0.001, 0.003, 0.1"
    half = 4.3027 * 1e-4 / math.sqrt(3)  # Student's t of 2 degrees of freedom
    assert (gru.low, gru.high) == pytest.approx((4e-4 - half, 4e-4 + half), rel=1e-4)
    assert "gru-plain: squared error 0.0004" in drawn(1, records)


def test_the_slope_of_gradients_that_vanish_below_float32():
    rows = [
        {"distance": lag, "length": 100, "grad_norm": 10 ** (-0.2 * middle) if lag < 32 else 0.0}
        for lag, middle in ((0, 0), (1, 1), (2, 2.5), (4, 5.5), (8, 11.5), (16, 23.5), (32, 47.5), (64, 81.5))
    ]
    assert [long_dependencies.lag_of(row) for row in rows] == [0, 1, 2.5, 5.5, 11.5, 23.5, 47.5, 81.5]
    last = (47.5, math.log10(1.1e-19))
    known = np.array([(middle, -0.2 * middle) for middle in (0, 1, 2.5, 5.5, 11.5, 23.5)] + [last])
    covariance = np.cov(known.T)
    assert long_dependencies.slope_of(rows) == pytest.approx(covariance[0, 1] / covariance[0, 0])
    assert long_dependencies.slope_of(rows[:6]) == pytest.approx(-0.2)
    assert long_dependencies.slope_of(rows[-3:]) is None  # two points


# 2: scaling

LENGTHS = (256, 1024, 4096, 16_384)


def curve(model, cost, measure="train", lengths=LENGTHS, **options):
    return [
        record(measure, model, length, cost(length), rows=[{"mem_peak_bytes": length}], **options) for length in lengths
    ]


def quadratic(length):
    return 2 + 1e-2 * length + 1e-5 * length**2


def scaled(mamba=lambda length: 0.03 * length, lengths=LENGTHS, spread=0.002):
    linear = {"mamba": mamba, "rwkv4": lambda length: 0.02 * length}
    return {
        measure: curve("transformer", quadratic, measure, lengths, spread=spread)
        + [each for model, cost in linear.items() for each in curve(model, cost, measure, lengths, spread=spread)]
        for measure in ("forward", "train")
    }


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (scaled(), HOLDS),
        (scaled(mamba=quadratic), FAILS),
        (scaled(spread=0.3), NOT_DECIDED),
        (scaled(lengths=LENGTHS[1:]), NOT_DECIDED),  # too few for a fit
    ],
)
def test_scaling(records, verdict):
    assert verdict_of(2, records) == verdict


def test_attentions_own_exponent_is_free_of_the_linear_part():
    def own(cost):
        (found,) = (c for c in scaling.curves_of(curve("transformer", cost, spread=0.0)) if c.quantity == "time_ms")
        return scaling.own_exponent(found)

    assert own(lambda length: length + 1e-5 * length**2)[:3] == pytest.approx((2, 2, 2))
    assert own(lambda length: length + 1e-5 * length**1.5)[:3] == pytest.approx((1.5, 1.5, 1.5))
    assert own(quadratic)[3:] == (1024, 16_384)
    assert own(lambda length: length**0.9)[:3] == (None, None, None)  # there is no such part
    assert scaling.own_exponent(None) == scaling.UNKNOWN


def test_the_crossover_is_found():
    findings = scaling.judge(scaled())
    (crossing,) = (
        each for each in findings if each.measured == "train: length from which mamba is cheaper than transformer"
    )
    truth = 1885.6  # the root of 2 + 0.01 L + 1e-5 L^2 = 0.03 L
    assert crossing.verdict == HOLDS
    assert crossing.figure == pytest.approx(truth, rel=0.05)
    assert f"mamba: exponent 1.00, cheaper than transformer from {crossing.figure:,.0f}" in drawn(2, scaled())


# 3: decoding


def decoded(ratio, spread=0.002):
    """A step takes a Transformer `ratio` times as long at the largest cache, and as long as Mamba at the smallest."""
    found = {}
    for batch in (1, 8, 32):
        part = found[f"batch-{batch}"] = []
        for length in (1024, 16_384):
            fits = batch * length <= 8 * 16_384
            share = (length * batch - 1024) / (8 * 16_384 - 1024)
            state = {"state_bytes": 6000 * batch}
            part.append(record("decode", "mamba", length, spread=spread, rows=[state], batch=batch))
            for slow, size in (("transformer", 16), ("transformer++", 4)):
                ms, cache = 1 + (ratio - 1) * share, {"state_bytes": size * length * batch}
                status = "ok" if fits else "skipped"
                part.append(record("decode", slow, length, ms, spread=spread, status=status, rows=[cache], batch=batch))
    return found


@pytest.mark.parametrize(
    ("records", "verdict"),
    [(decoded(5.0), HOLDS), (decoded(2.0), FAILS), (decoded(4.0, spread=0.3), NOT_DECIDED)],
)
def test_decode_speed(records, verdict):
    assert verdict_of(3, records) == verdict
    first = decode_speed.judge(records)[0]
    assert first.measured.endswith("tokens/s at a context of 16384, batch 8")
    assert (first.length_min, first.length_max) == (16_384, 16_384)


def test_the_ratio_at_each_models_own_batch():
    """Mamba makes 32 tokens in a step of 1 ms, the Transformer 8 in one of 5 ms."""
    findings = decode_speed.judge(decoded(5.0))
    own = next(each for each in findings if "largest batch" in each.measured)
    assert own.measured.endswith("context 16384: 32 and 8")
    assert own.figure == pytest.approx(20, rel=0.01)
    assert own.note == "larger batches than 32 were not tried"


def test_what_the_paper_foretells():
    """(1000 parameters of 4 bytes + the state) / 10 GB/s."""
    places = decode_speed.places(decoded(5.0), "transformer")
    assert [(place.length, place.batch) for place in places] == [
        *((1024, 1), (1024, 8), (16_384, 1), (1024, 32), (16_384, 8))
    ]
    first = places[0]
    assert first.foretold == pytest.approx((4000 + 16 * 1024) / (4000 + 6000))
    assert decode_speed.foretold_ms(first.fast) == pytest.approx(10_000 / 1e10 * 1e3)
    assert decode_speed.foretold_ms({**first.fast, "peaks": {}}) is None
    finding = next(each for each in decode_speed.judge(decoded(5.0)) if "measured over foretold" in each.measured)
    assert finding.figure == pytest.approx(1 / first.foretold, rel=0.01)
    assert finding.verdict == FAILS
    texts = drawn(3, decoded(5.0))
    assert "transformer: 5x (foretold 4" in texts
    assert "transformer: skipped" in texts


# 7: parallel and recurrent


def both_forms(difference, rwkv=1.0, attention=(1.2, 5.0), spread=0.002):
    rows = [{"max_difference": difference, "largest_logit": 5.0}]
    costs = {"rwkv4": (1.0, 1.0, rwkv), "transformer": (1.0, *attention), "mamba": (1.0, 1.0, 1.0)}
    return {
        "agreement": [record("agreement", "rwkv4", length, rows=rows, method="associative") for length in (256, 1024)],
        "decode": [
            record("decode", model, length, ms, spread=spread)
            for model, times in costs.items()
            for length, ms in zip((1024, 16_384, 65_536), times, strict=True)
        ],
    }


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (both_forms(1e-6), HOLDS),
        (both_forms(1e-3), FAILS),
        (both_forms(1e-6, rwkv=1.5), FAILS),
        (both_forms(1e-6, attention=(5.0, 5.0)), NOT_DECIDED),  # it may have stopped growing
        (both_forms(1e-6, attention=(5.0, 4.0)), FAILS),
        (both_forms(1e-6, spread=0.4), NOT_DECIDED),
    ],
)
def test_parallel_and_recurrent(records, verdict):
    assert verdict_of(7, records) == verdict


def test_the_ratio_of_times_and_its_interval():
    findings = parallel_and_recurrent.judge(both_forms(1e-6))
    grown = findings[3]
    assert grown.figure == pytest.approx(5, rel=0.005)
    assert (grown.low, grown.high) == pytest.approx((5, 5), rel=0.01)
    assert (grown.length_min, grown.length_max) == (1024, 65_536)
    assert "transformer: 1 ms at 1024, 5 ms at 65536" in drawn(7, both_forms(1e-6))


def test_logits_that_are_no_numbers_disagree():
    records = both_forms(1e-6)
    records["agreement"][0] |= {"status": "nan", "message": "the logits' largest difference is nan"}
    assert verdict_of(7, records) == FAILS


# The command


def toy_part(name, length):
    return Part(name, ("--suite", "quick", "--measures", "forward", "--models", "rnn,gru", "--lengths", str(length)))


def toy(number, name, share=1.0, verdict=HOLDS):
    def judge(records):
        count = sum(len(part) for part in records.values())
        found = Finding(
            f"{count} cells", float(count), None, 1 / 3, "x", verdict if count == 4 else NOT_DECIDED, "4 cells", 16, 32
        )
        return [found, dataclasses.replace(found, measured="an aside")]

    def parts(minutes):
        return [toy_part("a", 16), toy_part("b", 32 if minutes < 60 else 64)]

    def draw(axes, records):
        axes.plot([1, 2])

    return Claim(number, name, f"{name} is so [1]", parts, judge, draw, share)


class Sweep:
    """In place of run_sweep: a cell takes `seconds` of a clock that nobody waits for."""

    def __init__(self, seconds=1.0, status="ok", stop_after=None, load=0.5):
        self.now, self.seconds, self.status, self.stop_after, self.load = 0.0, seconds, status, stop_after, load
        self.measured = []

    def monotonic(self):
        return self.now

    def __call__(self, request, console, deadline, checked):
        request.out.mkdir(parents=True, exist_ok=True)
        (request.out / "suite.json").write_text(json.dumps(request.configuration()))
        with closing(Journal(request.out)) as journal:
            finished = {Cell(**each["cell"]) for each in journal.records}
            for cell in request.cells:
                if cell in finished or self.now >= deadline:
                    continue
                if len(self.measured) == self.stop_after:
                    return request.out, journal.records, True
                self.now += self.seconds
                self.measured.append(cell)
                one = record(cell.measure, cell.model, cell.length, status=self.status)
                one |= {"cell": asdict(cell), "environment": ENVIRONMENT, "load_before": self.load}
                journal.append(one)
            return request.out, journal.records, False


@pytest.fixture
def sweep(monkeypatch):
    def install(**options):
        fake = Sweep(**options)
        monkeypatch.setattr(command, "run_sweep", fake)
        monkeypatch.setattr(command.time, "monotonic", fake.monotonic)
        monkeypatch.setattr(command.Runner, "probe", lambda self: FACTS)
        monkeypatch.setattr(command, "CLAIMS", {1: toy(1, "first"), 3: toy(3, "third", share=3.0, verdict=FAILS)})
        return fake

    return install


def rows_of_csv(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def rows_in(folder):
    return rows_of_csv(folder / "claims.csv")


def test_a_claim_becomes_rows_and_a_picture(sweep, tmp_path, capsys):
    fake = sweep()
    assert main(["claims", "--out", str(tmp_path)]) == 0
    assert len(fake.measured) == 8
    rows = rows_in(tmp_path)
    assert tuple(rows[0]) == table.COLUMNS
    assert table.COLUMNS[:12] == tuple(
        "claim name statement measured figure low high unit verdict decided_by length_min length_max".split()
    )
    assert [(row["claim"], row["measured"], row["verdict"]) for row in rows] == [
        *(("1", "4 cells", "holds"), ("1", "an aside", "holds")),
        *(("3", "4 cells", "fails"), ("3", "an aside", "fails")),
    ]
    known = {"figure": "4", "low": "", "high": "0.333333", "unit": "x", "length_min": "16", "length_max": "32"}
    assert known.items() <= rows[0].items()
    assert rows[2]["command"] == "./run_bench.sh claims --only 3 --budget 15"
    assert rows[0]["device"]
    assert {path.name for path in (tmp_path / "claims").iterdir()} == {
        f"{name}{theme}.{kind}" for name in ("first", "third") for theme in ("", "-dark") for kind in ("png", "svg")
    }
    assert "first is so [1]" in capsys.readouterr().out
    assert (tmp_path / "claims.md").read_text().splitlines()[2:] == [
        "| 1. first is so [1] | holds | 4x | 4 cells |",
        "| 3. third is so [1] | fails | 4x | 4 cells |",
    ]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (("4.91234", "4.7", "5.25", "x"), "4.91x [4.7, 5.25]"),
        (("1325.24", "1105.18", "", "tokens"), "1,325 tokens"),
        (("0.000164", "0.0001", "0.0002", ""), "0.000164 [0.0001, 0.0002]"),
        (("", "", "", "x"), ""),
    ],
)
def test_figures_in_words(row, text):
    assert table.figure_text(dict(zip(("figure", "low", "high", "unit"), row, strict=True))) == text


def test_time_is_shared_and_kept(sweep, tmp_path, capsys):
    """A minute a cell: the first claim has 2 of the 8 minutes, the second the other 6."""
    fake = sweep(seconds=60.0)
    assert main(["claims", "--budget", "8", "--out", str(tmp_path)]) == 0
    assert len(fake.measured) == 2 + 4
    first, _, third, _ = rows_in(tmp_path)
    assert first["verdict"] == NOT_DECIDED
    assert first["note"] == "out of time (2 minutes): 2 of 4 cells did not begin"
    assert (third["verdict"], third["note"]) == (FAILS, "")
    why = "not decided (out of time (2 minutes): 2 of 4 cells did not begin)"
    assert f"| 1. first is so [1] | {why} | 2x |" in (tmp_path / "claims.md").read_text()


def test_no_time_at_all_is_a_verdict_too(sweep, tmp_path, monkeypatch, capsys):
    fake = sweep()

    def slow_probe(runner):
        fake.now += 3600
        return FACTS

    monkeypatch.setattr(command.Runner, "probe", slow_probe)
    assert main(["claims", "--only", "1", "--out", str(tmp_path / "new")]) == 0
    assert not fake.measured
    row = rows_in(tmp_path / "new")[0]
    assert (row["verdict"], row["note"]) == (NOT_DECIDED, "out of time (20 minutes): 4 of 4 cells did not begin")
    assert "4 cells are left" in capsys.readouterr().out


def test_the_same_command_goes_on(sweep, tmp_path, capsys):
    sweep(stop_after=3)
    assert main(["claims", "--out", str(tmp_path)]) == 130
    assert not (tmp_path / "claims.csv").exists()
    assert f"--out {tmp_path} goes on" in capsys.readouterr().out.replace("\n", " ")
    fake = sweep()
    assert main(["claims", "--out", str(tmp_path)]) == 0
    assert len(fake.measured) == 5
    assert len(read_journal(tmp_path / "first" / "a" / "journal.jsonl")) == 2
    assert [row["verdict"] for row in rows_in(tmp_path)] == [HOLDS, HOLDS, FAILS, FAILS]


def test_a_claim_measured_later_joins_the_others(sweep, tmp_path):
    sweep()
    assert main(["claims", "--only", "third", "--out", str(tmp_path)]) == 0
    assert [row["claim"] for row in rows_in(tmp_path)] == ["3", "3"]
    assert rows_in(tmp_path)[0]["command"].endswith("--only 3 --budget 20")
    assert main(["claims", "--only", "1", "--out", str(tmp_path)]) == 0
    assert [row["claim"] for row in rows_in(tmp_path)] == ["1", "1", "3", "3"]


def test_a_busy_machine_is_told(sweep, tmp_path):
    cores = len(os.sched_getaffinity(0))
    sweep(load=1.6 * cores)
    assert main(["claims", "--only", "1", "--out", str(tmp_path)]) == 0
    expected = f"the machine was busy (load {1.6 * cores:.1f} on {cores} cores): times may be off"
    assert rows_in(tmp_path)[0]["note"] == expected


def test_failures_are_told(sweep, tmp_path):
    sweep(status="timeout")
    assert main(["claims", "--only", "1", "--out", str(tmp_path)]) == 3
    assert rows_in(tmp_path)[0]["note"] == "a: 2 timeout; b: 2 timeout"
    assert not (tmp_path / "claims").exists()  # nothing to draw


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "scalling"], "did you mean 'scaling'"),
        (["--only", "9"], "unknown claim '9'"),
        (["--only", ""], "unknown claim ''"),
        (["--budget", "0"], "--budget must be positive minutes, got 0"),
        (["--budget", "nan"], "--budget must be positive minutes, got nan"),
    ],
)
def test_wrong_use_is_told_at_once(arguments, message, capsys):
    assert main(["claims", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_budget_that_plans_other_cells_is_told_before_anything_runs(sweep, tmp_path, capsys):
    fake = sweep()
    assert main(["claims", "--only", "1", "--out", str(tmp_path)]) == 0
    assert main(["claims", "--only", "1", "--budget", "60", "--out", str(tmp_path)]) == 2
    assert "claim 1, part b: --out" in capsys.readouterr().err
    assert len(fake.measured) == 4


class Hurried:
    """In place of a Runner: each cell takes a second of a clock that nobody waits for."""

    now, checks = 0.0, 0

    def __init__(self, settings):
        pass

    def probe(self):
        return FACTS

    def peaks(self):
        return {}

    def check(self, cell):
        Hurried.checks += 1
        return {"status": "ok", "message": "", "rows": [{}]}

    def measure_in_turns(self, cells, on_stage, on_turn):
        for cell in cells:
            Hurried.now += 1
            yield record(cell.measure, cell.model, cell.length) | {"cell": asdict(cell)}


def test_a_sweep_ends_at_its_deadline_and_goes_on(tmp_path, monkeypatch, console):
    monkeypatch.setattr(sweep_module, "Runner", Hurried)
    monkeypatch.setattr(sweep_module.time, "monotonic", lambda: Hurried.now)
    arguments = "--suite quick --models rnn,gru --measures forward --lengths 16,32,64 --out"
    request = make_request(_parse_run([*arguments.split(), str(tmp_path / "run")]))
    checked = {}
    folder, records, interrupted = sweep_module.run_sweep(request, console, Hurried.now + 2, checked)
    assert [(each["cell"]["model"], each["cell"]["length"]) for each in records] == [
        *(("rnn", 16), ("rnn", 32), ("rnn", 64))  # a curve that has begun is measured whole
    ]
    assert not interrupted
    assert len(rows_of_csv(folder / "forward.csv")) == 3
    _, records, _ = sweep_module.run_sweep(request, console)
    assert len(records) == 6
    assert len(rows_of_csv(folder / "forward.csv")) == 6
    at_another_size = make_request(_parse_run([*arguments.split(), str(tmp_path / "small"), "--size", "small"]))
    before = Hurried.checks
    sweep_module.run_sweep(at_another_size, console, checked=checked)
    assert Hurried.checks - before == 3  # the shapes that the first one had not come to


@pytest.mark.slow
def test_end_to_end(tmp_path):
    """The cheapest claim, half a minute at a time until nothing is left: real children, real records."""
    arguments = [sys.executable, "-P", "-m", "bench", "claims", "--only", "7", "--budget", "0.5", "--out", tmp_path]
    for _ in range(6):
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        rows = rows_in(tmp_path)
        if "out of time" not in rows[0]["note"]:
            break
    assert rows[0]["verdict"] == claim.all_of(row["verdict"] for row in rows[1:])
    agreed = next(row for row in rows if row["measured"].startswith("RWKV-4, trained"))
    assert float(agreed["figure"]) < 1e-4
    assert agreed["verdict"] == HOLDS
    grown = next(row for row in rows if row["measured"].startswith("transformer: time of a token at a context of 64k"))
    assert float(grown["figure"]) > 2
    assert (tmp_path / "claims" / "parallel_and_recurrent.png").stat().st_size > 10_000
    for part in ("decode", "agreement"):
        assert validate(tmp_path / "parallel_and_recurrent" / part) == ([], [])
