"""Claim 1: with growing distance an RNN finds it harder to learn a connection; LSTM and GRU keep long dependencies.

The adding problem (Hochreiter and Schmidhuber 1997) at T = 100, 200, 400 and 800 steps: the sum of two numbers that
are marked, one in each half. One bare layer of each model, equal in parameters, trained on 64,000 new sequences at the
learning rate that a search found for this model at this T (`tune`, over six rates or more and three warm-ups, with seed
0, which takes no part here): a rate is part of a result, and one at which an RNN fails says nothing of the RNN.

The figure of a model is the T at which it fails: the first one at which its squared error is above LOST, half of what
always answering 1 gives. The claim is about distance and says "keep", so the rule is about a ratio of distances: it
holds if GRU and LSTM still solve a T at least FARTHER / 2 times the one at which the RNN fails, so that on this grid of
factors 2 they fail at FARTHER times that T or more. It fails if the RNN solves as much as a quarter of the T at which
one of them fails. Squared errors are means over the last tenth of training, all of sequences never seen before.

For reading, and not for the verdict: the norm of d loss_T / d x_t against the lag T - t, after training.
"""

from __future__ import annotations

import math

import numpy as np

from lengthscale.bench.analysis import fit
from lengthscale.bench.claims import learning_rates
from lengthscale.bench.claims.claim import (
    FAILS,
    HOLDS,
    NOT_DECIDED,
    CellRow,
    Claim,
    Finding,
    Minutes,
    Part,
    Results,
    affordable,
    joined,
    rows_of,
    seeds_from,
)
from lengthscale.bench.claims.family import INFINITY, Question, alone, answered, mean_of
from lengthscale.bench.figures.spec import IN_LEGEND, Axis, DrawnCurve, Ends, Figure, Rule
from lengthscale.bench.results.estimate import Estimate

RNN, GATED = "rnn-plain", ("gru-plain", "lstm-plain")
MODELS = (RNN, *GATED)
NAMES = {"rnn-plain": "plain RNN", "gru-plain": "GRU", "lstm-plain": "LSTM"}
BATCH, STEPS = 32, 2000
CHANCE = 1 / 6  # the squared error of always answering 1
LOST = CHANCE / 2
FARTHER = 4
SMALLEST = 1.1e-19  # norm in float32: below it the squares vanish
RULE = f"squared error below {LOST:.3f}, half of chance: solved; above: failed"
CLAIM_RULE = (
    f"{RULE}. Holds: at some T the RNN fails and, at {FARTHER // 2} T, GRU and LSTM do not. Fails: at some T the RNN "
    f"does not fail and, at {FARTHER} T or less, GRU or LSTM does; or the RNN does not fail at all"
)

# minutes -> (T, seeds)
LEVELS = {0.0: ("100,200,400", 3), 18.0: ("100,200,400,800", 3), 40.0: ("100,200,400,800", 5)}


def parts(minutes: float) -> list[Part]:
    """One run for each T, short ones first."""
    lengths, seeds = affordable(LEVELS, minutes)
    made = []
    for length in map(int, lengths.split(",")):
        arguments = f"--suite quick --measures gradients --models {','.join(MODELS)} --size tiny --data adding"
        arguments += f" --lengths {length} --step-tokens {length * BATCH} --train-tokens {length * BATCH * STEPS}"
        arguments += f" --windows 64 --timeout 900 --seed {seeds_from(1, seeds)}"
        made.append(Part(f"T-{length}", tuple(arguments.split())))
    return made


Trained = dict[int, dict[int, list[CellRow]]]  # T -> seed -> the rows of gradients after training


def trained(results: Results, model: str) -> Trained:
    """The rows of a model, short T first."""
    found: Trained = {}
    for row in sorted(rows_of(results.together(), model=model), key=lambda row: row.cell.length):
        if row.row.trained:
            found.setdefault(row.cell.length, {}).setdefault(row.cell.seed, []).append(row)
    return found


def errors_of(seeds: dict[int, list[CellRow]]) -> np.ndarray:
    """The squared error of each seed."""
    return np.array([rows[0].number("train_loss") for rows in seeds.values()])


def judge(results: Results) -> list[Finding]:
    """Claim 1's findings: whether each model solves each T, and the slope of its gradients there."""
    found = {model: trained(results, model) for model in MODELS}
    asked = {(model, length): seeds for model in MODELS for length, seeds in found[model].items()}
    answers = answered([_question(*key, seeds) for key, seeds in asked.items()])
    solved = {key: answer.verdict for key, answer in zip(asked, answers, strict=True)}
    slopes = alone(_slope(*key, seeds) for key, seeds in asked.items())
    lengths = sorted({length for _, length in asked})
    ends = (lengths[0], lengths[-1]) if lengths else (None, None)
    what = f"T at which a {NAMES[RNN]} fails the adding problem"
    estimate = fails_at(solved, RNN)
    says = "; ".join(f"{NAMES[model]} {_said(solved, model)}" for model in MODELS) if solved else ""
    seeds = max((len(each) for each in asked.values()), default=0)
    overall = Finding(what, estimate, "steps", verdict_of(solved), CLAIM_RULE, ends, n=seeds, says=_sentence(says))
    return [overall, *answers, *slopes]


def _sentence(says: str) -> str:
    return f"On the adding problem: {says}" if says else ""


