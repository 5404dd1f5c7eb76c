"""The C++ kernels against the readable references, in float32, and what happens where they are unavailable."""

import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lengthscale.bench.device.flops import flops
from lengthscale.models.ops.selective_scan import (
    Gate,
    Inputs,
    gated_selective_scan,
    gated_selective_scan_reference,
    selective_scan,
    selective_scan_reference,
)
from tests.helpers.compare import assert_close
from tests.helpers.platforms import needs_kernels
from tests.models.ops.test_ops import scan_arguments

TOLERANCE = 2e-5  # as in test_ops: sums of up to a few hundred terms in another order


def gated_arguments(batch, length, width, state):
    """Those of the scan, delta for dt (softplus of it reaches down to 1e-4), and the gate."""
    x, A, h0 = scan_arguments(batch, length, "float32", width=width, state=state)
    rng = np.random.default_rng(3)
    z, D, bias = (jnp.asarray(rng.normal(size=shape), "float32") for shape in (x.u.shape, width, width))
    return x._replace(dt=jnp.log(jnp.expm1(x.dt)) - 2), A, h0, Gate(z, D, bias - 2)


gated = partial(gated_selective_scan, method="native")


def gradients(scan, args):
    """Of random sums of y and of the last state, with respect to all arguments."""
    y, h = jax.eval_shape(scan, *args)
    rng = np.random.default_rng(9)
    cotangents = rng.normal(size=y.shape).astype("float32"), rng.normal(size=h.shape).astype("float32")

    def total(*args):
        return sum((x * ct).sum() for x, ct in zip(scan(*args), cotangents, strict=True))

    return jax.jit(jax.grad(total, argnums=range(len(args))))(*args)


@needs_kernels
@pytest.mark.parametrize(
    ("batch", "length", "width", "state", "chunk"),
    [(1, 64, 16, 4, 16), (2, 37, 40, 3, 8), (3, 5, 7, 1, 64), (1, 200, 100, 16, None), (2, 1, 16, 4, None)],
)
def test_selective_scan_equals_the_reference(batch, length, width, state, chunk):
    args = scan_arguments(batch, length, "float32", width=width, state=state)
    scan = partial(selective_scan, method="native", chunk=chunk)
    assert_close(jax.jit(scan)(*args), selective_scan_reference(*args), TOLERANCE)
    assert_close(gradients(scan, args), gradients(selective_scan_reference, args), TOLERANCE)


@needs_kernels
@pytest.mark.parametrize(
    ("batch", "length", "width", "state"), [(1, 64, 16, 4), (2, 37, 40, 3), (3, 2, 7, 1), (1, 200, 100, 16)]
)
def test_the_gated_scan_equals_the_equations(batch, length, width, state):
    args = gated_arguments(batch, length, width, state)
    assert_close(jax.jit(gated)(*args), gated_selective_scan_reference(*args), TOLERANCE)
    assert_close(gradients(gated, args), gradients(gated_selective_scan_reference, args), TOLERANCE)


@needs_kernels
def test_softplus_is_exact_to_rounding_where_it_is_small_and_where_it_is_large():
    """A is so small that nothing decays: after two steps of u = B = 1 the state is twice softplus."""
    delta = jnp.asarray([-30.0, -20, -10, -5, -1, -1e-3, 0, 1e-3, 1, 5, 10, 20])
    n = delta.size
    zeros, ones = jnp.zeros((1, 2, n)), jnp.ones((1, 2, n))
    B, C, h0 = jnp.ones((1, 2, 1)), jnp.ones((1, 2, 1)), jnp.zeros((1, 1, n))
    _, h = gated(Inputs(ones, zeros, B, C), jnp.full((n, 1), -1e-30), h0, Gate(ones, jnp.zeros(n), delta))
    expected = 2 * np.logaddexp(np.asarray(delta, "float64"), 0)
    np.testing.assert_allclose(h[0, 0], expected, rtol=1e-6)


@needs_kernels
def test_a_nan_is_not_swallowed_by_the_gate():
    x, A, h0, gate = gated_arguments(1, 40, 20, 4)

    def spoil(values):
        return values.at[0, 20, 3].set(np.nan)

    for spoilt_x, spoilt_gate in (
        (x._replace(u=spoil(x.u)), gate),
        (x._replace(dt=spoil(x.dt)), gate),
        (x, gate._replace(z=spoil(gate.z))),
    ):
        out, _ = gated(spoilt_x, A, h0, spoilt_gate)
        assert np.isnan(out[0, 20, 3])
        assert not np.isnan(out[0, :20]).any()


