"""One picture a claim, light and dark, with its verdict below the title."""

from __future__ import annotations

import textwrap
from pathlib import Path

from lengthscale.bench.analysis.answer import device_name
from lengthscale.bench.claims.claim import Claim, Records
from lengthscale.bench.claims.table import figure_text
from lengthscale.bench.figures.mpl.sheet import paths_of
from lengthscale.bench.figures.mpl.theme import applied, plt, save
from lengthscale.bench.figures.style import THEMES

_LETTERS = 105  # in a line below the title
_LINE = 11  # points


def draw(out: Path, claim: Claim, row: dict, records: Records, described: dict) -> list[Path]:
    """The files written. row: the claim's first one, as text. described: the environment."""
    (out / "claims").mkdir(exist_ok=True)
    figure_of = figure_text(row)
    said = f"{row['verdict']}: {row['measured']}" + (f": {figure_of}" if figure_of else "")
    lines = [
        part for text in (said, row["note"]) if text for part in textwrap.wrap(text, _LETTERS, break_on_hyphens=False)
    ]
    modified = " (modified)" if described.get("git_dirty") else ""
    commit = f" · commit {described['git_sha']}{modified}" if described["git_sha"] else ""
    caption = f"{device_name(described)} · jax {described['packages']['jax']}{commit}"
    written = []
    for theme in THEMES.values():
        with applied(theme):
            figure, axes = plt.subplots(figsize=(6.6, 4.3 + _LINE * len(lines) / 72), layout="constrained")
            claim.draw(axes, records)
            axes.set_title(f"{claim.number}. {claim.statement}", pad=8 + _LINE * len(lines))
            below = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom", "fontsize": 7.5}
            axes.annotate("\n".join(lines), (0, 1), xytext=(0, 4), color=theme.text, **below)
            figure.supxlabel(caption, x=0.01, ha="left", fontsize=7, color=theme.muted)
            written += save(figure, paths_of(out / "claims", claim.name, theme))
    return written
