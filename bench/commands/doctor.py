"""`doctor`: what this machine can measure, and what would disturb it."""

from __future__ import annotations

from lengthscale.bench.commands.arguments import command
from lengthscale.bench.commands.console import Console

ABOUT = "Check what this machine can measure, and what would disturb it."


def main() -> int:
    """The exit code: 1 if nothing can be measured."""
    from lengthscale.bench.host.doctor import run_doctor

    return run_doctor(Console())


COMMAND = command("doctor", main, ABOUT)
