"""Options and fixtures of all tests."""

import os
from pathlib import Path

import pytest

from bench.tasks.download import fetch
from tests.serving import QUICK, paper, serving, source

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the tests' tolerances are a CPU's; the bench itself uses what is there
# Nothing here is run for its speed, and compiling is most of what the tests do.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests too")
    parser.addoption("--reliability", action="store_true", help="write docs/reliability.md from the tests of faults")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))


def pytest_runtest_setup(item):
    for marker in item.iter_markers("fault"):
        item.user_properties.append(("fault", marker.args))


def pytest_terminal_summary(terminalreporter, config):
    """docs/reliability.md: each fault, what is to happen, how often it was injected, and how often that went wrong."""
    if not config.getoption("--reliability"):
        return
    counts: dict[tuple, dict] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, fault in getattr(report, "user_properties", ()):
                if name == "fault" and report.when == "call":
                    counts.setdefault(tuple(fault), {"passed": 0, "failed": 0})[outcome] += 1
    lines = [RELIABILITY, "| fault | what happens | injected | lost or wrong |", "|---|---|---|---|"]
    for (fault, happens), count in sorted(counts.items()):
        n, wrong = count["passed"] + count["failed"], count["failed"]
        lines.append(f"| {fault} | {happens} | {n} | {f'{wrong} times' if wrong else 'nothing'} |")
    path = Path(__file__).parents[1] / "docs" / "reliability.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    terminalreporter.write_line(f"written: {path}")


RELIABILITY = """# What a run survives

Each fault is injected into a run by a test, and what must hold is asserted: no finished cell is lost, none is measured
twice, the folder is valid, nothing is left at work. Made by `./run_tests.sh --slow --reliability -m fault`; the bounded
version of it is part of `./run_tests.sh`.
"""


@pytest.fixture
def server():
    """A local HTTP server that truncates, stalls and lies on request."""
    with serving() as server:
        yield server


@pytest.fixture
def console():
    return paper()


@pytest.fixture
def get(server, tmp_path, console):
    """Download the server's file, its Source changed as the arguments say."""
    return lambda **changes: fetch(source(server, **changes), tmp_path, console, QUICK)
