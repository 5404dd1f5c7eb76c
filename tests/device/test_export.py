"""Every model's programs, as the measures run them, lowered and exported for CUDA and TPU, from any machine.

The kernels that "auto" claims for a platform must be in the program, and in no other: they appear as custom calls. The
FLOPs of every program are known, nothing is float64, and no array has all of batch, time, channels and states.
"""

import importlib
import math
import re

import jax
import pytest
from jax import export

from lengthscale.bench.device.flops import flops_of
from lengthscale.bench.device.precision import precision_of
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.workloads import DEFAULT_DATA
from lengthscale.models import every_model, spec_of
from lengthscale.models.ops.attention import dispatch
from lengthscale.models.ops.platform import lowering_for

LENGTH = 256  # tokens, those of a source and its target together, or 16 x 16 pixels
TRITON, MOSAIC = "__gpu$xla.gpu.triton", "tpu_custom_call"
KERNELS = {"cuda": TRITON, "tpu": MOSAIC}
# Where "auto" is a kernel in the whole-sequence programs. On CUDA attention in float32 has ours.
ATTENTION = (
    "transformer",
    "transformer:positions=sinusoidal",
    "transformer++",
    "transformer-window",
    "transformer-encdec",
    "vit",
)
CELLS = ("rnn", "lstm", "gru", "rnn-plain", "lstm-plain", "gru-plain", "seq2seq-lstm", "seq2seq-gru")
MAMBAS = ("mamba", "mamba:rule=zoh", "mamba:rule=bilinear")  # of other rules the convolution alone
HAS_KERNEL = {("cuda", name) for name in (*MAMBAS, "rwkv4", *CELLS, *ATTENTION)} | {("tpu", "mamba")}
HAS_KERNEL |= {("tpu", name) for name in ATTENTION if name != "vit"}
# Where a token's step is one: on CUDA attention reads the cache by one.
HAS_STEP_KERNEL = {("cuda", name) for name in ATTENTION}
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


def flat_program(name, measure):
    """The step on arrays alone, since jax.export serialises no trees of flax's; those, and what it gives."""
    program = make_program(name, measure)
    leaves, tree = jax.tree.flatten(program.abstract_args)
    step = jax.jit(lambda *leaves: jax.tree.leaves(program.step(*jax.tree.unflatten(tree, leaves))))
    return step, leaves, jax.eval_shape(step, *leaves)


def exported_for(target, name, measure):
    """(the exported program, its arguments, what it gives); a model is laid out for the platform."""
    with lowering_for(target):
        step, args, results = flat_program(name, measure)
        jaxpr = step.trace(*args).jaxpr
        assert (flops_of(jaxpr) or 0) > 0
        assert precision_of(jaxpr)
        # jax promises no stability of a GPU kernel's form over its own versions, and says so by refusing.
        checks = [export.DisabledSafetyCheck.custom_call(TRITON)]
        return export.export(step, platforms=[target], disabled_checks=checks)(*args), args, results


def types(text):
    """The element types of all arrays."""
    return {each.rsplit("x", 1)[-1] for each in re.findall(r"tensor<([\w]*)>", text)}


def assert_no_states_of_all_tokens(name, text):
    """Of Mamba: (B, T, E, N), which is what its kernels are for. Of S4D: (B, T, H, N)."""
    channels, states = {"mamba": (64, 16), "s4d": (32, 32)}.get(name, (0, 0))
    limit = 2 * LENGTH * channels * states
    for sizes in re.findall(r"tensor<((?:\d+x)+)(?:f32|bf16|complex<f32>)>", text) if limit else ():
        assert math.prod(map(int, sizes.split("x")[:-1])) < limit, sizes


@pytest.mark.parametrize("measure", ["forward", "train"])
def test_attention_in_bfloat16_is_cudnns_on_cuda(measure, monkeypatch):
    """As far as it can be shown where jax's packages for CUDA are missing: jax is told that there is a cuDNN."""
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91_000)
    monkeypatch.setattr(dispatch, "reason_against_cudnn", lambda: None)
    program = make_program("transformer", measure, "bfloat16")
    with lowering_for("cuda"):
        traced = program.step.trace(*program.abstract_args)
    assert (flops_of(traced.jaxpr) or 0) > 0
    assert (precision_of(traced.jaxpr) or "").startswith("bfloat16")
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert ("__cudnn$fmhaSoftmaxBackward" in text) == (measure == "train")
    assert "__cudnn$fmhaSoftmax" in text


def shapes(avals):
    return [(x.shape, x.dtype) for x in avals]


@pytest.mark.parametrize("target", KERNELS)
@pytest.mark.parametrize(("name", "measure"), list(programs()))
def test_every_program_exports(name, measure, target):
    exported, args, results = exported_for(target, name, measure)
    assert exported.platforms == (target,)
    assert shapes(exported.out_avals) == shapes(results)
    text = exported.mlir_module()
    for of_platform, kernel in KERNELS.items():
        claimed = (target, name) in HAS_KERNEL and measure != "decode"
        claimed |= (target, name) in HAS_STEP_KERNEL and measure in ("decode", "generate")
        assert (kernel in text) == (claimed and of_platform == target), kernel
    assert "f64" not in types(text)
    assert_no_states_of_all_tokens(name, text)
    again = export.deserialize(exported.serialize())
    assert again.platforms == (target,)
    assert shapes(again.in_avals) == shapes(args)
    assert shapes(again.out_avals) == shapes(exported.out_avals)
    assert again.mlir_module() == text
