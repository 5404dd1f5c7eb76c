"""Commands of click, made from tables of options: help in groups, completion, and a call of main(**given).

click reads the command line and shows the help. The values are checked by the options' own parsers (plan/options.py),
so that all mistakes are shown at once, and that arguments in a file are read in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import rich_click

from lengthscale.bench.plan import parse
from lengthscale.bench.plan.options import Option

METAVARS: dict[Callable[[str], Any], str] = {
    parse.lengths: "LENGTHS",
    parse.positive_integer: "N",
    parse.positive_number: "NUMBER",
    parse.seconds: "SECONDS",
    parse.seeds: "SEEDS",
    parse.size_in_bytes: "BYTES",
}  # of all other parsers: NAME
HELP = {"help_option_names": ["-h", "--help"]}


class _Option(rich_click.RichOption):
    """An option whose help is made when it is shown: some of it needs modules that take long to load."""

    text: str | Callable[[], str]

    @property
    def help(self) -> str:
        return self.text if isinstance(self.text, str) else self.text()

    @help.setter
    def help(self, _: str | None) -> None:
        """Set by click's __init__, and not used."""


def command(
    name: str,
    main: Callable[..., int],
    about: str,
    *arguments: click.Argument,
    options: Sequence[Option] = (),
    examples: Sequence[str] = (),
) -> rich_click.RichCommand:
    """The command of this name. main(**given): returns the exit code. examples: command lines without "lengthscale"."""
    return rich_click.RichCommand(
        name=name,
        callback=main,
        help=about,
        epilog="\n\n".join(("Examples:", *(f"lengthscale {line}" for line in examples))) if examples else None,
        params=[*arguments, *map(_click_option, options)],
        panels=[_panel(group, options) for group in dict.fromkeys(option.group for option in options)],
        context_settings=HELP,
    )


def folder(name: str, about: str, many: bool = False) -> click.Argument:
    """A positional argument DIR. many: one or more of them, given to main as a list."""
    return rich_click.RichArgument(
        [name], help=about, metavar="DIR", nargs=-1 if many else 1, required=True, callback=_as_paths
    )


def folders(name: str, about: str) -> click.Argument:
    """A positional argument DIR[,DIR...], given to main as a list. A folder whose name has commas is one folder."""
    return rich_click.RichArgument([name], help=about, metavar="DIR[,DIR]", required=True, callback=_split)


def _split(context: click.Context, parameter: click.Parameter, value: str) -> list[Path]:
    try:
        return parse.paths(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def _as_paths(context: click.Context, parameter: click.Parameter, value: str | tuple[str, ...]) -> Path | list[Path]:
    try:
        return parse.path(value) if isinstance(value, str) else [parse.path(text) for text in value]
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def _click_option(option: Option) -> _Option:
    made = _Option(
        [option.flag],
        is_flag=option.is_switch or None,  # with False, click would accept an option without its value
        metavar=None if option.is_switch else option.metavar or METAVARS.get(option.parse, "NAME"),
        shell_complete=partial(_complete, list(option.known)),
    )
    made.text = option.help
    return made


def _panel(group: str, options: Sequence[Option]) -> rich_click.RichPanel:
    return rich_click.RichOptionPanel(group, [option.flag for option in options if option.group == group])


def _complete(known: list[str], context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The known names that complete what the user began; in a list with commas, the last name is completed."""
    before, comma, last = begun.rpartition(",")
    return [f"{before}{comma}{name}" for name in known if name.startswith(last)]
