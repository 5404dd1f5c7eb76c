"""The Pallas selective scan, interpreted on a CPU, against the recurrence; test_ops.py has it at small chunks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params

from lengthscale.bench.device.flops import flops
from lengthscale.models.ops import selective_scan
from lengthscale.models.ops.platform import lowering_for
from lengthscale.models.ops.selective_scan import (
    Gate,
    block,
    gated_selective_scan,
    gated_selective_scan_reference,
    pallas,
    selective_scan_reference,
)
from tests.helpers.compare import assert_close
from tests.helpers.platforms import needs_cpu
from tests.models.ops.test_ops import normal, scan_arguments

TOLERANCE = 2e-6  # float32: sums of up to 16 terms, and of 200 tokens in dA


def value_and_gradients(scan, args):
    """Outputs and last state, and the gradients of a random sum of both with respect to all arguments."""
    cotangents = [normal(seed, *x.shape, dtype=x.dtype) for seed, x in enumerate(jax.eval_shape(scan, *args), start=8)]

    def total(*args):
        results = scan(*args)
        return sum((x * ct).sum() for x, ct in zip(results, cotangents, strict=True)), results

    return jax.jit(jax.grad(total, argnums=range(len(args)), has_aux=True))(*args)


def kernels(*args):
    return selective_scan.selective_scan(*args, method="pallas")


@pytest.mark.parametrize(
    ("length", "width", "state"),
    [
        (64, 16, 16),  # one chunk, one block of E
        (150, 40, 6),  # 2 chunks and a rest, 2 blocks and a rest, an N that is no power of two
        pytest.param(2, 5, 4, marks=pytest.mark.slow),  # all of it padding
        pytest.param(192, 16, 16, marks=pytest.mark.slow),
    ],
)
def test_kernels_equal_the_recurrence(length, width, state):
    args = scan_arguments(2, length, "float32", width, state)
    expected = value_and_gradients(selective_scan_reference, args)
    assert_close(value_and_gradients(kernels, args), expected, TOLERANCE)


def test_kernels_equal_the_chunked_form_from_rest():
    args = scan_arguments(2, 100, "float32", 24, 16)[:-1]

    def chunked(*args):
        return selective_scan.selective_scan(*args, method="chunked")

    assert_close(value_and_gradients(kernels, args), value_and_gradients(chunked, args), TOLERANCE)


def test_strong_and_no_decay():
    """exp(dt A) from 0 to 1: nothing is divided by it, and nothing overflows."""
    x, A, h0 = scan_arguments(1, 80, "float32", 16, 8)
    args = x._replace(dt=x.dt * jnp.logspace(-6, 3, 16)), A, h0
    results = value_and_gradients(kernels, args)
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(results))
    assert_close(results, value_and_gradients(selective_scan_reference, args), TOLERANCE)


# Of bfloat16 only the results are rounded, and the gradient of the outputs, which are added up with random signs.
TOLERANCES = {"float32": TOLERANCE, "bfloat16": 2**-7}


def gated_arguments(batch, length, width, state, dtype):
    """The block's arrays in this precision, A and the state in float32."""
    x, A, h0 = scan_arguments(batch, length, dtype, width, state)
    z, D, bias = normal(6, *x.u.shape, dtype=dtype), normal(7, width, dtype=dtype), normal(8, width, dtype=dtype) - 1
    delta = normal(1, *x.dt.shape, dtype=dtype) - 2
    return x._replace(dt=delta), A.astype("float32"), h0.astype("float32"), Gate(z, D, bias)


def equal_the_block(args):
    """Values and gradients against the equations in float64, relative to each array's largest entry."""
    dtype = args[0].u.dtype.name
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: x.astype("float64"), args)
        expected = value_and_gradients(gated_selective_scan_reference, wide)
    found = value_and_gradients(partial(gated_selective_scan, method="pallas"), args)
    gradients, (y, h) = found
    same_precisions = jax.tree.map(lambda x, y: x.dtype == y.dtype, (gradients, y, h), (args, args[0].u, args[2]))
    assert all(jax.tree.leaves(same_precisions))
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        error = np.abs(np.asarray(x, float) - np.asarray(y)).max() / np.abs(np.asarray(y)).max()
        assert error < TOLERANCES[dtype], (jax.tree_util.keystr(path), error)