def _question(model: str, length: int, seeds: dict[int, list[CellRow]]) -> Question:
    values = errors_of(seeds)
    what = f"{model}: squared error on the adding problem, T={length} (chance {CHANCE:.3f})"
    rows = [mine[0].row for mine in seeds.values()]
    note = f"{learning_rates.note_on(rows)}; of each seed {', '.join(f'{value:.2g}' for value in values)}"
    at = learning_rates.decisive(mean_of(values), rows)
    return Question(what, at, (-INFINITY, LOST), RULE, len(values), lengths=(length, length), note=note)


Solved = dict[tuple[str, int], str]  # (model, T) -> HOLDS: it is solved; FAILS: it is not


def verdict_of(solved: Solved) -> str:
    """The verdict on the claim from what each model solves."""
    lengths = sorted({length for _, length in solved})
    rnn = {length: solved.get((RNN, length), NOT_DECIDED) for length in lengths}
    lost = [length for length in lengths if FAILS in (solved.get((model, length)) for model in GATED)]
    if any(rnn[length] == HOLDS and any(FARTHER * length >= T for T in lost) for length in lengths):
        return FAILS
    if len(lengths) > 1 and all(verdict == HOLDS for verdict in rnn.values()):
        return FAILS
    for length in lengths:
        kept = [solved.get((model, FARTHER // 2 * length), NOT_DECIDED) for model in GATED]
        if rnn[length] == FAILS and all(verdict == HOLDS for verdict in kept):
            return HOLDS
    return NOT_DECIDED


def fails_at(solved: Solved, model: str) -> Estimate | None:
    """The first T at which a model fails, with the interval from the last T before it that it solves.

    None where it fails at none.
    """
    mine = {length: verdict for (of, length), verdict in sorted(solved.items()) if of == model}
    failed = next((length for length, verdict in mine.items() if verdict == FAILS), None)
    if failed is None:
        return None
    before = [length for length, verdict in mine.items() if verdict == HOLDS and length < failed]
    return Estimate(failed, max(before, default=0), failed)


def _said(solved: Solved, model: str) -> str:
    mine = {length: verdict for (of, length), verdict in sorted(solved.items()) if of == model}
    failure = fails_at(solved, model)
    kept = max((length for length, verdict in mine.items() if verdict == HOLDS), default=None)
    unclear = [length for length, verdict in mine.items() if verdict == NOT_DECIDED]
    said = f"fails at {failure.value:g} steps" if failure else f"solves up to {kept} steps" if kept else ""
    return joined(said, f"unclear at {', '.join(map(str, unclear))}" if unclear else "")


# The gradients


def lag_of(row: CellRow) -> float:
    """The middle of the row's range of lags, [d, 2 d) as far as the sequence goes."""
    first, last = row.number("distance"), min(max(0, 2 * row.number("distance") - 1), row.cell.length - 1)
    return (first + last) / 2


def slope_of(rows: list[CellRow]) -> float | None:
    """The slope of log10 of the median norm on the middle of its range of lags, least squares: decades a step.

    The first norm that is 0 counts as the smallest float32 whose square is not 0, so that a steep slope is
    underestimated; the norms beyond it are left out.
    """
    points = []
    for row in rows:
        points.append((lag_of(row), math.log10(row.number("grad_norm") or SMALLEST)))
        if not row.number("grad_norm"):
            break
    lags, logs = np.array(points).T
    return float(fit.slope(lags, logs)) if len(points) >= 3 else None


def _slope(model: str, length: int, seeds: dict[int, list[CellRow]]) -> Question:
    fitted = np.array([slope for rows in seeds.values() if (slope := slope_of(rows)) is not None])
    what = f"{model}: slope of log10 |d loss_T / d x_t| on the lag, after training at T={length}"
    rule = "below 0 the gradient vanishes with the lag"
    bounds = (-INFINITY, 0.0)
    return Question(what, mean_of(fitted), bounds, rule, len(fitted), "decades a step", (length, length))


def figures(results: Results) -> tuple[Figure, ...]:
    """The squared error against T: mean and range of the seeds."""
    curves = []
    for model in MODELS:
        found = {length: errors_of(seeds) for length, seeds in trained(results, model).items()}
        if found:
            band = Ends(tuple(float(each.min()) for each in found.values()), tuple(map(max, found.values())))
            means = tuple(float(each.mean()) for each in found.values())
            curves.append(DrawnCurve(model, NAMES[model], tuple(found), means, spread=band))
    lengths = sorted({int(length) for curve in curves for length in curve.x})
    return (
        Figure(
            "",
            x=Axis("length T of the adding problem (steps)", "log", lengths=tuple(lengths)),
            y=Axis("squared error", "log"),
            curves=tuple(curves),
            marks=(Rule(y=CHANCE, name="always answering 1"), Rule(y=LOST, solid=True, name="half of it: failed")),
            names=IN_LEGEND,
        ),
    )


CLAIM = Claim(
    1,
    "long_dependencies",
    "A plain RNN loses long dependencies; LSTM and GRU keep them",
    "adding problem, T=600, squared error: RNN 0.177, LSTM 0.164, GRU 5.3e-5 (Bai et al. 2018, arXiv:1803.01271)",
    parts,
    judge,
    figures,
    Minutes(10, 21.5),
)
