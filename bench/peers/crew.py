"""The contenders' processes: children of host/process.py that answer messages, and whose memory is watched meanwhile.

They are started by the "spawn" method, since packages read their number of threads and their allocator only once, when
they are imported or the process starts. So each child needs its own environment from its start on.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psutil

from lengthscale.bench.host.child import run_named
from lengthscale.bench.host.process import Child, inherited
from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.messages import Prepare, Ready, Sample, Sampled
from lengthscale.bench.plan.status import ENDED_EARLY, Status
from lengthscale.bench.results.messages import Done

SERVE = "lengthscale.bench.peers.contenders.serve:serve"  # a name and no import: only the child loads it
LOOK_S = 0.2  # between two checks of a child's memory
SPARE_BYTES = 1 << 29  # with less free memory, the kernel might kill processes
Answer = TypeVar("Answer", Ready, Sampled)


def start_contender(name: str, cores: int, target: str = SERVE, arguments: tuple = (), *, device: str = "cpu") -> Child:
    """Start the child of a contender. cores: the number it may use. target: as of host.child.run_named.

    device: "cpu" or "cuda".
    """
    child = Child(multiprocessing.get_context("spawn"), run_named, (target, (name, cores, *arguments)))
    with inherited(environment(cores, device), cores):
        child.start()
    return child


def environment(cores: int, device: str) -> dict[str, str]:
    """The variables of a child, with the same number of threads for every package. (jax follows the affinity.)

    All children of a row live on one GPU, so jax takes of its memory only what it needs, as torch does.
    """
    return {
        "JAX_PLATFORMS": device,
        **({} if device == "cpu" else {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}),
        "OMP_NUM_THREADS": str(cores),
        "MKL_NUM_THREADS": str(cores),
        "OPENBLAS_NUM_THREADS": str(cores),
        "HF_HUB_OFFLINE": "1",  # nothing is downloaded
        "TRANSFORMERS_VERBOSITY": "error",
    }


class Crew:
    """The children of one row at one number of cores. They live for all of its cases, idle while others are sampled."""

    def __init__(self, memory_bytes: int, start: Callable[[str, int], Child] = start_contender):
        """memory_bytes: the limit of one contender. start: (name of a contender, number of cores) -> its child."""
        self._memory_bytes, self._start = memory_bytes, start
        self._of: tuple[str, int] | None = None
        self._children: dict[str, Child] = {}

    def prepare(self, name: str, message: Prepare, seconds: float) -> Ready | Done:
        """Prepare a contender within this many seconds; its child is started if there is none.

        A failure is a Done with the status timeout, oom, killed, unsupported or error.
        """
        case = message.case
        self._keep_only(case)
        child = self._children.get(name)
        if child is None or not child.is_alive:
            if child is not None:
                child.end()
            self._children[name] = self._start(name, case.cores)
        return self._ask(name, message, seconds, Ready)

    def sample(self, name: str, seconds: float) -> Sampled | Done:
        """One sample of a prepared contender within this many seconds, or a failure as of `prepare`."""
        return self._ask(name, Sample(), seconds, Sampled)

    def end(self) -> None:
        """End all children. Idempotent."""
        for child in self._children.values():
            child.send(None)  # an idle child then ends by itself
        for child in self._children.values():
            child.end()
        self._children.clear()

    def _keep_only(self, case: Case) -> None:
        if self._of != (case.row, case.cores):
            self.end()
            self._of = (case.row, case.cores)

    def _ask(self, name: str, message: Prepare | Sample, seconds: float, kind: type[Answer]) -> Answer | Done:
        """The child's answer. A child that gave none, or is out of memory, is ended."""
        child = self._children[name]
        child.send(message)
        try:
            answer = self._receive(child, time.monotonic() + seconds)
            if isinstance(answer, kind) or (isinstance(answer, Done) and answer.status not in ENDED_EARLY):
                return answer
            failure = answer if isinstance(answer, Done) else Done(Status.ERROR, f"not an answer: {answer!r:.100}")
        except TimeoutError:
            failure = Done(Status.TIMEOUT, f"no answer in {seconds:g} s")
        except MemoryError as error:
            failure = Done(Status.OOM, str(error))
        except EOFError:
            failure = child.death("")
        self._children.pop(name).end()
        return failure

    def _receive(self, child: Child, deadline: float) -> Any:
        """The child's next message, as Child.receive; raises MemoryError where the child holds too much memory."""
        while True:
            try:
                return child.receive(min(deadline, time.monotonic() + LOOK_S))
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise
            self._check_memory(child)

    def _check_memory(self, child: Child) -> None:
        try:
            used = psutil.Process(child.pid).memory_info().rss
        except psutil.NoSuchProcess:  # the next `receive` notices it
            return
        if used > self._memory_bytes:
            raise MemoryError(f"held {used / 2**30:.1f} GiB, over {self._memory_bytes / 2**30:.0f} GiB")
        if psutil.virtual_memory().available < SPARE_BYTES:
            raise MemoryError(f"held {used / 2**30:.1f} GiB when the machine ran out of memory")
