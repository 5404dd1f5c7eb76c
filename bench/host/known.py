"""What this code is known to do on this machine, kept between runs: checks that passed, an accelerator's peak rates.

Both cost seconds each time and do not change: a check compares a method with its reference, on the same data. The file
is named by a hash of all that they depend on: our code, jax and its flags, the device. A check that failed is not kept,
and a CPU's peak rates are measured in each run, since they depend on what else the machine does.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lengthscale.bench.data.download.transfer import default_cache
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.files import replace_file
from lengthscale.bench.results.messages import Checked, Done

VARIABLE = "LENGTHSCALE_KNOWN"  # the folder of these files; "0": nothing is kept, nor read
DEPENDS_ON = ("code", "packages", "jax_flags", "xla_flags", "backend", "device_kind", "cpu_model", "native_kernels")


class KnownOfMachine:
    """The file of one code on one machine. described: the environment (machine.describe). Without one: nothing."""

    def __init__(self, described: Mapping[str, Any] | None = None):
        self._path = _path(described) if described else None
        self._facts: dict[str, Any] = {"checks": {}}
        with suppress(OSError, ValueError, AttributeError):  # there is none yet, or it is damaged
            if self._path:
                self._facts = {"checks": {}, **json.loads(self._path.read_text())}

    def check(self, key: Cell) -> Done | None:
        """What an earlier run has found of a check; None where none has passed."""
        found = self._facts["checks"].get(key.key())
        return Done(Status.OK, content=Checked(*found)) if found else None

    def learn(self, key: Cell, done: Done) -> None:
        """Keep a check that passed."""
        if done.status == Status.OK and isinstance(done.content, Checked):
            self._facts["checks"][key.key()] = [done.content.reference, done.content.worst]
            self._write()

    @property
    def peaks(self) -> dict[str, Any] | None:
        """An accelerator's peak rates, as an earlier run has measured them."""
        return self._facts.get("peaks")

    def learn_peaks(self, peaks: dict[str, Any]) -> None:
        """Keep an accelerator's peak rates."""
        self._facts["peaks"] = peaks
        self._write()

    def _write(self) -> None:
        if self._path:
            with suppress(OSError):  # no home, or one that is read-only: then the next run measures again
                self._path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(self._path, json.dumps(self._facts, indent=1))


def _path(described: Mapping[str, Any]) -> Path | None:
    folder = os.environ.get(VARIABLE)
    if folder == "0":
        return None
    facts = json.dumps({name: described.get(name) for name in DEPENDS_ON}, sort_keys=True)
    return Path(folder or default_cache() / "known") / f"{hashlib.sha256(facts.encode()).hexdigest()[:16]}.json"