@needs_kernels
def test_the_exponential_is_exact_to_rounding_over_its_range():
    """T = 2 and h0 = 1: the last state is exp(dt A) squared, to a relative 1e-6 as long as it is no denormal."""
    z = -jnp.geomspace(1e-7, 43.0, 64)
    ones, zeros = jnp.ones((1, 2, 64)), jnp.zeros((1, 2, 1))
    _, h = selective_scan(Inputs(ones, ones, zeros, zeros), z[:, None], ones[:, :1], method="native")
    np.testing.assert_allclose(h[0, 0], np.exp(2 * np.asarray(z, "float64")), rtol=1e-6)


@needs_kernels
def test_a_nan_is_not_swallowed():
    x, A, h0 = scan_arguments(1, 40, "float32")
    y, _ = selective_scan(x._replace(u=x.u.at[0, 20, 3].set(np.nan)), A, h0, method="native")
    assert np.isnan(y[0, 20:, 3]).all()
    assert not np.isnan(y[0, :20]).any()
    y, _ = selective_scan(x._replace(dt=x.dt.at[0, 20, 3].set(np.nan)), A, h0, method="native")
    assert np.isnan(y[0, 20:, 3]).all()


@needs_kernels
def test_it_runs_under_vmap_and_in_a_scan():
    x, A, h0 = scan_arguments(4, 24, "float32")
    expected, _ = selective_scan_reference(x, A, h0)

    def one(x, h0):
        x, h0 = jax.tree.map(lambda values: values[None], (x, h0))
        return selective_scan(x, A, h0, method="native")[0][0]

    assert_close(jax.jit(jax.vmap(one))(x, h0), expected, TOLERANCE)
    _, y = jax.lax.scan(lambda carry, x_and_h0: (carry, one(*x_and_h0)), None, (x, h0))
    assert_close(y, expected, TOLERANCE)


@needs_kernels
def test_flops_are_those_of_the_form_in_jax():
    """The JAX form without its padding, and without the sums that it makes as products with ones."""
    args = scan_arguments(2, 128, "float32", width=32, state=8)

    def total(method, *args):
        return selective_scan(*args, method=method)[0].sum()

    for transform, tolerance in ((lambda f: f, 0.1), (lambda f: jax.grad(f, argnums=range(3)), 0.15)):
        native_flops, jax_flops = (flops(transform(partial(total, method)), *args) for method in ("native", "chunked"))
        assert native_flops == pytest.approx(jax_flops, rel=tolerance)


@needs_kernels
def test_flops_of_the_gated_scan_are_those_of_its_parts():
    """In JAX the gradient keeps what the kernel makes anew (y, N multiply-adds), and sums as products with ones."""
    args = gated_arguments(2, 128, 32, 8)

    def total(method, *args):
        return gated(*args, method=method)[0].sum()

    for transform, tolerance in ((lambda f: f, 0.1), (lambda f: jax.grad(f, argnums=range(4)), 0.15)):
        native_flops, jax_flops = (flops(transform(partial(total, method)), *args) for method in ("native", "chunked"))
        assert native_flops == pytest.approx(jax_flops, rel=tolerance)


def test_refusals_name_the_reason():
    args = scan_arguments(1, 4, "float32")
    with pytest.raises(ValueError, match="discretisation 'mamba', got 'zoh'"):
        selective_scan(*args, method="native", discretisation="zoh")
    with jax.enable_x64(True), pytest.raises(ValueError, match="float32 on a CPU, got float64"):
        selective_scan(*scan_arguments(1, 4, "float64"), method="native")


def methods_without(tmp_path, **environment) -> str:
    """What a fresh process says of the kernels, and whether "auto" still runs there."""
    code = (
        "from lengthscale.models.ops import native; import tests.models.ops.test_ops as t;"
        "from lengthscale.models.ops.selective_scan import *;"
        "selective_scan(*t.scan_arguments(1, 4, 'float32')); print(native.missing())"
    )
    environment = {**os.environ, "LENGTHSCALE_CACHE": str(tmp_path), **environment}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_without_kernels_auto_is_the_form_in_jax(tmp_path):
    assert methods_without(tmp_path, LENGTHSCALE_NATIVE="0") == "LENGTHSCALE_NATIVE=0"


def test_a_compiler_that_fails_is_a_reason(tmp_path):
    compiler = tmp_path / "c++"
    compiler.write_text("#!/bin/sh\necho 'x.cc:1: fatal error: no such header' >&2\nexit 1\n")
    compiler.chmod(0o755)
    assert "fatal error: no such header" in methods_without(tmp_path, CXX=str(compiler))
    assert not list((tmp_path / "native").iterdir())
