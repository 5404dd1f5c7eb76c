"""What the command line says of itself: help, closest names, completion; and that its help is cheap."""

import os
import subprocess
import sys

import pytest

from lengthscale.bench.__main__ import COMMANDS, main
from lengthscale.bench.plan.run_options import OPTIONS
from tests.helpers.paths import ROOT, environment


@pytest.fixture(autouse=True)
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("lengthscale.bench.host.sweep.run_sweep", lambda *arguments: pytest.fail("a run is started"))


def test_every_command_is_listed_in_a_group(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "Usage: lengthscale" in said
    assert "./run_bench.sh ARGUMENTS is the same" in said
    groups = {"Measure", "Results"}
    assert groups <= set(said.replace("─", " ").split())
    assert {line.split()[1] for line in said.splitlines() if line.startswith("│")} >= set(COMMANDS.commands)
    assert "Commands" not in said  # where rich-click puts those without a group


def test_every_option_of_run_is_in_its_group_with_examples(capsys):
    assert main(["run", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(option.flag in said and option.group in said for option in OPTIONS)
    assert "lengthscale run --suite quick\n" in "\n".join(line.strip() for line in said.splitlines()) + "\n"
    assert "mnist" in said  # the names of data are loaded for it


@pytest.mark.parametrize("name", sorted(COMMANDS.commands))
def test_every_command_has_help_and_names_that_do_not_exist_get_the_closest(name, capsys):
    assert main([name, "--help"]) == 0
    assert f"Usage: lengthscale {name}" in capsys.readouterr().out
    assert main([name, "--hellp"]) == 2
    assert "Did you mean '--help'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["comparee"], "No such command 'comparee'. Did you mean 'compare'? (see lengthscale --help)"),
        (
            ["run", "--modles", "rnn"],
            "No such option '--modles'. (Did you mean one of: '--methods', '--models'?) (see lengthscale run --help)",
        ),
        (["run", "--mod", "rnn"], "No such option '--mod'."),
        (["val", "x"], "No such command 'val'."),
        (["validate"], "Missing argument 'DIR'."),
        (["validate", ""], "expected a name or a path, got ''"),
        (["validate", "a", "b"], "unexpected extra argument"),
        (["run", "--models"], "requires an argument"),
        (["merge", "a"], "--out: expected the new folder, got none"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_a_shell_completes_commands_options_and_names_in_lists():
    def completed(*words):
        variables = {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
        process = subprocess.run(
            [sys.executable, "-P", "-m", "lengthscale.bench"],
            env=environment(_LENGTHSCALE_COMPLETE="bash_complete", **variables),
            capture_output=True,
            text=True,
            check=True,
        )
        return [line.split(",", 1)[1] for line in process.stdout.splitlines()]

    assert completed("lengthscale", "co") == ["compare"]
    assert "--measures" in completed("lengthscale", "run", "--me")
    assert completed("lengthscale", "run", "--measures", "train,dec") == ["train,decode"]


def test_help_loads_nothing_that_computes_or_draws():
    code = "import sys; from lengthscale.bench.__main__ import main; main(['--help']); print(*sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment(), cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(process.stdout.splitlines()[-1].split())
    assert not loaded & {"numpy", "pandas", "matplotlib", "scipy", "jax", "plotly", "PIL", "sklearn", "psutil"}


def test_a_reader_that_goes_away_does_not_change_the_exit_code(tmp_path):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-P", "-m", "lengthscale.bench", "run", "--suite", "quick", "--list"]
    process = subprocess.run(command, env=environment(), stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (process.returncode, process.stderr) == (0, "")
