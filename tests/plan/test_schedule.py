"""The order in which replicates are measured."""

from dataclasses import replace
from itertools import chain, pairwise

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.schedule import groups_of, schedule

CELL = Cell("train", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", 0)
CELLS = [
    replace(CELL, measure=measure, length=length, model=model)
    for measure in ("forward", "train", "quality")
    for length in (16, 32, 64, 128)
    for model in ("rnn", "gru", "mamba", "transformer")
]


def test_every_cell_has_its_replicates_and_one_that_trains_has_one():
    turns = schedule(CELLS, 3)
    assert len(turns) == len(set(turns)) == 16 * 3 + 16 * 3 + 16
    assert {turn.cell for turn in turns} == set(CELLS)
    assert [turn for turn in turns if turn.cell.measure == "quality" and turn.replicate] == []


def test_the_first_replicates_come_first_and_measures_stay_together():
    turns = schedule(CELLS, 3)
    passes = list(dict.fromkeys((turn.replicate, turn.cell.measure) for turn in turns))
    assert passes == [
        (0, "forward"),
        (0, "train"),
        (0, "quality"),
        *((n, m) for n in (1, 2) for m in ("forward", "train")),
    ]
    assert [turn.replicate for turn in turns] == sorted(turn.replicate for turn in turns)


def test_cells_of_short_calls_have_two_replicates_in_each_round_after_the_first():
    decode = [replace(CELL, measure="decode", length=length) for length in (16, 32)]
    turns = schedule([CELL, *decode], 3)
    rounds = [(turn.cell.measure, turn.replicate) for turn in turns]
    assert list(dict.fromkeys(rounds)) == [
        ("train", 0),
        ("decode", 0),
        ("train", 1),
        ("decode", 1),
        ("decode", 2),
        ("train", 2),
        ("decode", 3),
        ("decode", 4),
    ]
    assert len(turns) == len(set(turns)) == 3 + 2 * 5
    assert [turn.replicate for turn in schedule(decode, 1)] == [0, 0]


def test_models_and_lengths_are_interleaved():
    turns = schedule(CELLS, 3)
    for replicate in range(3):
        mine = [turn.cell for turn in turns if turn.replicate == replicate and turn.cell.measure == "train"]
        changes = sum(a.model != b.model for a, b in pairwise(mine))
        assert changes >= 8  # sorted by models there would be 3
        lengths = [[cell.length for cell in mine if cell.model == model] for model in ("rnn", "gru", "mamba")]
        if replicate == 0:  # short cells predict which long ones would take too long
            assert lengths == [[16, 32, 64, 128]] * 3
        else:
            assert any(each != sorted(each) for each in lengths)


def test_the_order_is_the_same_in_each_run_and_another_one_in_each_replicate():
    turns = schedule(CELLS, 3)
    assert turns == schedule(list(CELLS), 3)
    second, third = ([turn.cell for turn in turns if turn.replicate == number] for number in (1, 2))
    assert sorted(second, key=Cell.order) == sorted(third, key=Cell.order)
    assert second != third


def test_what_the_request_lists_first_is_measured_first():
    """Cells of one measure that others separate are groups of their own, in each replicate."""
    late = [replace(cell, length=4 * cell.length) for cell in CELLS if cell.length == 128]
    groups = [CELLS[16:32], CELLS[:16], *([cell for cell in late if cell.measure == m] for m in ("train", "forward"))]
    cells = list(chain(*groups))
    assert groups_of(cells) == groups
    measured = [turn.cell for turn in schedule(cells, 2)]
    for start in (0, 40):
        for group in groups:
            assert set(measured[start : start + len(group)]) == set(group)
            start += len(group)
