"""Results of the claims' runs whose truth is known, and what is made of them. Nothing is measured."""

import numpy as np

from lengthscale.bench.claims import CLAIMS
from lengthscale.bench.claims.claim import Results
from lengthscale.bench.figures.mpl.axes import draw
from lengthscale.bench.figures.mpl.theme import plt
from lengthscale.bench.figures.style import LIGHT
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.results.record import Row, row_of
from lengthscale.bench.results.result import results_of
from tests.helpers.runs import made

PLACES = 40
DIFFICULTY = np.random.default_rng(0).normal(2.0, 0.5, PLACES)  # of each window, for every model and context


def record(measure, model, length, ms=1.0, *, spread=0.002, status="ok", rows=({},), batch=1, seed=0, method="auto"):
    """A result of 3 replicates, whose times scatter around `ms` by the spread."""
    cell = Cell(measure, model, "tiny", method, length, batch, "float32", 0, "text", seed)
    if status != "ok":
        return results_of([made(cell, status, message="why")])[0]
    rng = np.random.default_rng([length, batch, seed, len(model)])
    replicates = []
    for number, time_ms in enumerate(ms * np.exp(rng.normal(0, spread, 3))):
        row = {"time_median_ms": float(time_ms), "n_params": 1000}
        made_rows = tuple(Row(**(row | each)) for each in rows)
        replicates.append(made(cell, replicate=number, rows=made_rows, samples_ms=(float(time_ms),) * 5))
    return results_of(replicates)[0]


def parts(records):
    """Results by their parts, all measured on a machine that copies 10 GB/s."""
    return Results(records, {name: {"copy_bytes_per_s": 1e10} for name in records})


def record_of_places(model, data, points, *, seed=0, recipe="tuned", length=1024, status="ok", places=None):
    """points: (context, control, mean loss, scatter from place to place). places: how many at a context."""
    rows, kept = [], []
    for number, (context, control, loss, scatter) in enumerate(points):
        noise = np.random.default_rng([number, seed, len(model)]).normal(0, 1, PLACES)
        mine = loss + DIFFICULTY - 2 + scatter * (noise - noise.mean())
        mine = mine[: (places or {}).get(context, PLACES)]
        row = {"context": context, "loss": float(mine.mean()), "learning_rate": 0.01, "recipe": recipe}
        row["train_tokens"] = 2**20
        rows.append(row | ({"control": control} if control else {}))
        kept.append(tuple(float(value) if np.isfinite(value) else None for value in mine))
    cell = Cell("quality", model, "tiny", "auto", length, 4, "float32", 0, data, seed)
    if status != "ok":
        return results_of([made(cell, status, samples_ms=(1.0,))])[0]
    record = made(cell, rows=tuple(map(row_of, rows)), samples_ms=(1.0,), place_losses=tuple(kept))
    return results_of([record])[0]


def drawn(number, records):
    """The texts of the claim's pictures."""
    texts = []
    for each in CLAIMS[number].figures(parts(records)):
        figure, axes = plt.subplots()
        draw(axes, each, LIGHT)
        figure.canvas.draw()
        legend = axes.get_legend()
        texts += [*axes.texts, *(legend.get_texts() if legend else []), *axes.get_yticklabels()]
        plt.close(figure)
    return " ".join(text.get_text() for text in texts)


def verdict_of(number, records):
    findings = CLAIMS[number].judge(parts(records))
    assert all(each.decided_by for each in findings)
    return findings[0].verdict


def found(findings, start):
    (one,) = (each for each in findings if each.measured.startswith(start))
    return one
