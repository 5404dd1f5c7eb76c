"""bench/environment.sh: .venv is made beside the one before, and a start that failed or was ended leaves that one.

A stand-in for python3 makes a folder for `-m venv` and obeys the file `pip` for `-m pip`; nothing is installed.
"""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress

import pytest

from tests.helpers.paths import ROOT

PYTHON = """#!/usr/bin/env bash
case "$*" in
    "-c "*) exit 0 ;;
    -V* ) echo "Python 3.13.0" ;;
    "-m venv "*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; echo made >"$3/CONTENT" ;;
    "-m pip "*)
        echo "$*" >>"$PIP_LOG"
        echo "Collecting jax>=0.10 (from lengthscale)"
        echo "  Downloading jax-0.12.0-py3-none-any.whl (3 MB)"
        source "$PIP_BEHAVIOUR" ;;
    *) echo "$0 $*" ;;
esac
"""


class Checkout:
    def __init__(self, folder):
        self.root, self.bin, self.log, self.behaviour = (folder / name for name in ("root", "bin", "log", "behaviour"))
        (self.root / "bench").mkdir(parents=True)
        for name in ("bench/environment.sh", "run_bench.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.root / name)
        self.stand_in("python3", PYTHON)
        self.behaviour.write_text("")

    def stand_in(self, name, text):
        self.bin.mkdir(exist_ok=True)
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def start(self, *arguments, **variables):
        """In a group of processes of its own, as a terminal starts it."""
        return subprocess.Popen(
            ["./run_bench.sh", *arguments],
            cwd=self.root,
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("LENGTHSCALE")},
                "PATH": f"{self.bin}:/usr/bin:/bin",
                "PIP_LOG": str(self.log),
                "PIP_BEHAVIOUR": str(self.behaviour),
                **variables,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )

    def run(self, *arguments, **variables):
        process = self.start(*arguments, **variables)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def installs(self):
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def change(self):
        (self.root / "constraints.txt").write_text((self.root / "constraints.txt").read_text() + "# changed\n")

    def wait_for_installs(self, count):
        deadline = time.monotonic() + 30
        while self.installs() < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.fixture
def checkout(tmp_path):
    """What it starts can be interrupted, also where pytest runs in a shell's background and ignores interrupts.

    A process inherits that a signal is ignored, and not that it is handled.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield Checkout(tmp_path)
    signal.signal(signal.SIGINT, before)


def test_it_is_made_once_and_says_what_it_installs(checkout):
    code, out, err = checkout.run("doctor")
    assert code == 0, err
    assert out.split() == [
        str((checkout.root / ".venv").resolve() / "bin/python"),
        *"-P -m lengthscale.bench doctor".split(),
    ]
    assert "Setting up .venv with Python 3.13.0" in err
    assert "  jax>=0.10\n    downloading jax-0.12.0-py3-none-any.whl (3 MB)\n" in err
    assert checkout.run("doctor") == (0, out, "")
    assert checkout.installs() == 1


def test_pip_that_fails_leaves_the_one_before(checkout):
    checkout.run("doctor")
    before = (checkout.root / ".venv").resolve()
    checkout.change()
    checkout.behaviour.write_text("echo 'ERROR: no network' >&2; exit 1")
    code, out, err = checkout.run("doctor")
    assert (code, out) == (2, "")
    assert "ERROR: no network" in err
    assert "The one before is unchanged; to use it as it is: LENGTHSCALE_PYTHON=" in err
    assert (checkout.root / ".venv").resolve() == before
    assert (before / "CONTENT").exists()
    code, out, _ = checkout.run("doctor", LENGTHSCALE_PYTHON=str(checkout.root / ".venv/bin/python"))
    assert (code, "doctor" in out) == (0, True)
    checkout.behaviour.write_text("")
    assert checkout.run("doctor")[0] == 0
    after = (checkout.root / ".venv").resolve()
    assert after != before
    assert before.exists()  # a run that is under way may use it
    checkout.change()
    assert checkout.run("doctor")[0] == 0
    assert not before.exists()
    assert after.exists()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_start_that_is_ended_leaves_the_one_before_and_the_next_one_repairs(checkout, how):
    checkout.run("doctor")
    before = (checkout.root / ".venv").resolve()
    checkout.change()
    checkout.behaviour.write_text("exec sleep 100")
    process = checkout.start("doctor")
    checkout.wait_for_installs(2)
    os.killpg(process.pid, how)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert (checkout.root / ".venv").resolve() == before
    checkout.behaviour.write_text("")
    code, out, err = checkout.run("doctor")
    assert code == 0, err
    assert (checkout.root / ".venv").resolve() != before
    assert checkout.installs() == 3


def test_two_starts_at_once_install_once(checkout):
    checkout.behaviour.write_text("sleep 1.5")
    first = checkout.start("doctor")
    checkout.wait_for_installs(1)
    second = checkout.start("doctor")
    for process in (first, second):
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert checkout.installs() == 1


def test_a_folder_of_earlier_versions_is_used_and_later_replaced(checkout):
    checkout.run("doctor")
    made, venv = (checkout.root / ".venv").resolve(), checkout.root / ".venv"
    venv.unlink()
    made.rename(venv)
    code, out, err = checkout.run("doctor")
    assert (code, err) == (0, "")
    assert out.startswith(f"{venv}/bin/python ")
    checkout.change()
    assert checkout.run("doctor")[0] == 0
    assert venv.is_symlink()
    assert (checkout.root / ".venvs/before/CONTENT").exists()


def test_extras_are_kept_and_added(checkout):
    checkout.run("doctor", LENGTHSCALE_EXTRAS="dev,browser")
    checkout.run("doctor", LENGTHSCALE_EXTRAS="peers")
    assert "[browser,dev,peers,test]" in checkout.log.read_text().splitlines()[-1]
    checkout.run("doctor")
    assert checkout.installs() == 2


@pytest.mark.parametrize("version", ["12", "13"])
def test_the_cuda_version_of_a_long_listing(checkout, version):
    """Its reader must not end before it is written, or nvidia-smi fails (SIGPIPE) now and then."""
    listing = f"echo 'CUDA Version: {version}.0'; for i in $(seq 2000); do echo 'a process of many'; done"
    checkout.stand_in("nvidia-smi", f"#!/usr/bin/env bash\n{listing}\n")
    for _ in range(5):
        with suppress(FileNotFoundError):
            (checkout.root / ".venv").unlink()
        assert checkout.run("doctor")[0] == 0
    assert checkout.installs() == 1
    assert f"[cuda{version},test]" in checkout.log.read_text()
