"""Every model's programs, as the measures run them, lowered and exported for CUDA and TPU, from any machine.

The kernels that "auto" claims for a platform must be in the program, and in no other: they appear as custom calls.
"""

import importlib
from functools import lru_cache

import jax
import pytest
from jax import export

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.workloads import DEFAULT_DATA
from lengthscale.models import every_model, spec_of
from lengthscale.models.ops.platform import lowering_for

LENGTH = 256  # tokens, those of a source and its target together, or 16 x 16 pixels
TRITON, MOSAIC = "__gpu$xla.gpu.triton", "tpu_custom_call"
KERNELS = {"cuda": TRITON, "tpu": MOSAIC}
# Where "auto" is a kernel in the whole-sequence programs. cuDNN's needs a CUDA device when it is traced.
ATTENTION = (
    "transformer",
    "transformer:positions=sinusoidal",
    "transformer++",
    "transformer-window",
    "transformer-encdec",
    "vit",
)
HAS_KERNEL = {("cuda", "mamba"), ("tpu", "mamba")} | {("tpu", name) for name in ATTENTION if name != "vit"}
# These run another one's ops.
ALIKE = (
    *("gru", "lstm", "rnn-plain", "lstm-plain", "gru-plain", "transformer-window", "seq2seq-gru"),
    *(name for name in every_model() if ":" in name),
)


def programs():
    for name in every_model():
        for measure in ("forward", "train", "decode", "generate"):
            if measure not in ("decode", "generate") or spec_of(name).kind != "images":
                # training has a forward pass, and generation has one and steps of decoding
                marks = pytest.mark.slow if name in ALIKE or measure in ("forward", "generate") else ()
                yield pytest.param(name, measure, id=f"{name}-{measure}", marks=marks)


def make_program(name, measure, dtype="float32"):
    cell = Cell(measure, name, "tiny", "auto", LENGTH, 2, dtype, 0, DEFAULT_DATA[spec_of(name).kind], 0)
    return importlib.import_module(MEASURES[measure].module).make_program(cell, Settings())


@lru_cache(maxsize=1)
def flat_program(name, measure):
    """The step on arrays alone, since jax.export serialises no trees of flax's; those, and what it gives here."""
    program = make_program(name, measure)
    leaves, tree = jax.tree.flatten(program.abstract_args)
    step = jax.jit(lambda *leaves: jax.tree.leaves(program.step(*jax.tree.unflatten(tree, leaves))))
    return step, leaves, jax.eval_shape(step, *leaves)


def exported_for(target, step, *args):
    with lowering_for(target):
        # jax promises no stability of a GPU kernel's form over its own versions, and says so by refusing.
        checks = [export.DisabledSafetyCheck.custom_call(TRITON)]
        return export.export(step, platforms=[target], disabled_checks=checks)(*args)


def shapes(avals):
    return [(x.shape, x.dtype) for x in avals]


@pytest.mark.parametrize("target", KERNELS)
@pytest.mark.parametrize(("name", "measure"), list(programs()))
def test_every_program_exports(name, measure, target):
    step, args, here = flat_program(name, measure)
    exported = exported_for(target, step, *args)
    assert exported.platforms == (target,)
    assert shapes(exported.out_avals) == shapes(here)
    text = exported.mlir_module()
    for of_platform, kernel in KERNELS.items():
        claimed = of_platform == target and (target, name) in HAS_KERNEL and measure != "decode"
        assert (kernel in text) == claimed, kernel
    again = export.deserialize(exported.serialize())
    assert again.platforms == (target,)
    assert shapes(again.in_avals) == shapes(args)
    assert shapes(again.out_avals) == shapes(exported.out_avals)
    assert again.mlir_module() == text
