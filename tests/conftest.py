"""Options and fixtures of all tests."""

import os

import pytest

from bench.tasks.download import fetch
from tests.serving import QUICK, paper, serving, source

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the tests' tolerances are a CPU's; the bench itself uses what is there
# Nothing here is run for its speed, and compiling is most of what the tests do.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))


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
