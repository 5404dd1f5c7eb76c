"""`plot DIR`: all pictures of a results folder again, or a single one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace as Namespace

from lengthscale.bench.figures.mpl.data import Run, read_run
from lengthscale.bench.figures.mpl.gallery import KINDS, SINGLE, draw, panels_of, paths_of, plot_folder
from lengthscale.bench.figures.mpl.style import THEMES
from lengthscale.bench.plan.errors import RequestError
from lengthscale.models import MODELS, present_name, unknown
from lengthscale.models.names import read_models

WHICH, HOW = ("models", "measure", "y", "x"), ("theme", "out")
FORMATS = (*KINDS, ".pdf")


def run_plot(args: Namespace) -> list[Path]:
    """The paths written. Raises RequestError with all that is wrong, before anything is drawn."""
    folder = Path(args.folder)
    if all(getattr(args, wish) is None for wish in (*WHICH, *HOW)):
        return plot_folder(folder)
    mistakes = _check_names(args)
    if mistakes:
        raise RequestError(mistakes)
    y = args.y or _first_of(args.measure)
    measure, models = args.measure or SINGLE[y].measures[0], read_models(args.models or "")[0]
    run, theme = read_run(folder), THEMES[args.theme or "light"]
    mistakes = _check_folder(run, measure, models)
    if mistakes:
        raise RequestError(mistakes)
    panels = panels_of(run.only(models) if models else run, measure, y, args.x or "")
    if not panels:
        against = f" against {args.x}" if args.x else ""
        of = f" of {', '.join(models)}" if models else ""
        raise RequestError([f"{folder / measure}.csv has no {y}{of}{against} to draw"])
    name = "_".join([measure, y, *([args.x] if args.x else []), *models])
    if args.out is None:
        (folder / "plots").mkdir(exist_ok=True)
    paths = paths_of(folder / "plots", name, theme) if args.out is None else [Path(args.out).expanduser()]
    return draw(run, panels, theme, paths)


def _first_of(measure: str | None) -> str:
    """What is drawn of a measure where nothing else is said."""
    return next(name for name, single in SINGLE.items() if measure in (None, *single.measures))


def _check_names(args: Namespace) -> list[str]:
    measures = list(dict.fromkeys(measure for single in SINGLE.values() for measure in single.measures))
    models, mistakes = read_models(args.models or "")
    if args.models is not None and not models and not mistakes:
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
        single = SINGLE[y]
        if args.measure is not None and args.measure not in single.measures:
            mistakes.append(unknown(f"measure of {y}", args.measure, single.measures))
        if args.x is not None and args.x not in single.by_x:
            mistakes.append(unknown(f"x of {y}", args.x, single.by_x))
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
    if measure not in run.frames:
        return [f"{run.folder} holds no {measure}.csv (it has: {', '.join(f'{name}.csv' for name in run.frames)})"]
    present = list(run.frames[measure]["model"].unique())
    return [
        f"{run.folder / measure}.csv has no model {name!r} (it has: {', '.join(present)})"
        for name in models
        if name not in map(present_name, present)
    ]
