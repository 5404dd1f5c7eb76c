"""Implementations with jax's own functions: dot_product_attention, lax.associative_scan, and a simple lax.scan."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from lengthscale.bench.peers.case import RANK, Case, K, N
from lengthscale.bench.peers.contenders.jax_calls import sequence, step
from lengthscale.bench.peers.contenders.prepared import Given, Prepared


def _attention(case: Case, given: Given) -> Prepared:
    def attend(q, k, v, causal):
        return jax.nn.dot_product_attention(q, k, v, is_causal=causal, implementation="xla")

    if case.measure != "decode":
        return sequence(lambda a: attend(a["q"], a["k"], a["v"], True), case, given)

    def one(a, state):
        at = (0, 0, case.length - 1, 0)
        k, v = (lax.dynamic_update_slice(state[f"{name}_cache"], a[name].swapaxes(1, 2), at) for name in "kv")
        return attend(a["q"], k.swapaxes(1, 2), v.swapaxes(1, 2), False), {"k_cache": k, "v_cache": v}

    return step(one, given)


def _scan_of_steps(u, dt, A, B, C):
    """The selective scan by lax.scan, with states (E, N) as in the paper. Arguments as of models' selective_scan."""

    def one(h, x):
        u, dt, B, C = x
        h = jnp.exp(dt[:, :, None] * A) * h + (dt * u)[:, :, None] * B[:, None]
        return h, (h * C[:, None]).sum(-1)

    h = jnp.zeros((u.shape[0], *A.shape))
    return lax.scan(one, h, tuple(x.swapaxes(0, 1) for x in (u, dt, B, C)))[1].swapaxes(0, 1)


def _associative(u, dt, A, B, C):
    """The selective scan by lax.associative_scan over all tokens at once. Arguments as of models' selective_scan."""

    def compose(first, second):
        return first[0] * second[0], second[0] * first[1] + second[1]

    a = jnp.exp(dt[..., None] * A)
    _, h = lax.associative_scan(compose, (a, (dt * u)[..., None] * B[:, :, None]), axis=1)
    return jnp.einsum("bten,btn->bte", h, C)


def _selective_scan(form):
    def build(case: Case, given: Given) -> Prepared:
        return sequence(lambda a: form(a["u"], a["dt"], a["A"], a["B"], a["C"]), case, given)

    return build


def _mamba_associative(case: Case, given: Given) -> Prepared:
    """The block of the paper, with its scan by lax.associative_scan."""

    def block(a):
        u, z = jnp.split(a["x"] @ a["in_proj.kernel"], 2, axis=-1)
        padded = jnp.pad(u, ((0, 0), (K - 1, 0), (0, 0)))
        u = jax.nn.silu(a["conv_b"] + sum(padded[:, k : k + case.length] * a["conv_w"][k] for k in range(K)))
        dt, B, C = jnp.split(u @ a["x_proj.kernel"], [RANK, RANK + N], axis=-1)
        dt = jax.nn.softplus(dt @ a["dt_proj.kernel"] + a["dt_proj.bias"])
        y = _associative(u, dt, -jnp.exp(a["A_log"]), B, C) + u * a["D"]
        return (y * jax.nn.silu(z)) @ a["out_proj.kernel"]

    return sequence(block, case, given)


BUILDERS = {
    "jax-xla": {"attention": _attention},
    "jax-scan": {"selective-scan": _selective_scan(_scan_of_steps)},
    "jax-associative": {"selective-scan": _selective_scan(_associative), "mamba-associative": _mamba_associative},
}
