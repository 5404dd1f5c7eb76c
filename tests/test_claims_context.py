"""Claims 4 and 5: their judges on losses whose truth is known, and the protocol that they rest on."""

# A figure or an interval may be None, and data a stream, images or a task; here they are known:
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportOperatorIssue=false, reportOptionalOperand=false

import csv
import dataclasses
import json
from dataclasses import asdict

import matplotlib
import numpy as np
import pytest

from bench import intervals, tasks
from bench.__main__ import _parse_run, main
from bench.cell import Cell
from bench.claims import CLAIMS, domains, paired, real_context
from bench.claims.claim import FAILS, HOLDS, NOT_DECIDED
from bench.evaluation import figures_of_windows
from bench.journal import csv_text, read_journal
from bench.plots.data import read_run
from bench.request import RequestError, make_request
from bench.suites import Settings
from bench.summary import summarise
from bench.tasks import planted
from bench.tasks.errors import DataError
from bench.validate import validate
from bench.workloads import text

matplotlib.use("Agg")
import matplotlib.pyplot as plt

MINE = {4: real_context, 5: domains}
WINDOWS = 40
DIFFICULTY = np.random.default_rng(0).normal(2.0, 0.5, WINDOWS)  # of each window, for every model and context


def record(model, data, points, *, seed=0, rate=0.01, train_loss=2.0, length=1024, status="ok", windows=None):
    """points: (context, control, mean loss, scatter from window to window). windows: how many at a context."""
    rows, kept = [], []
    for number, (context, control, loss, scatter) in enumerate(points):
        noise = np.random.default_rng([number, seed, len(model)]).normal(0, 1, WINDOWS)
        mine = loss + DIFFICULTY - 2 + scatter * (noise - noise.mean())
        mine = mine[: (windows or {}).get(context, WINDOWS)]
        row = {"context": context, "loss": float(mine.mean()), "learning_rate": rate, "train_loss": train_loss}
        row["train_tokens"] = 2**20
        rows.append(row | ({"control": control} if control else {}))
        kept.append([float(value) if np.isfinite(value) else None for value in mine])
    cell = Cell("quality", model, "tiny", "auto", length, 4, "float32", 0, data, seed)
    found = {"cell": asdict(cell), "status": status, "message": "", "rows": rows, "samples_ms": [1.0]}
    return found | {"window_losses": kept} if status == "ok" else found | {"rows": []}


def drawn(number, records):
    figure, axes = plt.subplots()
    CLAIMS[number].draw(axes, records)
    figure.canvas.draw()
    legend = axes.get_legend()
    texts = [*axes.texts, *(legend.get_texts() if legend else []), *axes.get_yticklabels()]
    plt.close(figure)
    return " ".join(text.get_text() for text in texts)


def found(findings, start):
    (one,) = (each for each in findings if each.measured.startswith(start))
    return one


# 4: real context

CONTEXTS = [64 * 4**power for power in range(8)]
FLOOR = planted.CHANCE - 0.9 * (planted.CHANCE - planted.floor())


def curve(gains, *, scatter=0.002, shuffled=0.0, contexts=CONTEXTS, **options):
    """gains: of each fourfold context. shuffled: the loss with the far context shuffled, over that given 256."""
    losses = 3.0 - np.concatenate([[0], np.cumsum(gains)])
    points = [(c, None, loss, scatter) for c, loss in zip(contexts, losses, strict=True)]
    points.append((contexts[-1], "shuffled beyond 256", losses[1] + shuffled, scatter))
    return record("mamba", "code", points, **options)


def planted_record(below=0.0, at=FLOOR):
    points = [(c, None, planted.CHANCE - gain, 0.01) for c, gain in ((1, 0.0), (4, below), (16, planted.CHANCE - at))]
    return record("transformer", "planted:distance=16", points)


def context_records(*args, below=0.0, at=FLOOR, **options):
    return {"rate-1e-2": [curve(*args, **options)], "planted": [planted_record(below, at)]}


