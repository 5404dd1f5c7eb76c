"""`plot DIR`: all pictures of a results folder again, or a single one."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from lengthscale.bench.figures.catalog import SINGLE, figures_of, select, sheet_of
from lengthscale.bench.figures.mpl.gallery import plot_folder
from lengthscale.bench.figures.mpl.sheet import KINDS, paths_of, write_one
from lengthscale.bench.figures.run import Run, read_run
from lengthscale.bench.figures.style import THEMES
from lengthscale.bench.plan.errors import RequestError
from lengthscale.models import MODELS, unknown

WHICH, HOW = ("models", "measure", "y", "x"), ("theme", "out")
FORMATS = (*KINDS, ".pdf")


def run_plot(args: Namespace) -> list[Path]:
    """The paths written. Raises RequestError with all that is wrong, before anything is drawn."""
    folder = Path(args.folder)
    if all(getattr(args, wish) is None for wish in (*WHICH, *HOW)):
        return plot_folder(read_run(folder))
    mistakes = _check_names(args)
    if mistakes:
        raise RequestError(mistakes)
    y = args.y or _first_of(args.measure)
    measure, models = args.measure or SINGLE[y][0][0], _names(args.models)
    run, theme = read_run(folder), THEMES[args.theme or "light"]
    mistakes = _check_folder(run, measure, models)
    if mistakes:
        raise RequestError(mistakes)
    figures = select(figures_of(run.only(models) if models else run), measure, y, args.x or "")
    if not figures:
        against = f" against {args.x}" if args.x else ""
        of = f" of {', '.join(models)}" if models else ""
        raise RequestError([f"{folder / measure}.csv has no {y}{of}{against} to draw"])
    name = "_".join([measure, y, *([args.x] if args.x else []), *models])
    if args.out is None:
        (folder / "plots").mkdir(exist_ok=True)
    paths = paths_of(folder / "plots", name, theme) if args.out is None else [Path(args.out).expanduser()]
    return write_one(sheet_of(run, figures), theme, paths)


def _first_of(measure: str | None) -> str:
    """What is drawn of a measure where nothing else is said."""
    return next(name for name, (measures, _) in SINGLE.items() if measure in (None, *measures))


def _names(text: str | None) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip())) if text else []


def _check_names(args: Namespace) -> list[str]:
    measures = list(dict.fromkeys(measure for measures, _ in SINGLE.values() for measure in measures))
    mistakes = [unknown("model", name, MODELS) for name in _names(args.models) if name not in MODELS]
    if args.models is not None and not _names(args.models):
        mistakes.append(f"--models names none (known: {', '.join(MODELS)})")
    for kind, name, known in (
        ("measure", args.measure, measures),
        ("y", args.y, SINGLE),
        ("theme", args.theme, THEMES),
    ):
        if name is not None and name not in known:
            mistakes.append(unknown(kind, name, known))
    if not mistakes:
        y = args.y or _first_of(args.measure)
        measures_of_y, every_x = SINGLE[y]
        if args.measure is not None and args.measure not in measures_of_y:
            mistakes.append(unknown(f"measure of {y}", args.measure, measures_of_y))
        if args.x is not None and args.x not in every_x:
            mistakes.append(unknown(f"x of {y}", args.x, every_x))
    if all(getattr(args, wish) is None for wish in WHICH):
        given = " and ".join(f"--{wish}" for wish in HOW if getattr(args, wish) is not None)
        mistakes.append(f"{given} is for a single picture: say which with --{', --'.join(WHICH)}")
    if args.out is not None:
        out = Path(args.out).expanduser()
        if out.suffix not in FORMATS:
            mistakes.append(f"--out must end in {', '.join(FORMATS)}, got {args.out!r}")
        elif not out.parent.is_dir():
            mistakes.append(f"--out {args.out!r}: there is no folder {str(out.parent)!r}")
    return mistakes


def _check_folder(run: Run, measure: str, models: list[str]) -> list[str]:
    if measure not in run.rows:
        return [f"{run.folder} holds no {measure}.csv (it has: {', '.join(f'{name}.csv' for name in run.rows)})"]
    present = list(dict.fromkeys(row.text("model") for row in run.rows[measure]))
    return [
        f"{run.folder / measure}.csv has no model {name!r} (it has: {', '.join(present)})"
        for name in models
        if name not in present
    ]
