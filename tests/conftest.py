"""Options and fixtures of all tests."""

import os

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the tests' tolerances are a CPU's; the bench itself uses what is there
# Nothing here is run for its speed, and compiling is most of what the tests do.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(config, items):
    for item in items:
        if config.pluginmanager.hasplugin("xdist") and (group := _group(item)):
            item.add_marker(pytest.mark.xdist_group(group))
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))


def _group(item) -> str | None:
    """Tests that share what is dear to make run in one process: a finished sweep, a model's compiled calls."""
    if "swept" in item.fixturenames:
        return "swept"
    if "named" in item.fixturenames:
        return f"contract of {item.callspec.params['named']}"
    return None
