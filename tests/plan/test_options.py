"""Options: their parsers, the table of `run`, and that a list of arguments is read as the command line is."""

import json
from dataclasses import fields
from pathlib import Path

import pytest

from lengthscale.bench.__main__ import main
from lengthscale.bench.commands import run
from lengthscale.bench.host.request import make_request
from lengthscale.bench.plan import options, parse
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.options import from_arguments, in_full, to_arguments
from lengthscale.bench.plan.run_options import OPTIONS, changed_settings, in_suite_json
from lengthscale.bench.plan.settings import Settings


@pytest.mark.parametrize(
    ("parser", "text", "value"),
    [
        (parse.positive_integer, "12", 12),
        (parse.several, "2", 2),
        (parse.positive_number, "1e-3", 0.001),
        (parse.seconds, "0.5", 0.5),
        (parse.seeds, "3, 0,3", (3, 0)),
        (parse.seeds, "4294967295", (2**32 - 1,)),
        (parse.size_in_bytes, "6g", 6 * 2**30),
        (parse.size_in_bytes, "1.5 MiB".replace(" ", ""), 3 * 2**19),
        (parse.shard, "2/3", parse.Shard(2, 3)),
        (parse.lengths, "1k,256", (256, 1024)),
        (parse.path, "~/runs", Path.home() / "runs"),
        (parse.some_of("model", ("rnn", "gru")), "gru, rnn,gru,", ("gru", "rnn")),
        (parse.one_of("size", ("tiny",)), "tiny", "tiny"),
    ],
)
def test_texts_become_values(parser, text, value):
    assert parser(text) == value


@pytest.mark.parametrize(
    ("parser", "text", "expected"),
    [
        *((parse.positive_integer, text, "a positive whole number") for text in ("0", "-1", "1.5", "nan", "", "1_0")),
        *((parse.several, text, "a whole number of 2 or more") for text in ("1", "0", "-2", "2.5", "two")),
        *((parse.positive_number, text, "a positive number") for text in ("0", "-1", "nan", "inf", "-inf", "x", "")),
        *((parse.seconds, text, "a positive number") for text in ("nan", "inf", "0")),
        (parse.seconds, "1e30", "at most 2,000,000 seconds"),
        *((parse.seeds, text, "0 to 4294967295") for text in ("4294967296", "9" * 20, "9" * 5000, "-1", "", "0,", "a")),
        *(
            (parse.size_in_bytes, text, "a size in bytes, such as 6g")
            for text in ("lots", "0", "-1g", "nan", "1" * 400)
        ),
        *((parse.shard, text, "i/n with 1 <= i <= n") for text in ("0/2", "3/2", "a", "1", "1/2/3", "")),
        *((parser, "", "a name or a path") for parser in (parse.name_or_path, parse.path)),
        (parse.name_or_path, "caf\udce9.txt", "a path in UTF-8"),
    ],
)
def test_what_is_no_value_is_refused_with_what_was_expected_and_given(parser, text, expected):
    with pytest.raises(ValueError, match="expected") as refused:
        parser(text)
    assert f"expected {expected}" in str(refused.value) or expected in str(refused.value)
    assert repr(text) in str(refused.value)


def test_every_unknown_name_is_a_mistake():
    with pytest.raises(ValueError, match="unknown") as refused:
        parse.some_of("model", ("rnn", "gru"))("rmn,gru,gro")
    assert [line[:40] for line in str(refused.value).splitlines()] == [
        "unknown model 'rmn'; did you mean 'rnn'?",
        "unknown model 'gro'; did you mean 'gru'?",
    ]


@pytest.mark.parametrize("flag", ["--timeout", "--compile-timeout", "--learning-rate"])
@pytest.mark.parametrize("text", ["nan", "inf", "0", "-1"])
def test_the_command_refuses_numbers_that_are_not_positive(flag, text, capsys):
    assert main(["run", "--list", flag, text]) == 2
    assert f"{flag}: expected a positive number, got {text!r}" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--data", "--resume", "--out", "--checkpoint"])
def test_a_variable_of_the_shell_that_is_not_set_is_refused(flag, capsys):
    assert main(["run", "--list", flag, ""]) == 2
    assert f"{flag}: expected a name or a path, got ''" in capsys.readouterr().err


def test_the_table_is_consistent():
    assert len({option.flag for option in OPTIONS}) == len(OPTIONS)
    assert {option.setting for option in OPTIONS} - {""} <= {field.name for field in fields(Settings)}
    assert {option.name for option in OPTIONS if not option.in_suite_json} == {
        *("out", "resume", "rerun", "list", "dry_run", "on", "table", "minutes")
    }


def test_each_option_of_a_setting_changes_that_setting_alone():
    examples = {parse.lengths: "8,16", parse.size_in_bytes: "123m", parse.share: "0.5"}
    for option in OPTIONS:
        if option.setting:
            example = list(option.known)[-1] if option.known else examples.get(option.parse, "7")
            values, mistakes = options.parse(OPTIONS, {option.name: example})
            settings = changed_settings(Settings(), values)
            changed = {f.name for f in fields(Settings) if getattr(settings, f.name) != getattr(Settings(), f.name)}
            assert (mistakes, changed) == ([], {option.setting})


LISTS = [
    [],
    ["--models", "rnn,gru", "--rerun"],
    ["--models=rnn", "--models", "gru", "--seed=0"],
    ["--dry-run", "--out=a=b", "--lengths", "-3"],
]


@pytest.mark.parametrize("arguments", LISTS, ids=" ".join)
def test_a_list_of_arguments_is_read_as_the_command_line_is(arguments):
    typed = run.COMMAND.make_context("run", list(arguments)).params
    assert {name: value for name, value in typed.items() if value} == from_arguments(OPTIONS, arguments)


@pytest.mark.parametrize("arguments", LISTS, ids=" ".join)
def test_arguments_of_what_is_given_give_it_again(arguments):
    given = from_arguments(OPTIONS, arguments)
    assert from_arguments(OPTIONS, to_arguments(OPTIONS, given)) == given


def test_suite_json_holds_what_is_measured():
    given = from_arguments(OPTIONS, ["--out", "x", "--seed", "0", "--rerun", "--models=rnn", "--list"])
    assert in_suite_json(given) == ["--models", "rnn", "--seed", "0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--modles", "rnn"], "unknown option '--modles'; did you mean '--models'?"), (["--models"], "expected a value")],
)
def test_lists_that_cannot_be_read(arguments, message):
    with pytest.raises(RequestError) as refused:
        from_arguments(OPTIONS, arguments)
    assert message in str(refused.value)


def test_a_run_of_an_earlier_version_with_abbreviated_options_is_continued(tmp_path, capsys):
    given = ["--suite", "quick", "--models", "rnn", "--measures", "train", "--lengths", "64", "--batch", "2"]
    held = make_request(from_arguments(OPTIONS, given)).configuration()
    held["arguments"] = ["--sui", "quick", "--mod=rnn", "--meas", "train", "--len", "64", "--bat=2"]
    (tmp_path / "suite.json").write_text(json.dumps(held))
    assert in_full(OPTIONS, held["arguments"]) == [
        *("--suite", "quick", "--models=rnn", "--measures", "train", "--lengths", "64", "--batch=2")
    ]
    assert main(["run", "--resume", str(tmp_path), "--list"]) == 0
    assert "model=rnn size=tiny method=auto length=64 batch=2" in capsys.readouterr().out
