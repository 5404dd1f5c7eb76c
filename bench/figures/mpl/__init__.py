"""Descriptions of figures in, files out: PNG, SVG and PDF. Failures are marked, never dropped.

theme.py     the house style as matplotlib's       ticks.py     where ticks stand
axes.py      a figure's curves on its axes         marks.py     what stands behind them
labels.py    names at the curves' ends             failures.py  what failed, above the axes
sheet.py     figures and caption -> a picture      gallery.py   a run's set of pictures
command.py   `plot`, and what it refuses
"""

from lengthscale.bench.figures.mpl.gallery import plot_folder

__all__ = ["plot_folder"]
