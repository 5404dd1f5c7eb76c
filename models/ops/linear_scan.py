"""The diagonal linear recurrence h_t = a_t * h_{t-1} + b_t, the primitive of every state space model.

Its gradient is the same recurrence run backwards (Martin and Cundy, "Parallelizing Linear Recurrent Neural Nets Over
Sequence Length", ICLR 2018): with g_t = dL/dh_t, lambda_t = g_t + a_{t+1} lambda_{t+1}; db_t = lambda_t,
da_t = lambda_t h_{t-1}, dh_0 = a_1 lambda_1. Only a and h are kept for it, whatever the method.

Axes: B batch, T time, C chunk; what follows the time axis is elementwise.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Inexact, Shaped

from lengthscale.models.ops.availability import by_platform, check_known

METHODS = ("sequential", "associative", "chunked")


def linear_scan_reference(
    a: Inexact[Array, "B T *D"], b: Inexact[Array, "B T *D"], h0: Inexact[Array, "B *D"]
) -> Inexact[Array, "B T *D"]:
    """The equation, transcribed directly. Same arguments and result as `linear_scan`."""

    def step(h, ab):
        a_t, b_t = ab
        h = a_t * h + b_t
        return h, h

    _, h = lax.scan(step, h0, (jnp.moveaxis(a, 1, 0), jnp.moveaxis(b, 1, 0)))
    return jnp.moveaxis(h, 0, 1)


def linear_scan(
    a: Inexact[Array, "B T *D"],
    b: Inexact[Array, "B T *D"],
    h0: Inexact[Array, "B *D"] | None = None,
    *,
    method: str = "auto",
    chunk: int = 128,
) -> Inexact[Array, "B T *D"]:
    """All states h_1, ..., h_T of h_t = a_t h_{t-1} + b_t, real or complex.

    h0: the state before the first step (None: 0). method: "sequential" (`lax.scan`), "associative"
    (`lax.associative_scan`, depth log T), "chunked" (`lax.scan` over chunks of `chunk` steps, associative inside), or
    "auto": sequential on CPU, associative elsewhere. Raises ValueError for an unknown method, and if the shapes of a
    and b differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"a and b must have one shape, got a {a.shape}, b {b.shape}")
    check_known(method, METHODS)
    h0 = jnp.zeros_like(b[:, 0]) if h0 is None else h0
    if method == "auto":
        method = by_platform({"cpu": "sequential"}, "associative")
    h = _linear_scan(method, chunk, jnp.moveaxis(a, 1, 0), jnp.moveaxis(b, 1, 0), h0)
    return jnp.moveaxis(h, 0, 1)  # pyright: ignore[reportArgumentType] of custom_vjp, which gives anything


def scan_sequential(
    a: Inexact[Array, "T *D"], b: Inexact[Array, "T *D"], h0: Inexact[Array, "*D"], reverse: bool = False
) -> Inexact[Array, "T *D"]:
    """All states over the leading axis, one step at a time; reverse: from the last to the first."""

    def step(h, ab):
        h = ab[0] * h + ab[1]
        return h, h

    return lax.scan(step, h0, (a, b), reverse=reverse)[1]


def scan_associative(
    a: Inexact[Array, "T *D"], b: Inexact[Array, "T *D"], h0: Inexact[Array, "*D"], reverse: bool = False
) -> Inexact[Array, "T *D"]:
    """All states over the leading axis as a parallel prefix of the maps h -> a h + b; reverse: from the last."""

    def compose(first, second):
        return second[0] * first[0], second[0] * first[1] + second[1]

    edge = -1 if reverse else 0
    b = b.at[edge].add(a[edge] * h0)
    return lax.associative_scan(compose, (a, b), reverse=reverse)[1]


def scan_chunked(
    a: Inexact[Array, "T *D"], b: Inexact[Array, "T *D"], h0: Inexact[Array, "*D"], reverse: bool = False, *, chunk: int
) -> Inexact[Array, "T *D"]:
    """All states over the leading axis: associative inside chunks of `chunk` steps, one state carried between them."""
    length = a.shape[0]
    a, b = (to_chunks(x, chunk, fill, front=reverse) for x, fill in ((a, 1), (b, 0)))

    def body(h, ab):
        hs = scan_associative(ab[0], ab[1], h, reverse)
        return hs[0 if reverse else -1], hs

    h = lax.scan(body, h0, (a, b), reverse=reverse)[1]
    h = h.reshape(-1, *h.shape[2:])
    return h[h.shape[0] - length :] if reverse else h[:length]


def to_chunks(
    x: Shaped[Array, "T *D"], chunk: int, fill: int = 0, front: bool = False
) -> Shaped[Array, "I {chunk} *D"]:
    """x in chunks, (ceil(T / C), C, ...) with C = chunk, padded with `fill` at the end (front: in front)."""
    missing = -x.shape[0] % chunk
    widths = [(missing, 0) if front else (0, missing)] + [(0, 0)] * (x.ndim - 1)
    x = jnp.pad(x, widths, constant_values=fill) if missing else x
    return x.reshape(-1, chunk, *x.shape[1:])


def _forms(method, chunk):
    return {
        "sequential": scan_sequential,
        "associative": scan_associative,
        "chunked": partial(scan_chunked, chunk=chunk),
    }[method]


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _linear_scan(method, chunk, a, b, h0):
    return _forms(method, chunk)(a, b, h0)


def _linear_scan_fwd(method, chunk, a, b, h0):
    h = _linear_scan(method, chunk, a, b, h0)
    return h, (a, h, h0)


def _linear_scan_bwd(method, chunk, residuals, g):
    a, h, h0 = residuals
    a_next = jnp.concatenate([a[1:], jnp.zeros_like(a[:1])])
    lam = _forms(method, chunk)(a_next, g, jnp.zeros_like(h0), reverse=True)
    h_before = jnp.concatenate([h0[None], h[:-1]])
    return lam * h_before, lam, a[0] * lam[0]


_linear_scan.defvjp(_linear_scan_fwd, _linear_scan_bwd)
