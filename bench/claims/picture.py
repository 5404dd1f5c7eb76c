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


def draw(out: Path, claim: Claim, row: dict, results: Results, measured: list[dict]) -> list[Path]:
    """The files written. row: the claim's first one, as text. measured: the environments of its measurements."""
    home = out / "claims"
    home.mkdir(exist_ok=True)
    estimate = estimate_text(row)
    claimed = f"claim {claim.number}, {row['verdict']}: {claim.statement}"
    figure = row["measured"] + (f": {estimate}" if estimate else "")
    said = (claimed, figure, row["note"])
    lines = [part for text in said if text for part in textwrap.wrap(text, _LETTERS, break_on_hyphens=False)]
    commits = dict.fromkeys(
        f"commit {each['git_sha']}{' (modified)' if each.get('git_dirty') else ''}"
        for each in measured
        if each["git_sha"]
    )
    caption = (device_name(measured[0]), f"jax {measured[0]['packages']['jax']}", *commits)
    first, *others = claim.figures(results)
    first = replace(first, title=row["finding"] or claim.statement, subtitle=tuple(lines))
    return write(Sheet((first, *others), caption, size=_SIZE), home, claim.name)
