"""A prefill costs less than a training step on the same tokens, in every model: FLOPs, planned bytes, steps of loops.

A loop whose body is small costs a GPU a kernel's launch for each of its steps, whatever it computes.
"""

import importlib
import math
from functools import cache

import jax
import pytest
from jax.interpreters.partial_eval import dce_jaxpr

from lengthscale.bench.device import memory
from lengthscale.bench.device.flops import flops_of, inner_jaxprs
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.workloads import DEFAULT_DATA
from lengthscale.models import MODELS, spec_of
from lengthscale.models.ops.platform import lowering_for

LENGTH = 1024


@cache
def program(name, measure):
    cell = Cell(measure, name, "tiny", "auto", LENGTH, 1, "float32", 0, DEFAULT_DATA[spec_of(name).kind], 0)
    return importlib.import_module(MEASURES[measure].module).make_program(cell, Settings())


def traced(name, measure, target):
    with lowering_for(target):
        step = program(name, measure).step
        return step.trace(*program(name, measure).abstract_args)


def steps_of_loops(jaxpr):
    """How many bodies of loops run, one after the other; a loop inside a body counts in each."""
    jaxpr, _ = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "pallas_call":
            continue
        inner = sum(map(steps_of_loops, inner_jaxprs(eqn)))
        total += eqn.params["length"] * (1 + inner) if eqn.primitive.name == "scan" else inner
    return total


@pytest.mark.parametrize("target", [pytest.param("cpu", marks=pytest.mark.slow), "cuda", "tpu"])
@pytest.mark.parametrize("name", MODELS)
def test_flops_and_loops(name, target):
    forward, train = (traced(name, measure, target).jaxpr for measure in ("forward", "train"))
    assert 2 * (flops_of(forward) or math.inf) < (flops_of(train) or 0)
    assert steps_of_loops(forward.jaxpr) <= steps_of_loops(train.jaxpr)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_planned_bytes(name):
    forward, train = (traced(name, measure, "cpu").lower().compile() for measure in ("forward", "train"))
    assert (memory.planned_bytes(forward) or 0) < (memory.planned_bytes(train) or 0)


def test_s4d_has_no_loops_over_time_on_a_gpu():
    """Its tables of powers were loops: a prefill of 4,096 tokens took 55 ms on an H200, a training step 42."""
    with lowering_for("cuda"):
        jaxpr = program("s4d", "forward").step.trace(*program("s4d", "forward").abstract_args).jaxpr
    blocks = jax.tree.leaves(program("s4d", "forward").abstract_args[0]["blocks"])[0].shape[0]
    assert steps_of_loops(jaxpr.jaxpr) == blocks
