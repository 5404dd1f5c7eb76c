"""CSVs in, pictures out: cost and loss against length, PNG and SVG. Failures are marked, never dropped.

style.py    colours, markers, themes, ticks           labels.py   names at the curves' ends
data.py     a folder's CSVs as series                 figure.py   panels and caption -> figure
costs.py    cost against length, with guides.py       learned.py, pareto.py, surface.py   the other panels
gallery.py  the set, and each single picture          command.py  `plot`, and what it refuses
"""

from lengthscale.bench.figures.mpl.gallery import plot_folder
from lengthscale.bench.figures.mpl.style import STYLE, look, plt, short

__all__ = ["STYLE", "look", "plot_folder", "plt", "short"]
