"""What earlier runs have found: checks that passed, and nothing else; another code or machine has a file of its own."""

from dataclasses import replace

import pytest

from lengthscale.bench.host.checks import Checks
from lengthscale.bench.host.known import KnownOfMachine
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Checked, Done

CELL = Cell("forward", "rnn", "tiny", "auto", 16, 1, "float32", 0, "text", 0)
MACHINE = {"code": "abc", "packages": {"jax": "1"}, "backend": "gpu", "device_kind": "a card"}


class Counting:
    """A runner whose checks end in a given way."""

    def __init__(self, status=Status.OK):
        self.status, self.checked = status, []

    def check(self, cell):
        self.checked.append(cell)
        return Done(self.status, "why", content=Checked("sequential", 1e-7))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LENGTHSCALE_KNOWN", str(tmp_path))
    return tmp_path


def refusal(runner, cell=CELL, **changed):
    checks = Checks(runner, known=KnownOfMachine({**MACHINE, **changed}))
    return checks.refusal(cell)


def test_a_check_that_passed_is_not_made_again():
    runner = Counting()
    for _ in range(3):
        assert refusal(runner) is None
    assert len(runner.checked) == 1
    refusal(runner, replace(CELL, size="small", seed=7))  # has the same check
    assert len(runner.checked) == 1
    refusal(runner, replace(CELL, length=32))
    assert len(runner.checked) == 2


@pytest.mark.parametrize("changed", [{"code": "abd"}, {"packages": {"jax": "2"}}, {"device_kind": "another card"}])
def test_another_code_or_machine_has_its_own(changed):
    runner = Counting()
    refusal(runner)
    refusal(runner, **changed)
    assert len(runner.checked) == 2


@pytest.mark.parametrize("status", [Status.INCORRECT, Status.ERROR, Status.TIMEOUT])
def test_one_that_did_not_pass_is_made_again(status):
    runner = Counting(status)
    for _ in range(2):
        refusal(runner)
    assert len(runner.checked) == 2


def test_a_damaged_file_counts_as_none(folder):
    runner = Counting()
    refusal(runner)
    (path,) = folder.iterdir()
    path.write_text("{")
    refusal(runner)
    assert len(runner.checked) == 2


def test_it_can_be_switched_off(monkeypatch, folder):
    monkeypatch.setenv("LENGTHSCALE_KNOWN", "0")
    runner = Counting()
    for _ in range(2):
        refusal(runner)
    assert len(runner.checked) == 2
    assert not list(folder.iterdir())


def test_only_missing_checks_are_asked_for():
    checks = Checks(Counting(), known=KnownOfMachine(MACHINE))  # pyright: ignore[reportArgumentType]
    cells = [CELL, replace(CELL, seed=1), replace(CELL, length=32)]
    assert checks.missing(cells) == [cells[1], cells[2]]
    checks.learn(CELL, Done(Status.OK, content=Checked("sequential", 0.0)))
    assert checks.missing(cells) == [cells[2]]
    again = Checks(Counting(), known=KnownOfMachine(MACHINE))  # pyright: ignore[reportArgumentType]
    assert again.missing(cells) == [cells[2]]


def test_peak_rates_are_kept():
    KnownOfMachine(MACHINE).learn_peaks({"copy_bytes_per_s": 4e12})
    assert KnownOfMachine(MACHINE).peaks == {"copy_bytes_per_s": 4e12}
    assert KnownOfMachine({**MACHINE, "device_kind": "b"}).peaks is None
