"""`merge`: merge the runs of a sharded sweep into one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lengthscale.bench.commands.arguments import command, folder
from lengthscale.bench.commands.console import Console
from lengthscale.bench.plan import parse
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.options import Option, values_of

ABOUT = "Merge the runs of a sharded sweep into one folder."
EXAMPLES = ("run --shard 1/2 --out S1", "run --shard 2/2 --out S2", "merge S1 S2 --out ALL")
OPTIONS = (
    Option("--out", "the new folder (required)", parse=parse.path, metavar="DIR"),
    Option("--across-devices", "merge runs of different devices, too", is_switch=True),
)


def main(folders: list[Path], **given: Any) -> int:
    """Run the command. Returns the exit code 0. Raises RequestError where the runs do not belong together."""
    values = values_of(OPTIONS, given)
    if values["out"] is None:
        raise RequestError(["--out: expected the new folder, got none"])
    from lengthscale.bench.commands.finish import finish
    from lengthscale.bench.results.merge import merge

    folder, results = merge(folders, values["out"], values["across_devices"])
    finish(folder, results, Console())
    return 0


FOLDERS = folder("folders", "results folders of run --shard i/n", many=True)
COMMAND = command("merge", main, ABOUT, FOLDERS, options=OPTIONS, examples=EXAMPLES)
