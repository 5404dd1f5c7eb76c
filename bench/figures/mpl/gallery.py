"""The set of pictures of a run: every file that catalog.py has figures for."""

from __future__ import annotations

from pathlib import Path

from lengthscale.bench.figures.catalog import figures_of, files_of, sheet_of
from lengthscale.bench.figures.mpl.sheet import write
from lengthscale.bench.figures.run import Run
from lengthscale.bench.results.folder import RunFolder


def plot_folder(run: Run) -> list[Path]:
    """Draw everything the run's rows allow, light and dark, into its folder; the paths written."""
    home = RunFolder(run.folder).plots
    home.mkdir(exist_ok=True)
    files = files_of(figures_of(run))
    return [path for name, figures in files.items() for path in write(sheet_of(run, figures), home, name)]
