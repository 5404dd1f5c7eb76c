"""How a cell ended."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The outcome of a cell, as it stands in journals and CSVs."""

    OK = "ok"
    OOM = "oom"  # out of memory, as jax or the device says
    TIMEOUT = "timeout"  # passed its deadline
    KILLED = "killed"  # ended by a signal
    NAN = "nan"  # a loss that is not finite; its times are good
    INCORRECT = "incorrect"  # not equal to the reference, so not timed
    ERROR = "error"  # anything else that was raised
    SKIPPED = "skipped"  # predicted to pass the deadline or the memory
    UNSUPPORTED = "unsupported"  # the model does not do this
    NOT_INSTALLED = "not installed"  # a package that a peer is made of is not there


FAILED = (Status.OOM, Status.TIMEOUT, Status.KILLED, Status.NAN, Status.INCORRECT, Status.ERROR)
TIMED = (Status.OK, Status.NAN)  # with samples that count
NO_MEMORY = (Status.SKIPPED, Status.OOM, Status.KILLED)  # how a cell may end for want of memory
ENDED_EARLY = (Status.OOM, Status.TIMEOUT, Status.KILLED)  # a longer cell of the series would end so too
