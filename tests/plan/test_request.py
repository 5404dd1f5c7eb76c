"""Parsing and validating the request: lengths, shards and sizes; and the suites from which it chooses."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.data import load
from lengthscale.bench.host.request import make_request
from lengthscale.bench.plan.cell import Cell, parse_lengths
from lengthscale.bench.plan.checkpoint import possible_lengths, reason_against
from lengthscale.bench.plan.checks import unsupported
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.options import from_arguments
from lengthscale.bench.plan.run_options import OPTIONS
from lengthscale.bench.plan.schedule import groups_of
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.suites import SUITES
from lengthscale.bench.results import resume


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("256", [256]),
        ("1k,4K", [1024, 4096]),
        ("512:4k:x2", [512, 1024, 2048, 4096]),
        ("1m", [1 << 20]),
        ("3:80:x3,5", [3, 5, 9, 27]),
    ],
)
def test_lengths(text, lengths):
    assert parse_lengths(text) == lengths


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "a", "1:2", "8:4:x2", "1:8:x1", "1:8:2", "4,"])
def test_lengths_that_are_none(text):
    with pytest.raises(ValueError, match="length"):
        parse_lengths(text)


@pytest.mark.parametrize(
    "option",
    [
        *(["--shard", "0/2"], ["--shard", "3/2"], ["--shard", "a"], ["--mem-limit", "lots"], ["--contexts", "far"]),
        *(["--seed", "a"], ["--seed", "-1"], ["--seed", "1.5"], ["--seed", ""], ["--seed", "0,"]),
    ],
)
def test_numbers_that_are_none(option, capsys):
    assert main(["run", "--list", *option]) == 2
    assert repr(option[1]) in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--step-tokens", "--windows", "--train-tokens", "--batch"])
def test_numbers_that_are_not_positive(option, capsys):
    assert main(["run", "--list", option, "0"]) == 2
    assert f"{option}: expected a positive whole number, got '0'" in capsys.readouterr().err


def test_several_seeds_are_cells_each():
    request = make_request(
        from_arguments(OPTIONS, "--suite quick --models rnn,gru --measures train --lengths 64 --seed 3,5".split())
    )
    assert [(cell.model, cell.seed) for cell in request.cells] == [("rnn", 3), ("rnn", 5), ("gru", 3), ("gru", 5)]
    assert request.cells[0].label() == "rnn train L=64 seed=3"


def test_models_carry_options():
    options = "--suite quick --measures train --lengths 64 --models"
    request = make_request(from_arguments(OPTIONS, [*options.split(), "s4d:dt=small,rule=bilinear,mamba:rule=mamba"]))
    assert [cell.model for cell in request.cells] == ["s4d:rule=bilinear,dt=small", "mamba"]
    assert request.cells[0].label() == "s4d:rule=bilinear,dt=small train L=64"


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("s4d:rul=zoh", "unknown option of s4d 'rul'; did you mean 'rule'? (known: rule, dt)"),
        ("gru,s4d-small-dt", "model 's4d-small-dt' is now called 's4d:dt=small'"),
    ],
)
def test_a_wrong_name_of_a_model_is_refused(models, message, capsys):
    assert main(["run", "--list", "--models", models]) == 2
    assert message in capsys.readouterr().err


def test_settings_of_learning_are_part_of_what_a_run_is():
    options = "--suite quick --measures quality --models rnn --lengths 64"
    given = "--step-tokens 512 --windows 8 --contexts 1,1k"
    plain, changed = (make_request(from_arguments(OPTIONS, text.split())) for text in (options, f"{options} {given}"))
    settings = changed.configuration()["settings"]
    assert (settings["step_tokens"], settings["windows"], settings["contexts"]) == (512, 8, [1, 1024])
    assert changed.cells[0].batch == 8
    assert resume.differences(plain.configuration(), changed.configuration())[:3] == [
        *("settings: step_tokens: 1024 -> 512", "settings: contexts: [1, 4, 16, 64] -> [1, 1024]"),
        "settings: windows: 32 -> 8",
    ]


def test_shards_are_the_sweep_cut_by_series(capsys):
    def listed(*arguments):
        assert main(["run", "--suite", "default", "--list", *arguments]) == 0
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith("measure=")]

    whole, parts = listed(), [listed("--shard", f"{i}/3") for i in (1, 2, 3)]
    assert sorted(line for part in parts for line in part) == sorted(whole)
    assert all(parts)
    series = [{tuple(line.split()[:4]) for line in part} for part in parts]
    assert not series[0] & series[1] | series[0] & series[2] | series[1] & series[2]


def test_a_checkpoint_has_positions_for_the_new_tokens_too():
    architecture = SimpleNamespace(only_length=lambda config: None, longest=lambda config: 40)
    interface = SimpleNamespace(outputs=None, features=0)
    checkpoint: Any = SimpleNamespace(path=Path("it"), architecture=architecture, config={}, interface=interface)
    assert possible_lengths(checkpoint, [8, 64]) == [8, 40]
    assert possible_lengths(checkpoint, [8, 64], room=16) == [8, 24]
    assert possible_lengths(checkpoint, [8, 64], room=64) == [1]
    cell = Cell("generate", "gpt2", "it", "auto", 24, 1, "float32", 0, "text", 0)
    data = load("text")
    assert reason_against(checkpoint, cell, data, room=16) is None
    said = "it has 40 learned positions, not 24 and 17 new ones"
    assert reason_against(checkpoint, cell, data, room=17) == said
    assert [Settings(new_tokens=9).room(measure) for measure in ("generate", "decode", "forward")] == [9, 0, 0]


def test_chunks_are_an_axis_of_what_can_be_read_in_chunks(capsys):
    """One series has one algorithm, at every length."""
    which = ["--measures", "generate,forward,decode", "--lengths", "1k,64k"]
    assert main(["run", "--list", *which]) == 0
    assert " chunk=4096 " not in capsys.readouterr().out
    assert main(["run", "--list", *which, "--chunk", "4k"]) == 0
    listed = [dict(pair.split("=") for pair in line.split()) for line in capsys.readouterr().out.splitlines()[:-1]]
    chunked = {(row["measure"], row["model"]) for row in listed if row["chunk"] != "0"}
    models = {row["model"] for row in listed} - {"transformer"}
    assert chunked == {(measure, model) for measure in ("generate", "forward") for model in models}
    assert {row["length"] for row in listed if row["chunk"] == "4096"} == {"1024", "65536"}
    assert main(["run", "--list", *which, "--chunk", "0,4k"]) == 0
    assert capsys.readouterr().out.count(" chunk=4096 ") == sum(row["chunk"] != "0" for row in listed)
    assert main(["run", "--list", *which, "--chunk", "4x"]) == 2
    assert "--chunk: length '4x' is not a positive whole number" in " ".join(capsys.readouterr().err.split())


def test_a_model_without_a_state_of_a_width_is_unsupported_at_equal_state():
    cell = Cell("recall", "vit", "state4k", "auto", 32, 1, "float32", 0, "mqar", 0)
    assert unsupported(cell, {}, None, 0) == "vit has no state whose bytes follow from its width, as state4k needs"
    assert unsupported(replace(cell, model="gru"), {}, None, 0) is None


def test_a_chunk_that_does_not_divide_the_length_is_unsupported():
    cell = Cell("train", "mamba", "tiny", "auto", 5000, 1, "float32", 4096, "text", 0)
    assert unsupported(cell, {}, None, 0) == "length 5000 is no multiple of the chunk, 4096 tokens"
    assert unsupported(replace(cell, length=1000), {}, None, 0) is None


def test_suites_are_whole():
    for name, suite in SUITES.items():
        assert set(suite.sweeps) == set(MEASURES), name  # --measures may ask for any of them
        assert set(suite.measures) <= set(suite.sweeps), name
        assert all(parse_lengths(sweep.lengths) for measure in suite.sweeps for sweep in suite.of(measure))
        assert json.dumps(suite.settings.contexts)


def test_the_paper_suite_measures_the_most_telling_cells_first():
    request = make_request(from_arguments(OPTIONS, ["--suite", "paper", "--minutes", "8"]))
    assert request.minutes == 8
    assert {(cell.dtype, cell.batch) for cell in request.cells} == {("bfloat16", 1)}
    parts = [
        (group[0].measure, *{cell.size for cell in group}, max(cell.length for cell in group))
        for group in groups_of(request.cells)
    ]
    assert parts[:4] == [(m, "130m", 65_536) for m in ("train", "forward", "decode", "generate")]
    assert parts[4:9] == [
        *((measure, "130m", 2**20) for measure in ("train", "forward", "decode", "generate")),
        ("frontier", "130m", 4_096),
    ]
    assert {size for _, size, _ in parts[9:]} == {"370m"}
    trained = {(cell.length, cell.chunk) for cell in request.cells if (cell.measure, cell.model) == ("train", "mamba")}
    whole = {(length, 0) for length in (1_024, 4_096, 16_384, 65_536, 262_144, 2**20)}
    assert trained == whole | {(length, 65_536) for length in (65_536, 262_144, 2**20)}
    assert {cell.chunk for cell in request.cells if cell.model == "transformer"} == {0}
    assert "--minutes" not in request.arguments  # of the first part only
    in_float32 = make_request(from_arguments(OPTIONS, ["--suite", "paper", "--dtype", "float32"]))
    assert {cell.dtype for cell in in_float32.cells} == {"float32"}


def test_a_model_that_learns_has_more_time_than_one_whose_cost_is_measured():
    settings = SUITES["paper"].settings
    assert settings.of("train", "130m").timeout_s == 90
    assert settings.of("quality", "small").timeout_s == settings.of("recall", "small").timeout_s == 14_400
