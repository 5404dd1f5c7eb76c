"""`doctor`: check what this machine can measure, and what would disturb the measurements."""

from __future__ import annotations

from lengthscale.bench.commands.arguments import command
from lengthscale.bench.commands.console import Console

ABOUT = "Check what this machine can measure, and what would disturb the measurements."


def main() -> int:
    """Run the command. Returns the exit code: 1 if nothing can be measured, else 0."""
    from lengthscale.bench.host.doctor import run_doctor

    return run_doctor(Console())


COMMAND = command("doctor", main, ABOUT)
