"""The command `plot DIR`: it draws all pictures of a results folder again, or a single one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace as Namespace

from lengthscale.bench.figures.catalog import SINGLE, figures_of, select, sheet_of
from lengthscale.bench.figures.mpl.gallery import plot_folder
from lengthscale.bench.figures.mpl.sheet import KINDS, paths_of, write_one
from lengthscale.bench.figures.run import Run, read_run
from lengthscale.bench.figures.style import THEMES
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.results.folder import RunFolder
from lengthscale.models import MODELS, present_name, unknown
from lengthscale.models.names import read_models

SELECTION, OUTPUT = ("models", "measure", "y", "x"), ("theme", "out")
FORMATS = (*KINDS, ".pdf")


def run_plot(args: Namespace) -> list[Path]:
    """Draw the requested pictures. Returns the paths of the written files.

    Raises RequestError with all mistakes of the request, before anything is drawn.
    """
    folder = Path(args.folder)
    if all(getattr(args, option) is None for option in (*SELECTION, *OUTPUT)):
        return plot_folder(read_run(folder))
    mistakes = _check_names(args)
    if mistakes:
        raise RequestError(mistakes)
    y = args.y or _first_of(args.measure)
    measure, models = args.measure or SINGLE[y].measures[0], read_models(args.models or "")[0]
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
    if args.out is not None:
        return write_one(sheet_of(run, figures), theme, [Path(args.out).expanduser()])
    home = RunFolder(folder).plots
    home.mkdir(exist_ok=True)
    return write_one(sheet_of(run, figures), theme, paths_of(home, name, theme))


def _first_of(measure: str | None) -> str:
    """The quantity that is drawn without --y: the first one that the measure has, or the first of all."""
    return next(name for name, single in SINGLE.items() if measure in (None, *single.measures))


def _check_names(args: Namespace) -> list[str]:
    measures = list(dict.fromkeys(measure for single in SINGLE.values() for measure in single.measures))
    models, mistakes = read_models(args.models or "")
    if args.models is not None and not models and not mistakes:
        mistakes.append(f"--models names no model (known: {', '.join(MODELS)})")
    for kind, name, known in (
        ("measure", args.measure, measures),
        ("y", args.y, SINGLE),
        ("theme", args.theme, THEMES),
    ):
        if name is not None and name not in known:
            mistakes.append(unknown(kind, name, known))
    if not mistakes:
        y = args.y or _first_of(args.measure)
        if args.measure is not None and args.measure not in SINGLE[y].measures:
            mistakes.append(unknown(f"measure of {y}", args.measure, SINGLE[y].measures))
        if args.x is not None and args.x not in SINGLE[y].by_x:
            mistakes.append(unknown(f"x of {y}", args.x, SINGLE[y].by_x))
    if all(getattr(args, option) is None for option in SELECTION):
        given = " and ".join(f"--{option}" for option in OUTPUT if getattr(args, option) is not None)
        mistakes.append(f"{given} is for a single picture: say which with --{', --'.join(SELECTION)}")
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
        if name not in map(present_name, present)
    ]
