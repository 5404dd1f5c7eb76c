"""`peers`: time our ops and blocks, other implementations of them, and the limit of the machine, in one run."""

from __future__ import annotations

from typing import Any

from lengthscale.bench.commands.arguments import command
from lengthscale.bench.commands.console import Console
from lengthscale.bench.peers.case import MEASURES
from lengthscale.bench.peers.rows import NAMES
from lengthscale.bench.plan import options, parse
from lengthscale.bench.plan.options import LIST, OUT, Option, some_names

ABOUT = """Time our ops and blocks, compared with other implementations and the machine's limit.

A machine with a GPU has the rows of a GPU. LENGTHSCALE_EXTRAS=peers ./run_bench.sh peers installs torch, transformers
and mambapy first."""
EXAMPLES = ("peers --only lstm,attention --measures train --lengths 2k --list", "peers --only lstm --cores 1")


def _samples_help() -> str:
    from lengthscale.bench.peers.rounds import Settings

    return f"samples of each contender (default: {Settings.samples})"


OPTIONS = (
    some_names("--only", "row", NAMES, default=NAMES, called="all"),
    some_names("--measures", "measure", MEASURES, default=tuple(MEASURES), called="all"),
    Option("--lengths", "of sequences, such as 512,2k (default: the row's, mostly 512 to 32k)", parse.lengths),
    Option("--contexts", "of decoding, such as 512,8k (default: the row's, 512 to 64k)", parse.lengths),
    Option("--cores", "numbers of cores, such as 1,2 (default: 1, and all)", parse.lengths, metavar="NUMBERS"),
    Option("--samples", _samples_help, parse.positive_integer),
    OUT,
    Option("--publish", "put the rows into results/DEVICE/peers.csv, in place of older ones", is_switch=True),
    LIST,
)


def main(**given: Any) -> int:
    """Run the command. Returns the exit code: 0, or 3 where an implementation of ours failed."""
    values, mistakes = options.parse(OPTIONS, given)
    from lengthscale.bench.peers import device
    from lengthscale.bench.peers.command import available_cores, make_request, run_peers

    request = make_request(values, mistakes, available_cores(), device.facts())
    return run_peers(request, Console(), values["list"])


COMMAND = command("peers", main, ABOUT, options=OPTIONS, examples=EXAMPLES)
