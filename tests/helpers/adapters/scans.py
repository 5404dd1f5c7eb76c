"""Scans and the convolution."""

import jax
import jax.numpy as jnp

from lengthscale.models.ops.causal_conv import causal_conv1d
from lengthscale.models.ops.linear_scan import METHODS, linear_scan
from lengthscale.models.ops.selective_scan import METHODS as SCAN_METHODS
from lengthscale.models.ops.selective_scan import Gate, Inputs, gated_selective_scan, selective_scan


def convolution(inputs, weights, meta):
    w, bias = weights["weight"][:, 0].T, weights["bias"]
    x, state = inputs["x"], inputs["state"]
    return {
        "y": causal_conv1d(x, w, bias, jnp.zeros_like(state))[0],
        "y_from_state": causal_conv1d(x, w, bias, state)[0],
        "y_silu": causal_conv1d(x, w, bias, jnp.zeros_like(state), silu=True)[0],
    }


def linear_scan_of(method):
    def adapter(inputs, weights, meta):
        a, b = inputs["a"], inputs["b"]
        h = linear_scan(inputs["a_re"] + 1j * inputs["a_im"], b + 1j * inputs["b_im"], method=method, chunk=8)
        return {
            "h": linear_scan(a, b, method=method, chunk=8),
            "h_from_h0": linear_scan(a, b, inputs["h0"], method=method, chunk=8),
            "h_cplx_re": h.real,
            "h_cplx_im": h.imag,
        }

    return adapter


def selective_scan_of(method):
    def adapter(inputs, weights, meta):
        u, delta, B, C, z = (inputs[name].swapaxes(1, 2) for name in ("u", "delta", "B", "C", "z"))

        A, D, bias = inputs["A"], inputs["D"], inputs["delta_bias"]
        h0 = jnp.zeros((u.shape[0], *A.T.shape), u.dtype)
        x = Inputs(u, delta, B, C)
        y, last = gated_selective_scan(x, A, h0, Gate(z, D, bias), method=method)
        plain, last_plain = selective_scan(x._replace(dt=jax.nn.softplus(delta)), A, method=method)
        return {
            "y": y.swapaxes(1, 2),
            "last_state": last.swapaxes(1, 2),
            "y_plain": plain.swapaxes(1, 2),
            "last_state_plain": last_plain.swapaxes(1, 2),
        }

    return adapter


ADAPTERS = {
    "causal_conv1d": {"": convolution},
    "linear_scan": {method: linear_scan_of(method) for method in METHODS},
    # The native kernel knows one precision: tests/models/ops/selective_scan/test_native.py. "auto" takes it for Mamba.
    "selective_scan": {method: selective_scan_of(method) for method in SCAN_METHODS if method != "native"},
}
