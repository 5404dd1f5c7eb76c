"""Options and fixtures of all tests."""

import importlib
import importlib.util
import os
import sys

import jaxtyping
import pytest

from lengthscale.bench.data.download import fetch
from tests.helpers import reliability
from tests.helpers.serving import QUICK, paper, serving, source

# Tests run on the CPU, also where there is a GPU, unless --gpu is given; the bench itself uses what is there. Workers
# inherit the environment, and not the arguments.
ON_GPU = "--gpu" in sys.argv or os.environ.get("LENGTHSCALE_TEST_GPU") == "1"
os.environ["LENGTHSCALE_TEST_GPU"] = str(int(ON_GPU))
os.environ.setdefault("JAX_PLATFORMS", "cuda,cpu" if ON_GPU else "cpu")
# The tolerances are float32's: an NVIDIA GPU would multiply float32 as TF32.
os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "highest")
# What earlier runs have found must not stand in for what a test runs.
os.environ["LENGTHSCALE_KNOWN"] = "0"
# Nothing here is run for its speed, and compiling is most of what the tests do.
if not ON_GPU:
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

# The shapes in the annotations of the ops are checked at every call, if the checker (of the extra "test") is installed.
# The hook changes modules as they are imported, so nothing above may import one of these.
if importlib.util.find_spec("beartype"):
    assert not any(name.startswith("lengthscale.models.ops") for name in sys.modules)
    importlib.import_module("tests.helpers.shapes")
    jaxtyping.install_import_hook("lengthscale.models.ops", "tests.helpers.shapes.checked")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests too")
    parser.addoption("--gpu", action="store_true", help="run on the GPU, and not on the CPU")
    parser.addoption("--reliability", action="store_true", help="write docs/reliability.md from the tests of faults")


def pytest_configure(config):
    if config.getoption("--reliability") and not config.getoption("--slow"):
        raise pytest.UsageError("--reliability needs --slow: the table would count the faster tests only")


def pytest_collection_modifyitems(config, items):
    for item in items:
        for marker in item.iter_markers("fault"):
            (fault,) = marker.args
            if fault not in reliability.FAULTS:
                raise pytest.UsageError(
                    f"{item.nodeid}: {fault!r} is no line of FAULTS in tests/helpers/reliability.py"
                )
            item.user_properties.append(("fault", fault))
        wanted = config.getoption("--slow") or (ON_GPU and "gpu" in item.keywords)
        if "slow" in item.keywords and not wanted:
            item.add_marker(pytest.mark.skip(reason="slow; run with --slow"))


def pytest_sessionfinish(session):
    """Write docs/reliability.md, where asked for and where every test has come to its end."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")  # None in a worker of xdist
    if terminal is None or not session.config.getoption("--reliability"):
        return
    reports = reliability.reports_of(terminal.stats)
    written = reliability.all_ended(reports, session.testscollected)
    if written:
        reliability.PATH.write_text(reliability.table(reports))
    outcome = "written" if written else "not written, as not every test came to its end"
    terminal.write_line(f"\n{outcome}: {reliability.PATH}")


@pytest.fixture
def unchecked_shapes():
    """Switch the check of annotations off, so that an op refuses shapes itself, as it does for a user."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


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
