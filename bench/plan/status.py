"""How a cell ended."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The outcome of a cell, as journals and CSVs have it."""

    OK = "ok"
    OOM = "oom"  # out of memory, as jax or the device says
    TIMEOUT = "timeout"  # passed its deadline
    KILLED = "killed"  # ended by a signal
    NAN = "nan"  # a loss is not finite; the times are valid
    INCORRECT = "incorrect"  # not equal to the reference, so not timed
    ERROR = "error"  # anything else that was raised
    SKIPPED = "skipped"  # predicted to pass the deadline or the memory
    UNSUPPORTED = "unsupported"  # the model does not do this
    NOT_INSTALLED = "not installed"  # a package that a peer needs is missing


FAILED = (Status.OOM, Status.TIMEOUT, Status.KILLED, Status.NAN, Status.INCORRECT, Status.ERROR)
TIMED = (Status.OK, Status.NAN)  # with samples that count
ENDED_EARLY = (Status.OOM, Status.TIMEOUT, Status.KILLED)  # a longer cell of the series would end in the same way
