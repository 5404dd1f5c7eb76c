"""Limits of the machine, measured with jax: the rate of a GEMM, the rate of reading, an op's matrix products alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from lengthscale.bench.peers.case import D_MODEL, Case
from lengthscale.bench.peers.contenders.inputs import GATES
from lengthscale.bench.peers.contenders.jax_calls import prepare
from lengthscale.bench.peers.contenders.prepared import Given, Prepared
from lengthscale.bench.peers.contenders.rates import GEMM_SIDE, READ_BYTES, READ_WIDTH, ForAll, read_rows


def _gemm(case: Case, given: Given) -> Prepared:
    a, b = jax.random.normal(jax.random.key(0), (2, GEMM_SIDE, GEMM_SIDE))
    return prepare(jnp.matmul, a, b, work=2.0 * GEMM_SIDE**3)


def _read(case: Case, given: Given) -> Prepared:
    """Reading a matrix many times in one call, so that the overhead of a call does not count."""
    rows = read_rows(given.work)
    matrix = jax.random.normal(jax.random.key(0), (rows, READ_WIDTH))
    times = max(1, READ_BYTES // (4 * rows * READ_WIDTH))

    def read(matrix, vector):
        def one(vector, _):
            return vector + 1e-9 * (matrix @ vector)[0], None  # so that the next read waits for this one

        return lax.scan(one, vector, None, length=times)[0]

    return prepare(read, matrix, jnp.ones(READ_WIDTH), work=4.0 * rows * READ_WIDTH * times)


def _recurrent(case: Case, given: Given) -> Prepared:
    """The matrix products of a recurrent layer: the input's, then W h at every step.

    Backward: the same with W transposed, and the gradients of both weights. A sum of the parts of W h replaces the
    gates, so that each step waits for the one before.
    """
    gates = GATES[case.row]
    arrays = jax.device_put(given.arrays)
    x = arrays["x"].reshape(-1, D_MODEL)
    h0 = jnp.ones((D_MODEL, case.batch) if case.batch > 1 else (D_MODEL,))

    def forward(x, kernel, w_h, w_t):
        def one(h, _):
            return (w_h @ h).reshape(gates, *h.shape).sum(0) * 1e-3, None

        return x @ kernel, lax.scan(one, h0, None, length=case.length)[0]

    def train(x, kernel, w_h, w_t):
        xg, h = forward(x, kernel, w_h, w_t)

        def one(dh, _):
            return w_t @ (jnp.concatenate([dh] * gates) * 1e-3), None

        dh = lax.scan(one, h, None, length=case.length)[0]
        return dh, x.T @ xg, xg @ kernel.T, x.T @ xg[::-1]

    w_h = arrays["w_h"]
    function = train if case.measure == "train" else forward
    return prepare(function, x, arrays["w_x.kernel"], w_h, jnp.array(np.array(w_h.T)))


def _rwkv4(case: Case, given: Given) -> Prepared:
    """The matrix products of RWKV-4's time mixing: r, k, v and the output; backward two for each.

    The rows are flat, since XLA copies arrays with a leading batch axis.
    """
    arrays = jax.device_put(given.arrays)
    rows = arrays["x"].reshape(-1, D_MODEL)
    kernels = {name: value for name, value in arrays.items() if name.endswith(".kernel")}

    def forward(x, kernels):
        return {name: x @ kernel for name, kernel in kernels.items()}

    def train(x, kernels):
        ys, vjp = jax.vjp(forward, x, kernels)
        return ys, vjp(ys)

    return prepare(train if case.measure == "train" else forward, rows, kernels)


BUILDERS = {
    "products": {**dict.fromkeys(GATES, _recurrent), "rwkv4": _rwkv4},
    "gemm-jax": ForAll(_gemm),
    "read-jax": ForAll(_read),
}