@pytest.mark.parametrize(
    ("batch", "length", "width", "state", "dtype"),
    [
        # 2 chunks with a rest, 2 blocks of E with a rest, an N that is no power of two
        pytest.param(2, 65, 40, 6, "bfloat16", marks=pytest.mark.slow),
        (1, 5, 33, 6, "float32"),
        (2, 1, 5, 4, "bfloat16"),  # decoding, which has no kernel
        pytest.param(2, 1, 5, 4, "float32", marks=pytest.mark.slow),
        pytest.param(2, 5, 16, 16, "bfloat16", marks=pytest.mark.slow),
        pytest.param(1, 64, 32, 16, "bfloat16", marks=pytest.mark.slow),
        pytest.param(2, 64, 16, 16, "float32", marks=pytest.mark.slow),
        pytest.param(1, 65, 70, 16, "float32", marks=pytest.mark.slow),
        pytest.param(1, 200, 33, 16, "bfloat16", marks=pytest.mark.slow),
        pytest.param(2, 200, 40, 6, "float32", marks=pytest.mark.slow),
    ],
)
def test_kernels_equal_the_block(batch, length, width, state, dtype):
    equal_the_block(gated_arguments(batch, length, width, state, dtype))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("chunks", [1, 3, 37])  # 37: two runs of 16 whose rows are read at once, and a rest
def test_between_chunks(chunks, reverse):
    """Both forms against the recurrence, one chunk after the other."""
    batch, states, width = 2, 3, 64
    draw = partial(normal, dtype="float32")
    totals, ends = abs(draw(1, chunks, batch, 1, width)), draw(2, chunks, batch, states, width)
    A, edge = -abs(draw(3, states, width)), draw(4, batch, states, width)
    decays = np.exp(np.float64(totals) * np.float64(A))
    x, expected = np.float64(edge), np.zeros(ends.shape)
    for i in reversed(range(chunks)) if reverse else range(chunks):
        expected[i] = x
        x = decays[i] * x + ends[i]
    for form in (pallas._between_chunks, pallas._by_prefixes):
        assert_close(form(totals, A, ends, edge, reverse), (expected, x), TOLERANCE)


@pytest.mark.slow
@needs_cpu
def test_a_program_goes_through_several_blocks(monkeypatch):
    """As on a GPU with enough programs: its share of dB and dC is the sum over them."""
    monkeypatch.setattr(pallas, "_blocks", lambda grid: 2)
    equal_the_block(gated_arguments(1, 20, 64, 4, "bfloat16"))


@needs_cpu
@pytest.mark.slow
def test_rows_that_a_tpu_reads_and_writes_together(monkeypatch):
    monkeypatch.setattr(block, "platform", lambda: "tpu")
    equal_the_block(gated_arguments(1, 70, 40, 4, "bfloat16"))


@pytest.mark.slow
def test_the_gradient_is_recomputed_from_the_inputs_alone():
    """With rematerialisation, as a block of a model has it."""
    args = gated_arguments(1, 20, 16, 4, "float32")
    scan = partial(gated_selective_scan, method="pallas")
    assert_close(value_and_gradients(jax.checkpoint(scan), args), value_and_gradients(scan, args), TOLERANCE)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("target", ["cuda", "tpu"])
def test_no_wide_array_is_cast(target, gated):
    """Outside of the kernels (B, T, E) has the inputs' precision only."""
    args = gated_arguments(2, 256, 512, 4, "bfloat16")
    scan, args = (gated_selective_scan, args) if gated else (selective_scan.selective_scan, args[:3])
    with lowering_for(target):
        program = jax.make_jaxpr(lambda dy, *args: jax.vjp(lambda *args: scan(*args)[0], *args)[1](dy))(
            args[0].u, *args
        )
    wide = [x for x in arrays(program.jaxpr, inside_kernels=False) if x.shape == args[0].u.shape]
    assert {x.dtype.name for x in wide} == {"bfloat16"}


