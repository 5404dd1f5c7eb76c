"""The command line: `python -m bench COMMAND`; without arguments it runs the default suite."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from lengthscale.bench.analysis import compare
from lengthscale.bench.claims import command as claims
from lengthscale.bench.data import DATA, FILES
from lengthscale.bench.data.public import PUBLIC
from lengthscale.bench.data.synthetic import SYNTHETIC
from lengthscale.bench.host import doctor
from lengthscale.bench.host.request import make_request
from lengthscale.bench.host.sweep import StoppedError, run_sweep
from lengthscale.bench.peers import command
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.suites import SUITES
from lengthscale.bench.results import merge, resume, validate
from lengthscale.bench.results.environment import facts_of
from lengthscale.bench.results.errors import JournalError
from lengthscale.bench.results.journal import FAILED
from lengthscale.models import MODELS, SIZES

if TYPE_CHECKING:
    from lengthscale.bench.figures.run import Run

OK, WRONG_USE, SOME_FAILED, INTERRUPTED = 0, 2, 3, 130  # 1 is compare's, validate's and doctor's


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 fine, 1 regression or invalid, 2 wrong use, 3 some cells failed, 130 interrupted."""
    console, errors = Console(), Console(stderr=True)
    arguments = sys.argv[1:] if arguments is None else arguments
    arguments = arguments or ["run"]
    args = _parser().parse_args(arguments)
    args.arguments = resume.recorded(arguments[1:])
    try:
        return args.command(args, console)
    except RequestError as error:
        for mistake in error.mistakes:
            errors.print(f"error: {mistake}", highlight=False, markup=False, soft_wrap=True)
        return WRONG_USE
    except StoppedError as error:
        errors.print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        return SOME_FAILED
    except (JournalError, OSError, RuntimeError) as error:
        errors.print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        return WRONG_USE
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(args: argparse.Namespace, console: Console) -> int:
    if args.resume:
        args = _resumed(args)
    request = make_request(args)
    if args.list or args.dry_run:
        from lengthscale.bench.host import dry_run as plan

        plan.list_cells(request, console) if args.list else plan.dry_run(request, console)
        return OK
    folder, records, interrupted = run_sweep(request, console)
    if records:
        _show(folder, records, console)
    if interrupted:
        console.print(f"interrupted; the same command with --out {folder} goes on from here", soft_wrap=True)
        return INTERRUPTED
    return SOME_FAILED if any(record["status"] in FAILED for record in records) else OK


def _resumed(args: argparse.Namespace) -> argparse.Namespace:
    """The arguments that the folder's run was started with, to go on in it. Raises RequestError."""
    if args.arguments or args.out:
        given = " ".join([*args.arguments, *(["--out", args.out] if args.out else [])])
        raise RequestError([f"--resume goes on with what the folder's run was started with; leave out {given}"])
    recorded = resume.arguments_of(Path(args.resume))
    return _parse_run([*recorded, "--out", args.resume, *(["--rerun"] if args.rerun else [])])


