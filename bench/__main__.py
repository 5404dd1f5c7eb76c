"""The command line: `lengthscale COMMAND`; without arguments it runs the default suite."""

from __future__ import annotations

import sys

import click
import rich_click

from lengthscale.bench.commands import claims, compare, doctor, fit, merge, peers, plot, report, run, tune, validate
from lengthscale.bench.commands.arguments import HELP
from lengthscale.bench.commands.console import Console
from lengthscale.bench.host.errors import StoppedError
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.results.errors import JournalError

WRONG_USE, SOME_FAILED, INTERRUPTED = 2, 3, 130  # 0 and 1 are what commands return

GROUPS = {"Measure": (run, claims, tune, peers, doctor), "Results": (report, plot, fit, compare, validate, merge)}
COMMANDS = rich_click.RichGroup(
    name="lengthscale",
    commands=[each.COMMAND for group in GROUPS.values() for each in group],
    panels=[
        rich_click.RichCommandPanel(name, [each.COMMAND.name for each in group])  # pyright: ignore
        for name, group in GROUPS.items()
    ],
    help="What does a longer sequence cost, and what does it buy, in each model?",
    epilog="./run_bench.sh ARGUMENTS is the same as lengthscale ARGUMENTS; without arguments, the default suite runs.",
    context_settings=HELP,
)


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 fine, 1 regression or invalid, 2 wrong use, 3 some cells failed, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return COMMANDS.main(arguments or ["run"], prog_name="lengthscale", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):  # before RuntimeError, which Abort is
        return INTERRUPTED
    except click.UsageError as error:
        at = error.ctx.command_path if error.ctx else "lengthscale"
        return _fail(WRONG_USE, f"{error.format_message()} (see {at} --help)")
    except RequestError as error:
        return _fail(WRONG_USE, *error.mistakes)
    except StoppedError as error:
        return _fail(SOME_FAILED, str(error))
    except (JournalError, OSError, RuntimeError) as error:
        return _fail(WRONG_USE, str(error))


def _fail(code: int, *mistakes: str) -> int:
    errors = Console(stderr=True)
    for mistake in mistakes:
        errors.print(f"error: {mistake}", highlight=False, markup=False, soft_wrap=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
