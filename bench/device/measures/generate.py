"""Generation: a prompt of L tokens in, N new tokens out, in two compiled programs.

    first:  the prompt -> the first new token, and a state with room for N more positions
    rest:   that token and the state, donated -> the other N - 1 tokens, by a `lax.scan` over steps of one token

Tokens are chosen greedily, on the device, and nothing goes to Python between two of them: this is the time of the work,
where `decode` times one call a token, as an interactive loop pays it. A sample is one call of each program, one after
the other. The time of `first` is the time to first token; the time of `rest` over N - 1 is the time per output token.

Both programs have the same arrays of weights. A model without a cache decodes with its blocks one by one
(device/decoding.py); `rest` lays them out itself, in each call. That copy is in its planned memory and in its time: it
reads and writes each weight once, where each of the N - 1 steps reads it once. In `first` the blocks are in a
loop: one by one they would need much more memory (Mamba, small, 8k tokens on a CPU: 368 MB planned, not 134).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from lengthscale.bench.device import memory, timing
from lengthscale.bench.device.decoding import laid_out, next_inputs
from lengthscale.bench.device.learner import make_learner
from lengthscale.bench.device.program import Compiled, Notifier, Program, check_memory, load_or_compile, measured
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.disturbance import undisturbed, usable
from lengthscale.bench.results.messages import Done


def make_program(cell: Cell, settings: Settings) -> Program:
    """Both programs as one, which a dry run plans: the prompt in, all N new tokens out, (N, B, 1), and the state."""
    first, rest = make_programs(cell, settings)

    @jax.jit
    def step(params, statistics, *prompt):
        token, state = first.step(params, statistics, *prompt)
        tokens, state = rest.step(params, statistics, token, state)
        return jnp.concatenate([token[None], tokens]), state

    return replace(first, step=step, parts=(first, rest))


def make_programs(cell: Cell, settings: Settings) -> tuple[Program, Program]:
    """The programs `first` and `rest`. The arguments of `rest` are the weights and the results of `first`.

    Compiling them raises NotImplementedError where the model does not decode.
    """
    new_tokens = settings.new_tokens
    workload = make_workload(cell, room=new_tokens)
    learner = make_learner(cell, workload)

    def start(params, statistics, *prompt):
        outputs, state = workload.prefill(learner.model(params, statistics), *prompt, room=new_tokens)
        return next_inputs(outputs[:, None], prompt[0][:, -1:]), state

    def go_on(params, statistics, token, state):
        graph, arrays = nnx.split(laid_out(learner.model(params, statistics)))

        def body(carry, _):
            token, state = carry
            outputs, state = nnx.merge(graph, arrays)(token, state)
            token = next_inputs(outputs, token)
            return (token, state), token

        (_, state), tokens = lax.scan(body, (token, state), length=new_tokens - 1)
        return tokens, state

    def columns(results) -> dict:
        return {
            "n_params": learner.n_params,
            "new_tokens": new_tokens,
            "weights_bytes": memory.tree_bytes(first.abstract_args[:2]),
            "state_bytes": memory.tree_bytes(results[1]),
        }

    # Weights that a program does not use, such as an encoder's in `rest`, are held nevertheless: the plan counts them.
    first = Program(
        step=jax.jit(start, keep_unused=True),
        make_state=learner.make_cast,
        inputs=workload.prompt(),
        seed=cell.seed,
        name=f"{cell.key()} new_tokens={new_tokens} first",
        tokens=cell.batch * new_tokens,
        columns=columns,
    )

    def make_rest_args(key):
        arrays = learner.make_cast(key)
        return *arrays, *start(*arrays, *map(jnp.asarray, first.inputs))

    step = jax.jit(go_on, donate_argnums=3, keep_unused=True)
    rest = replace(
        first,
        step=step,
        make_state=make_rest_args,
        inputs=(),
        name=f"{first.name} rest",
        columns=lambda results: {},
    )
    return first, rest


def joined(first: Compiled, rest: Compiled) -> Compiled:
    """Both compiled programs as one, for the columns of a row: sums, and the memory of the one that plans more."""
    sums = {name: _known(sum, first.columns[name], rest.columns[name]) for name in rest.columns if name != "precision"}
    columns = {**first.columns, **sums}
    columns["mem_planned_bytes"] = _known(max, first.planned_bytes, rest.planned_bytes)
    return Compiled(first.program, None, columns, _known(sum, first.moved_bytes, rest.moved_bytes))


def _known(function: Callable, *values):
    """function(values); None where a value is unknown."""
    return None if None in values else function(values)


def run(cell: Cell, settings: Settings, notify: Notifier) -> Done:
    """Measure the cell. Raises SkippedError, and NotImplementedError where the model does not decode."""
    first, rest = (load_or_compile(program, notify) for program in make_programs(cell, settings))
    both = joined(first, rest)
    check_memory(both, settings)
    notify("allocate")
    args = first.program.make_args()
    first_s, rest_s = [], []

    def call():
        seconds, results = timing.timed(lambda: first.call(*args))
        first_s.append(seconds)
        seconds, results = timing.timed(lambda: rest.call(*args[:2], *results))
        rest_s.append(seconds)
        return results

    notify("sample")
    meter = memory.peak_meter()
    samples = timing.sample(call, settings, meter.measure)
    memory_columns = meter.columns(args)
    row = {**both.timed(samples), **memory_columns}
    _, with_disturbed = usable(samples)
    used = [number for number, is_good in enumerate(undisturbed(samples)) if is_good or with_disturbed]
    count = len(samples.samples_ms)  # the samples are the last calls
    split = ([seconds[-count:][number] for number in used] for seconds in (first_s, rest_s))
    return measured([{**row, **split_of(row, *split)}], samples)


def split_of(row: dict, first_s: list[float], rest_s: list[float]) -> dict:
    """The columns of the two times, and of the memory that is neither weights nor state.

    row: the other columns. first_s, rest_s: the seconds of each call of the two programs.
    """
    planned = row["mem_planned_bytes"]
    return {
        "ttft_ms": statistics.median(first_s) * 1e3,
        "tpot_ms": statistics.median(rest_s) * 1e3 / (row["new_tokens"] - 1),
        "activation_bytes": None if planned is None else planned - row["weights_bytes"] - row["state_bytes"],
    }