def _parse_run(arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments of `run`, as make_request takes them."""
    args = _parser().parse_args(["run", *arguments])
    args.arguments = resume.recorded(list(arguments))
    return args


def _claims(args: argparse.Namespace, console: Console) -> int:
    failed, interrupted = claims.run_claims(args, console, _parse_run)
    if interrupted:
        return INTERRUPTED
    return SOME_FAILED if failed else OK


def _show(folder: Path, records: list[dict], console: Console) -> None:
    from lengthscale.bench.analysis import answer, fit, summary
    from lengthscale.bench.figures import mpl as plots
    from lengthscale.bench.figures.run import read_run

    rows = summary.summarise(records)
    summary.print_summary(rows, console)
    summary.write_summary(rows, folder)
    run = read_run(folder, fit.fit_folder(folder))
    sentences = answer.sentences(run.fits, run.crossovers, facts_of(folder))
    plots.plot_folder(run)
    console.print("\n".join(sentences), highlight=False, markup=False)
    console.print(f"results: {folder}", highlight=False, soft_wrap=True)
    _report_on(run, console)


def _report_on(run: Run, console: Console) -> None:
    """Print where the report is. By now the run's figures are on disk: nothing that only draws them may fail it."""
    try:
        from lengthscale.bench.figures.html import write_report

        path = write_report(run)
    except Exception as error:  # whatever it is, it is said, and `report DIR` raises it
        said = f"no report: {type(error).__name__}: {error} (./run_bench.sh report {run.folder} tries again)"
    else:
        said = f"report: {path}"
    console.print(said, highlight=False, markup=False, soft_wrap=True)


def _merge(args: argparse.Namespace, console: Console) -> int:
    folder, records = merge.merge([Path(each) for each in args.folders], Path(args.out), args.across_devices)
    _show(folder, records, console)
    return OK


def _fit(args: argparse.Namespace, console: Console) -> int:
    from lengthscale.bench.analysis import answer, fit, summary

    folder = Path(args.folder)
    fits, crossovers = fit.fit_folder(folder)
    summary.print_fits(fits, crossovers, console)
    console.print("\n".join(answer.sentences(fits, crossovers, facts_of(folder))), highlight=False)
    for name in ("fits.csv", "crossovers.csv"):
        console.print(str(folder / name), highlight=False, soft_wrap=True)
    return OK


def _report(args: argparse.Namespace, console: Console) -> int:
    from lengthscale.bench.figures.html.command import run_report

    return run_report(args, console)


def _plot(args: argparse.Namespace, console: Console) -> int:
    from lengthscale.bench.figures.mpl.command import run_plot

    for path in run_plot(args):
        console.print(str(path), highlight=False, soft_wrap=True)
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run_bench.sh", description="What does a longer sequence cost, and what does it buy, in each model?"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
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
        help=f"one of {', '.join(DATA)} (of images some alone: mnist:images=500); a task, as it is or as "
        f"copy:symbols=10 ({', '.join(SYNTHETIC)}); or a path: {FILES} (default: text, or mnist for models of images)",
    )
    run.add_argument(
        "--download",
        metavar="NAME",
        help=f"fetch a public set into the cache, once, and use it as the data: one of {', '.join(PUBLIC)}",
    )
    run.add_argument("--eval-lengths", help="quality on a task: held-out lengths (default: L, 2L, 4L)")
    run.add_argument("--learning-rate", type=float, help="quality, gradients: the peak (default: the suite's)")
    run.add_argument("--train-tokens", type=int, help="quality: tokens to learn from (default: the suite's)")
    run.add_argument("--step-tokens", type=int, help="quality, gradients: tokens of a step (default: the suite's)")
    run.add_argument("--contexts", help="quality on a stream: tokens before the targets (default: the suite's)")
    run.add_argument("--windows", type=int, help="held-out windows: quality, gradients (default: the suite's)")
    run.add_argument("--target-tokens", type=int, help="quality on a stream: targets of a window (default: 64)")
    run.add_argument(
        "--context-tokens",
        type=int,
        help="quality on a stream: read at most so many at one context, in fewer windows if need be (default: all)",
    )
    run.add_argument(
        "--shuffle-beyond",
        metavar="TOKENS",
        help="quality on a stream: also the longest context with what is farther away than so many tokens shuffled",
    )
    run.add_argument("--seed", default="0", help="of parameters and data; several, such as 0,1,2, are cells each (0)")
    run.add_argument("--timeout", type=float, help="a cell's deadline in seconds (default: the suite's)")
    run.add_argument("--compile-timeout", type=float, help="of that, for compiling, in seconds (default: 120)")
    run.add_argument("--mem-limit", help="a cell's memory, such as 6g (default: 80%% of what is free)")
    run.add_argument("--shard", metavar="i/n", help="only the i-th of n parts, for n machines; see merge")
    run.add_argument("--out", help="results folder (default: a new one below results/)")
    run.add_argument("--resume", metavar="DIR", help="go on with the run in this folder; no other options")
    run.add_argument("--rerun", action="store_true", help="keep what the folder holds aside, and measure anew")
    run.add_argument("--list", action="store_true", help="list the cells and stop")
    run.add_argument("--dry-run", action="store_true", help="plan memory and predict times, and stop")
    test = commands.add_parser("claims", help="put the article's claims to the test: verdicts with their intervals")
    test.set_defaults(command=_claims)
    claims.add_arguments(test)
    peers = commands.add_parser(
        "peers",
        help="time our ops and blocks beside other implementations and the machine's limit",
        epilog="LENGTHSCALE_EXTRAS=peers ./run_bench.sh peers installs torch, transformers and mambapy first.",
    )
    peers.set_defaults(command=command.run_peers)
    command.add_arguments(peers)
    versus = commands.add_parser("compare", help="two runs, cell by cell: what became slower or faster")
    versus.set_defaults(command=compare.run_compare)
    versus.add_argument("a", metavar="A", help="the results folder to compare with")
    versus.add_argument("b", metavar="B", help="the one that may have changed")
    effect = compare.LEAST_EFFECT
    versus.add_argument("--least-effect", type=float, default=effect, help=f"that counts (default: {effect})")
    versus.add_argument("--across-devices", action="store_true", help="compare runs of different devices")
    versus.add_argument(
        "--fail-on-regression", action="store_true", help="exit with 1 where a cell is slower or broken"
    )
    check = commands.add_parser("validate", help="is a results folder whole, and is what it says possible?")
    check.set_defaults(command=validate.run_validate)
    check.add_argument("folder", metavar="DIR", help="a results folder")
    join = commands.add_parser("merge", help="the runs of a sharded sweep into one folder")
    join.set_defaults(command=_merge)
    join.add_argument("folders", metavar="DIR", nargs="+", help="results folders of run --shard i/n")
    join.add_argument("--out", required=True, help="the new folder")
    join.add_argument("--across-devices", action="store_true", help="even if they were measured on different devices")
    about = commands.add_parser("doctor", help="what this machine can measure, and what would spoil it")
    about.set_defaults(command=doctor.run_doctor)
    fits = commands.add_parser("fit", help="exponents, terms and crossings of a run: fits.csv, crossovers.csv")
    fits.set_defaults(command=_fit)
    fits.add_argument("folder", metavar="DIR", help="a results folder")
    report = commands.add_parser("report", help="a run, or two, as one page that opens offline: report.html")
    report.set_defaults(command=_report)
    report.add_argument("folders", metavar="DIR", nargs="+", help="a results folder, or two to put beside each other")
    report.add_argument("--out", metavar="FILE", help="default: DIR/report.html; of two A/report-<B's name>.html")
    plot = commands.add_parser("plot", help="draw a results folder's plots again, or a single one")
    plot.set_defaults(command=_plot)
    plot.add_argument("folder", metavar="DIR", help="a results folder")
    plot.add_argument("--models", help="a single picture, of these models, such as mamba,transformer")
    plot.add_argument("--measure", help="train, forward, decode, quality or gradients (default: what has y)")
    plot.add_argument(
        "--y",
        help="time, throughput, memory, state, compile, share, loss, accuracy, gradient, or ratio: decoding's over "
        "context and batch (default: time, or what the measure has)",
    )
    plot.add_argument("--x", help="length; of loss and accuracy context too, of loss cost (default: the y's own)")
    plot.add_argument("--theme", help="light or dark (default: light; all together are drawn in both)")
    plot.add_argument("--out", metavar="FILE", help="a .png, .svg or .pdf (default: a png and an svg in DIR/plots)")
    return parser


def _methods() -> str:
    return "; ".join(f"{name}: {', '.join(spec.methods)}" for name, spec in MODELS.items())


if __name__ == "__main__":
    sys.exit(main())
