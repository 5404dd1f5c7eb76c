"""One picture a claim, light and dark. Its title is what was found; the claim and the verdict stand below it."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

from lengthscale.bench.analysis.answer import device_name
from lengthscale.bench.claims.claim import Claim, Results
from lengthscale.bench.claims.table import estimate_text
from lengthscale.bench.figures.mpl.sheet import write
from lengthscale.bench.figures.spec import Sheet

_LETTERS = 105  # in a line below the title
_SIZE = (6.6, 4.3)  # inches, without those lines


def draw(out: Path, claim: Claim, row: dict, results: Results, described: dict) -> list[Path]:
    """The files written. row: the claim's first one, as text. described: the environment."""
    home = out / "claims"
    home.mkdir(exist_ok=True)
    estimate = estimate_text(row)
    claimed = f"claim {claim.number}, {row['verdict']}: {claim.statement}"
    measured = row["measured"] + (f": {estimate}" if estimate else "")
    said = (claimed, measured, row["note"])
    lines = [part for text in said if text for part in textwrap.wrap(text, _LETTERS, break_on_hyphens=False)]
    modified = " (modified)" if described.get("git_dirty") else ""
    commit = [f"commit {described['git_sha']}{modified}"] if described["git_sha"] else []
    caption = (device_name(described), f"jax {described['packages']['jax']}", *commit)
    first, *others = claim.figures(results)
    first = replace(first, title=row["finding"] or claim.statement, subtitle=tuple(lines))
    return write(Sheet((first, *others), caption, size=_SIZE), home, claim.name)
