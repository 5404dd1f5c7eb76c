"""The contenders' processes: children of host/process.py that are asked, and watched for their memory meanwhile.

They are started by the "spawn" method: what a package takes for its number of threads and for its allocator it reads
once, as it is imported or as the process starts, so each child has to begin with an environment of its own.
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

SERVE = "lengthscale.bench.peers.contenders.serve:serve"  # named, not imported: it is the child's
LOOK_S = 0.2  # between two looks at a child's memory
SPARE_BYTES = 1 << 29  # with less than this free, the machine would start to kill
Answer = TypeVar("Answer", Ready, Sampled)


def start_contender(name: str, cores: int, target: str = SERVE, arguments: tuple = ()) -> Child:
    """A contender's child, started. cores: those that it may use. target: as of host.child.run_named."""
    child = Child(multiprocessing.get_context("spawn"), run_named, (target, (name, cores, *arguments)))
    with inherited(environment(cores), cores):
        child.start()
    return child


def environment(cores: int) -> dict[str, str]:
    """The same number of threads for every package. JAX takes its number from the affinity."""
    return {
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": str(cores),
        "MKL_NUM_THREADS": str(cores),
        "OPENBLAS_NUM_THREADS": str(cores),
        "HF_HUB_OFFLINE": "1",  # nothing is downloaded
        "TRANSFORMERS_VERBOSITY": "error",
    }


class Crew:
    """The children of one row and number of cores. They stay for all of its cases, idle while others are sampled."""

    def __init__(self, memory_bytes: int, start: Callable[[str, int], Child] = start_contender):
        """memory_bytes: that one contender may hold. start: a child from a contender's name and its cores."""
        self._memory_bytes, self._start = memory_bytes, start
        self._of: tuple[str, int] | None = None
        self._children: dict[str, Child] = {}

    def prepare(self, name: str, message: Prepare, seconds: float) -> Ready | Done:
        """Have a contender prepared within so many seconds; its child is started where there is none.

        A failure is Done, with the status timeout, oom, killed, unsupported or error.
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
        """One sample of a contender that is prepared, or the failure, as of `prepare`."""
        return self._ask(name, Sample(), seconds, Sampled)

    def end(self) -> None:
        """End all children. Idempotent."""
        for child in self._children.values():
            child.send(None)  # it ends by itself, if it is idle
        for child in self._children.values():
            child.end()
        self._children.clear()

    def _keep_only(self, case: Case) -> None:
        if self._of != (case.row, case.cores):
            self.end()
            self._of = (case.row, case.cores)

    def _ask(self, name: str, message: Prepare | Sample, seconds: float, kind: type[Answer]) -> Answer | Done:
        """The answer. After a failure that the child did not tell itself, or ran out of memory with, it is ended."""
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
        """As Child.receive; raises MemoryError where the child holds too much."""
        while True:
            try:
                return child.receive(min(deadline, time.monotonic() + LOOK_S))
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise
            self._check_memory(child)

    def _check_memory(self, child: Child) -> None:
        try:
            held = psutil.Process(child.pid).memory_info().rss
        except psutil.NoSuchProcess:  # its connection says so next
            return
        if held > self._memory_bytes:
            raise MemoryError(f"held {held / 2**30:.1f} GiB, over {self._memory_bytes / 2**30:.0f} GiB")
        if psutil.virtual_memory().available < SPARE_BYTES:
            raise MemoryError(f"held {held / 2**30:.1f} GiB when the machine's memory ended")
