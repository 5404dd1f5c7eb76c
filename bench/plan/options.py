"""An option of a command, and a table of options: from text to values, with all mistakes at once.

A table (a tuple of options) defines the options of a command: its help, its checks and its values come from there.
`Given` is what the user gave: a mapping from an option's name to its text, to True for a switch, and to None (or no
entry) where it was not given. bench/commands/ makes it from the command line, `from_arguments` from a list.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lengthscale.bench.plan import parse as parsers
from lengthscale.bench.plan.errors import RequestError
from lengthscale.models import unknown

Given = Mapping[str, Any]


@dataclass(frozen=True)
class Option:
    """An option of a command: how it is shown, parsed and used."""

    flag: str  # "--train-tokens"; its name, "train_tokens", is its key in the mappings
    help: str | Callable[[], str]  # a function where the text needs a module that takes long to load
    parse: Callable[[str], Any] = str  # raises ValueError that says what was expected and what was given
    default: Any = None  # the value where nothing is given
    group: str = "Options"  # the heading above it in the help
    metavar: str = ""
    known: Collection[str] = ()  # the names that shell completion offers
    setting: str = ""  # the field of Settings that it replaces, if it replaces one
    is_switch: bool = False  # it takes no value
    in_suite_json: bool = True  # it defines the run, so --resume needs it; the others concern one start of it only

    @property
    def name(self) -> str:
        return self.flag.removeprefix("--").replace("-", "_")


def one_name(flag: str, kind: str, known: Collection[str], default: str | None = None) -> Option:
    """An option whose value is one known name. kind: what the name is of. default: None for the suite's."""
    called = default or "the suite's"
    about = f"one of {', '.join(known)} (default: {called})"
    return Option(flag, about, parsers.one_of(kind, known), default, metavar="NAME", known=known)


def some_names(
    flag: str, kind: str, known: Collection[str], default: tuple[str, ...] | None = None, called: str = "the suite's"
) -> Option:
    """An option whose value is known names with commas. called: what the help calls the default."""
    about = f"some of {', '.join(known)} (default: {called})"
    return Option(flag, about, parsers.some_of(kind, known), default, metavar="NAMES", known=known)


OUT = Option(
    "--out",
    "results folder; an unfinished run of the same options continues there (default: a new folder below results/)",
    parse=parsers.path,
    metavar="DIR",
    in_suite_json=False,
)
RERUN = Option(
    "--rerun", "rename the folder's files, and measure everything again", is_switch=True, in_suite_json=False
)
LIST = Option("--list", "list what would be measured, and stop", is_switch=True, in_suite_json=False)


def parse(table: Sequence[Option], given: Given) -> tuple[dict[str, Any], list[str]]:
    """(a value for each option, all mistakes). The value of an option with a mistake is its default."""
    values, mistakes = {}, []
    for option in table:
        text = given.get(option.name)
        values[option.name] = option.default
        if option.is_switch:
            values[option.name] = bool(text)
        elif text is not None:
            try:
                values[option.name] = option.parse(text)
            except ValueError as error:
                mistakes += [f"{option.flag}: {line}" for line in str(error).splitlines()]
    return values, mistakes


def values_of(table: Sequence[Option], given: Given) -> dict[str, Any]:
    """A value for each option. Raises RequestError with all mistakes."""
    values, mistakes = parse(table, given)
    if mistakes:
        raise RequestError(mistakes)
    return values


def from_arguments(table: Sequence[Option], arguments: Iterable[str]) -> dict[str, Any]:
    """The mapping that a list of arguments gives, such as ["--models", "rnn", "--rerun"].

    Raises RequestError for an unknown option or a missing value.
    """
    by_flag = {option.flag: option for option in table}
    given: dict[str, Any] = {}
    rest = iter(arguments)
    for argument in rest:
        flag, equals, text = argument.partition("=")
        if flag not in by_flag:
            raise RequestError([unknown("option", flag, by_flag)])
        option = by_flag[flag]
        if option.is_switch:
            given[option.name] = True
            continue
        value = text if equals else next(rest, None)
        if value is None:
            raise RequestError([f"{flag}: expected a value, got none"])
        given[option.name] = value
    return given


def to_arguments(table: Sequence[Option], given: Given) -> list[str]:
    """The list of arguments that gives this mapping, in the table's order."""
    arguments = []
    for option in table:
        value = given.get(option.name)
        if option.is_switch:
            arguments += [option.flag] if value else []
        elif value is not None:
            arguments += [option.flag, str(value)]
    return arguments


def in_full(table: Sequence[Option], arguments: Sequence[str]) -> list[str]:
    """The arguments with abbreviated flags in full: earlier versions accepted any unambiguous beginning of a flag."""
    flags, full = [option.flag for option in table], []
    for argument in arguments:
        flag, equals, text = argument.partition("=")
        candidates = [each for each in flags if each.startswith(flag)] if flag.startswith("--") else []
        full.append(f"{candidates[0]}{equals}{text}" if flag not in flags and len(candidates) == 1 else argument)
    return full