@pytest.mark.parametrize(
    ("records", "verdict", "largest"),
    [
        (context_records([0.05] * 7), HOLDS, 2**20),
        (context_records([0.05] * 3 + [0.0] * 4), FAILS, 4096),
        (context_records([0.05] * 3 + [0.0005] * 4, scatter=1e-4), HOLDS, 2**20),  # little, but surely
        (context_records([0.05] * 3 + [-0.2] * 4), FAILS, 4096),  # worse beyond
        (context_records([0.05] * 3 + [np.nan] * 4, shuffled=0.0), FAILS, 4096),
        (context_records([0.05] * 4 + [0.0, 0.05, 0.05]), NOT_DECIDED, 2**14),  # flat, and then better again
        (context_records([0.002] * 7, scatter=0.2), NOT_DECIDED, None),
        (context_records([0.05] * 5, contexts=CONTEXTS[:6]), NOT_DECIDED, 2**16),  # it went no farther
        (context_records([0.05] * 3 + [0.0] * 2, contexts=CONTEXTS[:6]), FAILS, 4096),
        (context_records([0.05] * 7, shuffled=-0.25), NOT_DECIDED, 2**20),  # nearly as good without the order
        (context_records([0.05] * 7, shuffled=-0.05), HOLDS, 2**20),  # of the tokens' frequencies, which are left
        (context_records([0.0] * 7, shuffled=-0.05), NOT_DECIDED, None),  # a gain that only the shuffled ones have
        (context_records([0.05] * 7, at=planted.CHANCE), NOT_DECIDED, 2**20),  # a gain that is there is not found
        (context_records([0.05] * 7, below=0.5), NOT_DECIDED, 2**20),  # one that is not there is found
        ({"rate-1e-2": [curve([0.05] * 7)]}, NOT_DECIDED, 2**20),  # no control
        ({"planted": [planted_record()]}, NOT_DECIDED, None),
    ],
)
def test_real_context(records, verdict, largest):
    findings = real_context.judge(records)
    assert findings[0].verdict == verdict, findings
    assert findings[0].figure == largest
    assert all(each.decided_by for each in findings)


def test_what_a_fourfold_context_buys():
    findings = real_context.judge(context_records([0.05] * 3 + [0.0] * 4, windows={2**18: 5, 2**20: 2}))
    step = found(findings, "mamba on code: loss given 4,096 tokens less that given 1,024")
    assert step.figure == pytest.approx(-0.05)
    assert step.low == pytest.approx(-0.05 - 1.96 * 0.002 * 2**0.5 / WINDOWS**0.5, abs=3e-4)
    assert (step.verdict, step.length_min, step.length_max, step.note) == (HOLDS, 1024, 4096, "40 windows")
    assert found(findings, "mamba on code: loss given 65,536").verdict == FAILS
    assert found(findings, "mamba on code: loss given 262,144").note == "5 windows"
    last = found(findings, "mamba on code: loss given 1,048,576")
    assert (last.low, last.verdict) == (None, NOT_DECIDED)  # two windows carry no interval


def test_failing_controls_are_named():
    findings = real_context.judge(context_records([0.05] * 7, shuffled=-0.25, at=planted.CHANCE))
    shuffled = found(findings, "control: loss given 1,048,576 tokens shuffled beyond 256, less")
    assert shuffled.figure == pytest.approx(-0.25)
    assert shuffled.note.startswith("in order -0.3 ")
    assert shuffled.verdict == FAILS
    note = findings[0].note
    assert f"failed: {shuffled.measured}" in note
    assert "failed: control: transformer on a repeat planted at 16 tokens: gain from 4 to 16 tokens" in note
    assert "undecided" not in note
    texts = drawn(4, context_records([0.05] * 3 + [0.0] * 4))
    for expected in ("mamba: better", "mamba: flat, worse, or not decided", "control: shuffled beyond 256", "trained"):
        assert expected in texts


def test_how_far_the_budget_went_is_said():
    findings = real_context.judge(context_records([0.05] * 5, contexts=CONTEXTS[:6]))
    assert "the budget reached contexts of 65,536 tokens" in findings[0].note
    assert findings[0].length_max == 65_536


# 5: domains


def domain_records(gaps, *, seeds=3, scatter=0.01, of_seed=0.001):
    """gaps: {domain: {other: the other's loss over Mamba's}}; of_seed: how much seeds differ."""
    records = {}
    for data, others in gaps.items():
        mine = records[f"{data}-1e-2"] = []
        for seed in range(seeds):
            for model, gap in {"mamba": 0.0, **others}.items():
                shift = of_seed * (seed - 1) * (model == "mamba")
                points = [(28, None, 2.5, scatter), (448, None, 2.0 + gap + shift, scatter)]
                mine.append(record(model, data, points, seed=seed))
    return records


BEHIND = dict.fromkeys(domains.OTHERS, 0.1)
LEADS = dict.fromkeys(domains.DOMAINS, BEHIND)


