"""The parent's end of a contender's process: ask, and have an answer or a failure by a deadline."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

LOOK_S = 0.2  # how often a child's memory is looked at
GRACE_S = 2.0  # between TERM and KILL
SPARE_BYTES = 1 << 29  # with less than this free, the machine would start to kill


@dataclass(frozen=True)
class Failure:
    status: str
    reason: str


def command(name: str, cores: int) -> list[str]:
    return [sys.executable, "-P", "-m", "lengthscale.bench.peers.child", name, str(cores)]


class Talk:
    """A child, started at once. After a failure it is gone."""

    def __init__(
        self, name: str, cores: int, memory_bytes: int, make_command: Callable[[str, int], Sequence[str]] = command
    ):
        self._memory_bytes = memory_bytes
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, as long as the child lives
        self._rest = b""
        self._child = subprocess.Popen(
            make_command(name, cores),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, **_environment(cores)},
            start_new_session=True,  # it is ended with all that it started
        )

    def ask(self, message: dict, seconds: float) -> dict | Failure:
        """The answer to one message. Failures: timeout, oom, killed, error."""
        deadline = time.monotonic() + seconds
        try:
            assert self._child.stdin is not None
            self._child.stdin.write((json.dumps(message) + "\n").encode())
            self._child.stdin.flush()
            line = self._line(deadline, seconds)
        except OSError:
            line = self._death()
        except BaseException:
            self.end()
            raise
        if isinstance(line, Failure):
            self.end()
            return line
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not answer.keys() & {"ready", "seconds", "failed"}:
            self.end()
            return Failure("error", f"not an answer: {line[:100]!r}")
        if "failed" in answer:  # the child is well and takes the next case
            return Failure(answer["failed"], answer["reason"])
        return answer

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def end(self) -> None:
        """End the child and its children. Once more does no harm."""
        with suppress(OSError):
            for pipe in (self._child.stdin, self._child.stdout):
                if pipe is not None:
                    pipe.close()
        for how, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, None)):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, how)
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(patience)
        self._errors.close()

    def _line(self, deadline: float, seconds: float) -> bytes | Failure:
        assert self._child.stdout is not None
        while b"\n" not in self._rest:
            left = deadline - time.monotonic()
            if left <= 0:
                return Failure("timeout", f"no answer in {seconds:g} s")
            if select.select([self._child.stdout], [], [], min(left, LOOK_S))[0]:
                text = os.read(self._child.stdout.fileno(), 1 << 16)
                if not text:
                    return self._death()
                self._rest += text
            elif reason := self._too_large():
                return Failure("oom", reason)
        line, self._rest = self._rest.split(b"\n", 1)
        return line

    def _too_large(self) -> str | None:
        try:
            held = psutil.Process(self._child.pid).memory_info().rss
        except psutil.NoSuchProcess:  # which the pipe will tell
            return None
        if held > self._memory_bytes:
            return f"held {held / 2**30:.1f} GiB, over {self._memory_bytes / 2**30:.0f} GiB"
        if psutil.virtual_memory().available < SPARE_BYTES:
            return f"held {held / 2**30:.1f} GiB when the machine's memory ended"
        return None

    def _death(self) -> Failure:
        try:
            code = self._child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return Failure("error", "closed its output")
        if code < 0:
            hint = " (often: out of memory)" if -code == signal.SIGKILL else ""
            return Failure("killed", f"ended by {signal.Signals(-code).name}{hint}{self._last_words()}")
        return Failure("error", f"exit code {code} without an answer{self._last_words()}")

    def _last_words(self) -> str:
        self._errors.seek(max(0, os.fstat(self._errors.fileno()).st_size - 2000))
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        return f": {' / '.join(lines[-2:])}" if lines else ""


def _environment(cores: int) -> dict[str, str]:
    """As many threads for every package. JAX takes its number from the affinity, which the child sets first of all."""
    return {
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": str(cores),
        "MKL_NUM_THREADS": str(cores),
        "OPENBLAS_NUM_THREADS": str(cores),
        "HF_HUB_OFFLINE": "1",  # nothing is downloaded
        "TRANSFORMERS_VERBOSITY": "error",
    }
