"""Ours: whole models of size small, with the programs of bench/device/measures/."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import jax
import numpy as np

from lengthscale.bench.device import memory
from lengthscale.bench.device.learner import MATRICES
from lengthscale.bench.device.measures import decode, train
from lengthscale.bench.device.program import Program
from lengthscale.bench.peers.case import Case
from lengthscale.bench.peers.contenders.prepared import Given, Prepared, nothing
from lengthscale.bench.peers.rows import CACHED, CONTEXTS, DECODERS, LINEAR_FROM, STREAMED
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.models import SIZES

SIZE = "small"
CHUNK = 4_096  # tokens of the streamed training step


def _cell(case: Case, measure: str, chunk: int = 0) -> Cell:
    model = case.row.removesuffix("-small")
    return Cell(measure, model, SIZE, "auto", case.length, case.batch, "float32", chunk, "text", 0)


def _prepare(program: Program, work: float) -> Prepared:
    compiled = program.step.lower(*program.abstract_args).compile()
    plan = compiled.memory_analysis()
    args = program.make_args()

    def call():
        nonlocal args
        results = jax.block_until_ready(compiled(*args))
        args = program.advance(args, results)

    temp_bytes = None if plan is None else plan.temp_size_in_bytes
    return Prepared(call, nothing, work, temp_bytes)


def _decode(case: Case, given: Given) -> Prepared:
    """A decoding step. Its work: the bytes of the parameters and of the state, all of which a step reads."""
    program = decode.make_program(_cell(case, "decode"), Settings())
    return _prepare(program, float(memory.tree_bytes(program.abstract_args)))


def _shortest(case: Case, given: Given) -> Prepared:
    return _decode(replace(case, length=CONTEXTS[0]), given)


def _step(case: Case, given: Given) -> Prepared:
    program = train.make_program(_cell(case, "train"), Settings())
    return _prepare(program, step_work(case, program.abstract_args[0]))


def _long(case: Case, given: Given) -> Prepared:
    """A training step in chunks. Its work: tokens. Its peak memory is that of the whole process with compiling."""
    with suppress(OSError):
        memory.reset_peak()
    prepared = _prepare(train.make_program(_cell(case, "train", CHUNK), Settings()), float(case.tokens))
    return replace(prepared, peak_bytes=_peak_bytes)


def _peak_bytes() -> int | None:
    with suppress(OSError):
        return memory.process_peak_bytes()


def _at_64k(case: Case, given: Given) -> Prepared:
    return _long(replace(case, length=LINEAR_FROM), given)


def step_work(case: Case, params) -> float:
    """The FLOPs of a training step's matrix products, from the shapes of the parameters.

    They are 6 a token for each number of a matrix (2 forward, 4 backward), where the embedding is also the head, and 7
    products of the causal half for attention.
    """
    matrices = [
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if any(name in jax.tree_util.keystr(path) for name in (*MATRICES, "embedding"))
    ]
    flops = 6.0 * case.tokens * float(np.sum(matrices))
    if case.row.removesuffix("-small") in CACHED:
        size = SIZES[SIZE]
        pairs = case.length * (case.length + 1) / 2
        flops += case.batch * size.n_layers * 7 * 2 * size.d_model * pairs
    return flops


BUILDERS = {
    **{(f"{name}-small", measure): _decode for name in DECODERS for measure in ("decode", "flat")},
    ("transformer-small", "step"): _step,
    ("mamba-small", "step"): _step,
    **{(f"{name}-small", "long"): _long for name in STREAMED},
}
AT_64K = {f"{name}-small": _at_64k for name in STREAMED}
SHORTEST = {f"{name}-small": _shortest for name in DECODERS}