def test_flops_are_those_of_the_equation_on_either_target():
    """A GPU's instructions count as the operations that they are."""
    args = gated_arguments(1, 64, 512, 16, "float32")
    counts = {}
    for target in ("cuda", "tpu"):
        with lowering_for(target):
            counts[target] = flops(gated_selective_scan, *args)
    assert counts["cuda"] == counts["tpu"]
    states = 2 * (1 + 1 + 3) + 2  # in two kernels dt A, exp, a h + B (dt u); C . h
    channels = 2 * (1 + 6 + 1) + 1 + 9  # in both softplus of a sum, dt u; the sum of dt; (y + D u) z sigmoid(z)
    assert counts["cuda"] == pytest.approx(64 * 512 * (16 * states + channels), rel=0.01)  # and A log2 e, once a chunk


@pytest.mark.parametrize(("length", "chunk", "blocks"), [(1024, 64, 1), (4096, 64, 1), (65_536, 256, 2)])
def test_a_gpu_is_filled_first(length, chunk, blocks):
    """By one sequence of E = 1536, which is 48 blocks: then chunks get longer, and shares of dB and dC fewer."""
    assert pallas._chunk(length * 48) == chunk
    with lowering_for("cuda"):
        assert pallas._blocks((length // chunk, 1, 48)) == blocks


@pytest.mark.parametrize(
    ("target", "discretisation", "kernels"),
    [("cuda", "mamba", 6), ("tpu", "mamba", 4), ("cuda", "zoh", 0), ("tpu", "bilinear", 0), ("cpu", "mamba", 0)],
)
def test_auto_is_the_kernels_where_there_are_such(target, discretisation, kernels):
    args = scan_arguments(1, 70, "float32", 64, 16)

    def scan(*args):
        return selective_scan.selective_scan(*args, discretisation=discretisation)

    with lowering_for(target):  # three kernels forward, and three backward; on a TPU two, and what is between chunks
        lowered = (
            jax.jit(lambda *args: value_and_gradients(scan, args)).trace(*args).lower(lowering_platforms=(target,))
        )
    text = lowered.as_text()
    assert text.count("@__gpu$xla.gpu.triton") == (kernels if target == "cuda" else 0)
    assert text.count("@tpu_custom_call") == (kernels if target == "tpu" else 0)


@pytest.mark.parametrize("target", ["cuda", "tpu"])
def test_no_array_is_larger_than_the_input(target):
    """So the states of all tokens, N times as large, are nowhere in memory; those that are kept are as large."""
    x, *rest = scan_arguments(1, 4096, "float32", 64, 16)
    with lowering_for(target):
        program = jax.make_jaxpr(jax.grad(lambda u: selective_scan.selective_scan(x._replace(u=u), *rest)[0].sum()))(
            x.u
        )
    assert max(x.size for x in arrays(program.jaxpr)) == x.u.size * (
        1 if target == "cuda" else 2
    )  # a TPU's rows are filled up to 128


def arrays(jaxpr, inside_kernels=True):
    """All arrays that a program makes."""
    for equation in jaxpr.eqns:
        yield from (x.aval for x in equation.outvars)
        if inside_kernels or equation.primitive.name != "pallas_call":
            for inner in jaxprs_in_params(equation.params):
                yield from arrays(inner, inside_kernels)


def test_what_the_kernels_cannot_do_is_refused():
    args = scan_arguments(1, 20, "float32")
    with pytest.raises(ValueError, match="it is for the discretisation 'mamba', got 'zoh'"):
        selective_scan.selective_scan(*args, discretisation="zoh", method="pallas")
    for chunk in (4, 24):
        with pytest.raises(ValueError, match=f"a power of two, of 8 at least, got {chunk}"):
            selective_scan.selective_scan(*args, method="pallas", chunk=chunk)
