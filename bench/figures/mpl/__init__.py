"""Writes files from descriptions of figures: PNG, SVG and PDF. Failures are marked, never left out.

theme.py     the settings of matplotlib            ticks.py     the positions of ticks
axes.py      the curves of a figure                marks.py     the marks behind the curves
labels.py    the names at the ends of the curves   failures.py  the failures, above the axes
sheet.py     one picture of figures and a caption  gallery.py   all pictures of a run
command.py   the command `plot` and its checks
"""

from lengthscale.bench.figures.mpl.gallery import plot_folder

__all__ = ["plot_folder"]
