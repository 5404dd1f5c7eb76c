"""`plot`: draw a results folder's plots again, or a single one."""

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
    Option("--models", "draw a single figure, of these models, such as mamba,transformer", known=MODELS),
    Option(
        "--measure",
        "train, forward, operator, decode, generate, quality, recall, tracking, gradients, breakdown or frontier "
        "(default: the first one that has y)",
    ),
    Option(
        "--y",
        "time, throughput, memory, state, compile, share, loss, accuracy, gradient; ttft: time to first token; tpot: "
        "time per output token; parts: where the time goes; ratio: of decoding speeds, against context and batch; "
        "longest or batch that fits, by mode (default: time, or what the measure has)",
    ),
    Option(
        "--x",
        "length; for loss and accuracy also context or items; for loss also trained (the training length), cost, or "
        "tokens and seconds of training; for accuracy also state (default: depends on y)",
    ),
    Option("--theme", "light or dark (default: light; all plots together are drawn in both)", known=("light", "dark")),
    Option("--out", "a .png, .svg or .pdf (default: a png and an svg in DIR/plots)", metavar="FILE"),
)


def main(folder: Path, **given: Any) -> int:
    """Run the command. Returns the exit code 0. Raises RequestError for values that do not fit together."""
    from lengthscale.bench.figures.mpl.command import run_plot

    console = Console()
    for path in run_plot(SimpleNamespace(folder=folder, **given)):
        console.print(str(path), highlight=False, markup=False, soft_wrap=True)
    return 0


COMMAND = command(
    "plot", main, ABOUT, folder_argument("folder", "a results folder"), options=OPTIONS, examples=EXAMPLES
)
