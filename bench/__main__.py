"""The command line: `python -m bench run | peers | plot`; without arguments it runs the default suite. No jax here."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from bench.journal import FAILED, JournalError
from bench.measures import MEASURES
from bench.peers import command
from bench.request import RequestError, make_request
from bench.suites import SUITES
from bench.tasks import DATA, FILES
from bench.tasks.public import PUBLIC
from bench.tasks.synthetic import SYNTHETIC
from models import MODELS, SIZES

OK, WRONG_USE, SOME_FAILED, INTERRUPTED = 0, 2, 3, 130


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 fine, 2 wrong use, 3 some cells failed, 130 interrupted."""
    console, errors = Console(), Console(stderr=True)
    arguments = sys.argv[1:] if arguments is None else arguments
    args = _parser().parse_args(arguments or ["run"])
    try:
        return args.command(args, console)
    except RequestError as error:
        for mistake in error.mistakes:
            errors.print(f"error: {mistake}", highlight=False, markup=False, soft_wrap=True)
        return WRONG_USE
    except (JournalError, OSError, RuntimeError) as error:
        errors.print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        return WRONG_USE
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(args: argparse.Namespace, console: Console) -> int:
    request = make_request(args)
    if args.list or args.dry_run:
        from bench import plan

        plan.list_cells(request, console) if args.list else plan.dry_run(request, console)
        return OK
    from bench.sweep import run_sweep

    folder, records, interrupted = run_sweep(request, console)
    if records:
        _show(folder, records, console)
    if interrupted:
        console.print(f"interrupted; the same command with --out {folder} goes on from here", soft_wrap=True)
        return INTERRUPTED
    return SOME_FAILED if any(record["status"] in FAILED for record in records) else OK


def _show(folder: Path, records: list[dict], console: Console) -> None:
    from bench import plots, summary

    rows = summary.summarise(records)
    summary.print_summary(rows, console)
    summary.write_summary(rows, folder)
    plots.plot_folder(folder)
    console.print(f"results: {folder}", highlight=False, soft_wrap=True)


def _plot(args: argparse.Namespace, console: Console) -> int:
    from bench import plots

    for path in plots.plot_folder(Path(args.folder)):
        console.print(str(path), highlight=False, soft_wrap=True)
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run_bench.sh", description="What does a longer sequence cost, and what does it buy, in each model?"
    )
    commands = parser.add_subparsers(required=True, metavar="run | peers | plot")
    suites = "; ".join(f"{name}: {suite.reproduces} ({suite.cost})" for name, suite in SUITES.items())
    run = commands.add_parser("run", help="measure a suite, or a part of it", epilog=f"Suites: {suites}.")
    run.set_defaults(command=_run)
    run.add_argument("--suite", default="default", help=f"one of {', '.join(SUITES)} (default: default)")
    run.add_argument("--models", help=f"some of {','.join(MODELS)} (default: the suite's)")
    run.add_argument("--measures", help=f"some of {','.join(MEASURES)} (default: the suite's)")
    run.add_argument("--lengths", help="such as 256,1k,4k or 512:64k:x2 (default: the suite's)")
    run.add_argument("--size", help=f"one of {', '.join(SIZES)} (default: the suite's)")
    run.add_argument(
        "--checkpoint", metavar="DIR", help="instead of models and size: a Hugging Face folder; see README"
    )
    run.add_argument("--methods", help="auto, or some of what the models offer: " + _methods())
    run.add_argument("--batch", type=int, default=1, help="sequences at a time (default: 1)")
    run.add_argument("--dtype", default="float32", help="float32 or bfloat16 (default: float32)")
    run.add_argument(
        "--data",
        help=f"one of {', '.join(DATA)}; a task, as it is or as copy:symbols=10 ({', '.join(SYNTHETIC)}); or a path: "
        f"{FILES} (default: text, or mnist for models of images)",
    )
    run.add_argument(
        "--download",
        metavar="NAME",
        help=f"fetch a public set into the cache, once, and use it as the data: one of {', '.join(PUBLIC)}",
    )
    run.add_argument("--eval-lengths", help="quality on a task: held-out lengths (default: L, 2L, 4L)")
    run.add_argument("--learning-rate", type=float, help="quality, gradients: the peak (default: the suite's)")
    run.add_argument("--train-tokens", type=int, help="quality: tokens to learn from (default: the suite's)")
    run.add_argument("--seed", type=int, default=0, help="of parameters and data (default: 0)")
    run.add_argument("--timeout", type=float, help="a cell's deadline in seconds (default: the suite's)")
    run.add_argument("--out", help="results folder (default: a new one below results/)")
    run.add_argument("--list", action="store_true", help="list the cells and stop")
    run.add_argument("--dry-run", action="store_true", help="plan memory and predict times, and stop")
    peers = commands.add_parser(
        "peers",
        help="time our ops and blocks beside other implementations and the machine's limit",
        epilog="LENGTHSCALE_EXTRAS=peers ./run_bench.sh peers installs torch, transformers and mambapy first.",
    )
    peers.set_defaults(command=command.run_peers)
    command.add_arguments(peers)
    plot = commands.add_parser("plot", help="draw a results folder's plots again")
    plot.set_defaults(command=_plot)
    plot.add_argument("folder", metavar="DIR", help="a results folder")
    return parser


def _methods() -> str:
    return "; ".join(f"{name}: {', '.join(spec.methods)}" for name, spec in MODELS.items())


if __name__ == "__main__":
    sys.exit(main())