@pytest.mark.parametrize(
    ("records", "verdict"),
    [
        (domain_records(LEADS), HOLDS),
        (domain_records({**LEADS, "audio": {**BEHIND, "s4d": -0.1}}), FAILS),
        (domain_records({**LEADS, "audio": {**BEHIND, "s4d": 0.0}}), NOT_DECIDED),
        (domain_records({"text": BEHIND, "audio": BEHIND}), NOT_DECIDED),  # a domain is missing
        (domain_records({**LEADS, "audio": {"gru": 0.1, "s4d": 0.1}}), NOT_DECIDED),  # a model is
        (domain_records(LEADS, seeds=2), NOT_DECIDED),
        (domain_records(LEADS, scatter=2.0), NOT_DECIDED),
        (domain_records(LEADS, of_seed=0.2), NOT_DECIDED),  # as large as what chance in the weights makes
    ],
)
def test_domains(records, verdict):
    findings = domains.judge(records)
    assert findings[0].verdict == verdict, findings
    assert len(findings) == 1 + 3 + 3 * len(domains.OTHERS)


def test_the_table_of_differences():
    records = domain_records({**LEADS, "audio": {"transformer": 0.3, "gru": 0.2, "s4d": -0.1}})
    findings = domains.judge(records)
    verdicts = {each.measured.split(" ")[0]: each.verdict for each in findings[1:4]}
    assert verdicts == {"language": HOLDS, "audio": FAILS, "genomics": HOLDS}
    assert findings[0].figure == pytest.approx(0.1)
    assert findings[0].measured.startswith("audio (audio): loss of mamba less that of the best other, s4d")
    assert findings[0].note.startswith("language holds, audio fails, genomics holds")
    ahead = found(findings, "audio: loss of mamba less that of gru, 3 seeds, 40 windows")
    assert (ahead.figure, ahead.verdict) == (pytest.approx(-0.2), HOLDS)
    assert (ahead.length_min, ahead.length_max) == (448, 448)
    assert ahead.high - ahead.low >= 2 * 4.30 * 0.001 / 3**0.5 * 0.99  # Student's t over seeds 0.001 apart
    texts = drawn(5, records)
    for expected in ("s4d +0.100", "gru -0.200", "audio"):
        assert expected in texts.replace("\N{MINUS SIGN}", "-")


def test_each_model_has_its_best_rate():
    records = domain_records(LEADS)
    diverged = record("mamba", "text", [(448, None, 9.0, 0.0)], rate=0.03, train_loss=9.0)
    better = [
        record("gru", "text", [(448, None, 1.0, 0.01)], seed=seed, rate=0.003, train_loss=1.0) for seed in range(3)
    ]
    one_seed = record("s4d", "text", [(448, None, 0.5, 0.01)], rate=0.003, train_loss=0.5)  # as few as say nothing
    records["text-other"] = [diverged, *better, one_seed]
    findings = domains.judge(records)
    gru = found(findings, "text: loss of mamba less that of gru")
    assert gru.figure == pytest.approx(1.0)
    assert "gru: learning rate 0.003 of 0.003, 0.01, at the sweep's edge" in gru.note
    assert found(findings, "text: loss of mamba less that of s4d").figure == pytest.approx(-0.1)


# Both


@pytest.mark.parametrize("number", MINE)
def test_parts_are_runs_that_their_models_can_do(number):
    for minutes in (0.1, *MINE[number].LEVELS):
        made = CLAIMS[number].parts(minutes)
        for part in made:
            request = make_request(_parse_run([*part.arguments]))
            assert request.cells
            assert not request.unsupported
        assert len({part.name for part in made}) == len(made)


@pytest.mark.parametrize("number", MINE)
def test_nothing_measured_decides_nothing(number):
    names = [part.name for part in CLAIMS[number].parts(1.0)]
    killed = {name: [record("mamba", "text", [], status="killed")] for name in names}
    for records in ({}, {name: [] for name in names}, killed):
        findings = CLAIMS[number].judge(records)
        assert {each.verdict for each in findings} == {NOT_DECIDED}
        assert {each.figure for each in findings} == {None}


def test_records_without_raw_losses_are_no_evidence():
    """Such as those of before they were kept."""
    records = context_records([0.05] * 7)
    del records["rate-1e-2"][0]["window_losses"]
    assert real_context.judge(records)[0].verdict == NOT_DECIDED


