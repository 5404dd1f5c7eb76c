"""Draws all pictures of a run: every file for which catalog.py has figures."""

from __future__ import annotations

from pathlib import Path

from lengthscale.bench.figures.catalog import figures_of, files_of, sheet_of
from lengthscale.bench.figures.mpl.sheet import write
from lengthscale.bench.figures.run import Run
from lengthscale.bench.results.folder import RunFolder


def plot_folder(run: Run) -> list[Path]:
    """Draw all pictures of the run into its folder, light and dark. Returns the paths of the written files."""
    home = RunFolder(run.folder).plots
    home.mkdir(exist_ok=True)
    files = files_of(figures_of(run))
    return [path for name, figures in files.items() for path in write(sheet_of(run, figures), home, name)]
