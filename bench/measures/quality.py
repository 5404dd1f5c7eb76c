"""What length buys: train at length L on a fixed budget of tokens, then the loss on the same held-out targets.

Every length sees the same number of tokens in the same number of steps (batch x L is fixed). Then the same target
tokens of the held-out text are predicted from the last 16, 64, 256 ... tokens before them: what changes along a curve
is the context alone, not the targets. The mean loss at a model's own length would fall with L with no long-range
learning at all, since fewer positions start cold; it stands beside as `loss_at_length` where L is one of the contexts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

from bench import memory, timing
from bench.cell import Cell
from bench.learner import Learner, make_learner, make_optimizer, make_train_step
from bench.program import Program, Report, Result, check_losses, check_memory, compile_program
from bench.suites import Settings
from bench.tasks import text

EVALUATED_AT_ONCE = 65_536  # tokens


def make_program(cell: Cell, settings: Settings) -> Program:
    """The training step, as often as the budget of tokens asks."""
    learner = make_learner(cell)
    steps = n_steps(cell, settings)
    schedule = optax.warmup_cosine_decay_schedule(0.0, settings.learning_rate, max(1, steps // 10), steps + 1)
    optimizer = make_optimizer(schedule)

    def make_state(key):
        params = learner.params(key)
        return params, optimizer.init(params)

    return Program(
        step=make_train_step(learner, optimizer, cell),
        make_state=make_state,
        inputs=(text.windows(text.load(cell.data).train, cell.batch, cell.length + 1),),
        seed=cell.seed,
        tokens=cell.batch * cell.length,
        columns={"n_params": learner.n_params},
        advance=lambda args, results: (results[0], results[1], args[2]),
        calls=steps,
    )


def n_steps(cell: Cell, settings: Settings) -> int:
    return max(1, settings.train_tokens // (cell.batch * cell.length))


def run(cell: Cell, settings: Settings, report: Report) -> Result:
    program = make_program(cell, settings)
    compiled = compile_program(program, report)
    check_memory(compiled, settings)
    report("allocate")
    data = text.load(cell.data)
    params, state, _ = program.make_args()
    meter = memory.PeakMeter(memory.tree_bytes((params, state)))

    report("train")
    rng = np.random.default_rng(cell.seed)
    losses, seconds = [], []
    for _ in range(n_steps(cell, settings)):
        tokens = jnp.asarray(text.random_windows(data.train, cell.batch, cell.length + 1, rng))
        taken, (params, state, loss) = timing.timed(partial(compiled.call, params, state, tokens))
        seconds.append(taken)
        losses.append(loss)
    row = {
        **meter.columns(),  # before the statistics, which take memory of their own
        **program.columns,
        **timing.columns(tuple(seconds[1:] or seconds), program.tokens),  # the first step also warms up
        **compiled.columns,
        "train_tokens": program.tokens * len(losses),
        "steps": len(losses),
        "learning_rate": settings.learning_rate,
    }
    status, message = check_losses(losses)
    if status != "ok":
        return Result([row], tuple(seconds), status, message)

    report("evaluate")
    last_tenth = losses[-max(1, len(losses) // 10) :]
    row["train_loss"] = float(np.mean([float(loss) for loss in last_tenth]))
    losses_of = make_evaluation(make_learner(cell), params, cell.dtype)
    rows = []
    for context in settings.contexts:
        every = losses_of(context_windows(data.held_out, context, settings))
        losses = every[:, -settings.target_tokens :].mean(axis=1)
        if context == cell.length:
            row["loss_at_length"] = every[:, :context].mean()
        low, high = mean_interval(losses)
        rows.append({**row, "context": context, "loss": losses.mean(), "loss_low": low, "loss_high": high})
    rows = [{**each, "loss_at_length": row.get("loss_at_length")} for each in rows]
    return Result([{key: _plain(value) for key, value in each.items()} for each in rows], tuple(seconds))


def context_windows(tokens: np.ndarray, context: int, settings: Settings) -> np.ndarray:
    """(windows, context + targets): the same targets for every context, spread evenly over the stream."""
    longest = max(settings.contexts)
    whole = text.windows(tokens, settings.windows, longest + settings.target_tokens)
    return whole[:, longest - context :]


def make_evaluation(learner: Learner, params, dtype: str) -> Callable[[np.ndarray], np.ndarray]:
    """tokens (W, T + 1) -> losses (W, T) in nats, a few windows at a time."""

    @jax.jit
    def evaluate(params, tokens):
        logits, _ = learner.model(params, dtype)(tokens[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), tokens[:, 1:])

    def losses_of(tokens):
        at_once = max(1, EVALUATED_AT_ONCE // tokens.shape[1])
        parts = [tokens[start : start + at_once] for start in range(0, len(tokens), at_once)]
        return np.concatenate([np.asarray(evaluate(params, jnp.asarray(part))) for part in parts])

    return losses_of


def mean_interval(values: np.ndarray) -> tuple[float | None, float | None]:
    """Bootstrap 95% interval of the mean over windows; None for fewer than 3."""
    if len(values) < 3:
        return None, None
    result = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=2000, rng=np.random.default_rng(0))
    return result.confidence_interval.low, result.confidence_interval.high


def _plain(value):
    return value.item() if isinstance(value, np.generic) else value