# Pairs


def test_pairs_are_surer_than_windows_apart():
    one = record("mamba", "text", [(64, None, 2.0, 0.02), (256, None, 1.9, 0.02)])
    near, far = paired.losses(one, 64), paired.losses(one, 256)
    apart = paired.difference(far, near)
    assert apart.figure == pytest.approx(-0.1)
    assert apart.low < -0.1 < apart.high
    alone = intervals.of_mean(far)
    assert alone[1] - alone[0] > 8 * (apart.high - apart.low)  # windows differ by 0.5, what context buys by 0.03


def test_pairs_are_of_the_windows_that_both_have():
    of, to = np.array([1.0, 2.0, 4.0]), np.array([0.5, 1.5, 3.5, 100.0])
    assert paired.difference(of, to) == (0.5, 0.5, 0.5, 3)
    assert paired.difference(of[:2], to) == (0.5, None, None, 2)
    assert paired.difference(np.array([1.0, np.nan, 2.0]), to) == (None, None, None, 3)
    assert paired.difference(np.zeros(0), to) == (None, None, None, 0)
    few = paired.difference(np.array([1.0, 2.0, 3.0]), np.zeros(3))
    assert (few.low, few.high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), rel=1e-4)


# The protocol

STREAM = np.arange(5000, dtype=np.uint16)  # a token says where it comes from
SETTINGS = Settings(contexts=(4, 16, 64), target_tokens=8, windows=16, least_sequences=3, context_tokens=160)


def test_a_long_context_is_read_in_the_first_windows():
    batches = {context: text.context_batch(STREAM, context, SETTINGS) for context in SETTINGS.contexts}
    assert [len(batches[context].inputs) for context in (4, 16, 64)] == [16, 10, 3]
    assert SETTINGS.shuffled_context == 4
    ends = {context: batch.targets[:, -8:] for context, batch in batches.items()}
    np.testing.assert_array_equal(ends[16], ends[4][:10])
    np.testing.assert_array_equal(ends[64], ends[4][:3])
    assert len(np.unique(ends[4][:, 0])) == 16
    for count in (3, 10):  # they lie all over the stream, and not at its beginning
        assert np.diff(np.sort([0, *ends[4][:count, 0], 5000])).max() < 2.6 * 5000 / count


def test_the_shuffle_leaves_targets_and_near_context_alone():
    settings = dataclasses.replace(SETTINGS, context_tokens=None)
    for near in (1, 16, 63):
        shuffled, whole = text.shuffled_batch(STREAM, near, settings), text.context_batch(STREAM, 64, settings)
        np.testing.assert_array_equal(shuffled.targets[:, -8:], whole.targets[:, -8:])
        np.testing.assert_array_equal(shuffled.weights, whole.weights)
        np.testing.assert_array_equal(shuffled.inputs[:, 64 - near :], whole.inputs[:, 64 - near :])
        far, before = shuffled.inputs[:, : 64 - near], whole.inputs[:, : 64 - near]
        np.testing.assert_array_equal(np.sort(far, axis=1), np.sort(before, axis=1))
        assert near == 63 or (far != before).any(axis=1).all()
        orders = far - before.min(axis=1, keepdims=True)
        assert near == 63 or (orders[0] != orders[1]).any()  # each window in an order of its own


