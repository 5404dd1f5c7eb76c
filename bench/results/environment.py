"""environment.json: what a run was measured on, and which part of that every row repeats."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.folder import RunFolder
from lengthscale.bench.results.record import Conditions

ROOT = Path(__file__).resolve().parents[2]


def conditions_of(environment: dict[str, Any]) -> Conditions:
    """The part of the environment that every row repeats."""
    return Conditions(
        device_kind=environment["device_kind"],
        platform=environment["backend"],
        n_devices=environment["n_devices"],
        n_cpus=environment["n_cpus"],
        jax_version=environment["packages"]["jax"],
        git_sha=environment["git_sha"],
    )


def device_slug(environment: dict) -> str:
    """The folder name of this kind of machine, such as "intel-xeon-processor-2cpu" or "nvidia-h200"."""
    if environment["backend"] == "cpu":
        name = f"{environment['cpu_model']}-{environment['n_cpus']}cpu"
    else:
        name = environment["device_kind"]
    name = re.sub(r"\((r|tm)\)", " ", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")


def device_home(environment: dict[str, Any]) -> Path:
    """The default folder of runs on this kind of machine, below ./results."""
    return Path("results") / device_slug(environment)


def facts_of(folder: Path) -> dict[str, Any]:
    """The content of a run's environment.json. Raises JournalError where there is none, or it names no device."""
    try:
        facts = RunFolder(folder).read_environment()
        if facts is None:
            raise JournalError("there is no such file")
        device_slug(facts)
    except (JournalError, OSError, KeyError, TypeError) as error:
        raise JournalError(f"{folder}: no environment.json that says what was measured on ({error})") from None
    return facts
