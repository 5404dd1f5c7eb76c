"""`plot`: a results folder's plots again, or a single one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lengthscale.bench.commands.arguments import command
from lengthscale.bench.commands.arguments import folder as folder_argument
from lengthscale.bench.commands.console import Console
from lengthscale.bench.plan.options import Option
from lengthscale.models import MODELS

ABOUT = "Draw a results folder's plots again, or a single one."
EXAMPLES = (
    "plot results/DEVICE/RUN",
    "plot results/DEVICE/RUN --models mamba,transformer --measure train --y memory --out memory.pdf",
)
OPTIONS = (
    Option("--models", "a single picture, of these models, such as mamba,transformer", known=MODELS),
    Option("--measure", "train, forward, decode, quality or gradients (default: what has y)"),
    Option(
        "--y",
        "time, throughput, memory, state, compile, share, loss, accuracy, gradient, or ratio: decoding's over "
        "context and batch (default: time, or what the measure has)",
    ),
    Option("--x", "length; of loss and accuracy context too, of loss cost (default: the y's own)"),
    Option("--theme", "light or dark (default: light; all together are drawn in both)", known=("light", "dark")),
    Option("--out", "a .png, .svg or .pdf (default: a png and an svg in DIR/plots)", metavar="FILE"),
)


def main(folder: Path, **given: Any) -> int:
    from lengthscale.bench.figures.mpl.command import run_plot

    console = Console()
    for path in run_plot(SimpleNamespace(folder=folder, **given)):
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    return 0


COMMAND = command(
    "plot", main, ABOUT, folder_argument("folder", "a results folder"), options=OPTIONS, examples=EXAMPLES
)