@pytest.mark.parametrize("distance", [2, 16, 100])
def test_planted_data_repeat_at_the_distance_and_nowhere_else(distance):
    stream = tasks.load(f"planted:distance={distance}")
    assert stream.vocab == 4 * distance > stream.tokens.max()
    phase, value = np.divmod(stream.tokens.astype(int), 4)
    np.testing.assert_array_equal(phase, np.arange(len(phase)) % distance)
    same = 0.9 + 0.1 / 4
    spread = 5 * (same * (1 - same) / len(value)) ** 0.5
    assert np.mean(value[distance:] == value[:-distance]) == pytest.approx(same, abs=spread)
    for other in {1, distance // 2, distance - 1, distance + 1} - {0, distance}:
        assert np.mean(value[other:] == value[:-other]) == pytest.approx(0.25, abs=0.01)
    at_once = np.mean(
        (value[distance:-distance] == value[: -2 * distance]) & (value[distance:-distance] == value[2 * distance :])
    )
    assert at_once == pytest.approx(same**2, abs=0.01)  # one repeat says nothing of the next
    assert planted.floor() == pytest.approx(-same * np.log(same) - (1 - same) * np.log((1 - same) / 3))


def test_the_name_of_planted_data():
    assert tasks.load("planted").version == tasks.load("planted:distance=16").version
    assert tasks.load("planted").version != tasks.load("planted:distance=8").version
    for wrong, message in (
        ("planted:distance=1", "distance must be from 2 to 4096, got 1"),
        ("planted:far=3", "has one option, written as planted:distance=16"),
        ("planted:", "has one option"),
    ):
        with pytest.raises(DataError, match=message):
            tasks.load(wrong)


# The record


def test_a_record_keeps_the_losses_of_each_window(tmp_path):
    """A real child's: its rows' figures are the means, the folder is valid, and spoilt losses are named."""
    arguments = "--suite quick --measures quality --models rnn --lengths 16 --train-tokens 2048 --windows 6"
    arguments += " --contexts 4,16,64 --shuffle-beyond 4 --context-tokens 300 --out"
    folder = tmp_path / "run"
    assert main(["run", *arguments.split(), str(folder)]) == 0
    (kept,) = read_journal(folder / "journal.jsonl")
    points = [(row.get("context"), row.get("control")) for row in kept["rows"]]
    assert points == [(4, None), (16, None), (64, None), (16, "shuffled beyond 4"), (None, None)]
    assert [len(mine) for mine in kept["window_losses"]] == [6, 6, 4, 6, 6]
    for row, mine in zip(kept["rows"], kept["window_losses"], strict=True):
        assert np.mean(mine) == pytest.approx(row["loss"], rel=1e-6)
        assert np.ptp(mine) > 0.01
        assert [float(f"{value:.7g}") for value in mine] == mine
    np.testing.assert_array_equal(paired.losses(kept, 16, "shuffled beyond 4"), kept["window_losses"][3])
    with open(folder / "quality.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["control"] for row in rows] == ["", "", "", "shuffled beyond 4", ""]
    assert "window_losses" not in rows[0]
    assert validate(folder) == ([], [])
    assert summarise([kept])[0]["loss"] == f"{kept['rows'][2]['loss']:.3g}"  # of the longest context, in order
    assert list(read_run(folder).frames["quality"]["context"].fillna(0)) == [4, 16, 64, 0]
    for spoilt, message in (
        (kept["window_losses"][:3], "its window_losses are no list for each row"),
        ([[1.0] * 5, *kept["window_losses"][1:]], "n_sequences is 6, and there are 5 window_losses"),
        ([[9.0] * 6, *kept["window_losses"][1:]], "the mean of its window_losses 9"),
        ([[None] * 6, *kept["window_losses"][1:]], "a loss is blank where"),
        ([["a"] * 6, *kept["window_losses"][1:]], "its window_losses are no numbers"),
    ):
        (folder / "journal.jsonl").write_text(json.dumps({**kept, "window_losses": spoilt}) + "\n")
        assert any(message in each for each in validate(folder)[0]), message
    old = {key: value for key, value in kept.items() if key != "window_losses"}
    (folder / "journal.jsonl").write_text(json.dumps(old) + "\n")
    assert validate(folder) == ([], [])


def test_a_csv_without_controls_is_as_it_was():
    one = record("mamba", "code", [(64, None, 2.0, 0.0)])
    assert "control" not in csv_text("quality", [one]).splitlines()[0].split(",")
    control = record("mamba", "code", [(64, "shuffled beyond 4", 2.0, 0.0)])
    assert "control" in csv_text("quality", [one, control]).splitlines()[0].split(",")


def test_losses_that_are_not_finite_are_none():
    row = figures_of_windows(np.array([1.0, np.inf, np.nan, 2.123456789]), None)
    assert row["window_losses"] == [1.0, None, None, 2.123457]
    assert not np.isfinite(row["loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--contexts 4,64 --shuffle-beyond 64", "all windows are read at, 64, got 64"),
        ("--contexts 4,64 --windows 9 --context-tokens 100 --shuffle-beyond 4", "all windows are read at, 4, got 4"),
        ("--shuffle-beyond near", "length 'near' is not"),
        ("--context-tokens 0", "--context-tokens must be positive, got 0"),
        ("--target-tokens 0", "--target-tokens must be positive, got 0"),
    ],
)
def test_wrong_options_are_told(options, message):
    with pytest.raises(RequestError, match=message):
        make_request(_parse_run(["--suite", "quick", *options.split()]))
