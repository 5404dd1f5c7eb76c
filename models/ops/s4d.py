"""The diagonal state space model with one input and one output a channel (S4D; Gu et al., arXiv:2206.11893).

    x_t = a x_{t-1} + b u_t          y_t = 2 Re(c . x_t)

a, b, c are discrete (see models/ops/discretise.py) and complex; x holds one state of each conjugate pair, hence 2 Re.
They do not change with time, so the recurrence has a closed form. For tokens t = 1, 2, ... after a state x_0:

    y_t = 2 Re(c . a^t x_0) + sum_{l<t} K_l u_{t-l}          K_l = 2 Re sum_n (c_n b_n) a_n^l

K is the real part of a vector, c b, times the Vandermonde matrix of a (the paper's section 3). Both methods are this
one identity: over the whole sequence as a convolution, or over each chunk with the state before it as x_0. With
l = i C + j, the matrix splits into two short tables, a^l = (a^C)^i a^j, and K is one real product of them:

    K_{iC+j} = 2 sum_n Re(w_n a_n^{iC}) Re(a_n^j) - Im(w_n a_n^{iC}) Im(a_n^j)          w = c b

The adjoint, with lambda_t = dL/dx_t (so that dL = Re sum_t lambda_t dx_t) and dy_t = dL/dy_t given, is the system run
backwards; in du it is the same convolution, of the future instead of the past:

    lambda_t = 2 c dy_t + a lambda_{t+1}          dx_0 = a lambda_1
    du_t = Re(b . lambda_t) = sum_{l<=T-t} K_l dy_{t+l}, and what the last state's gradient adds
    da = sum_t x_{t-1} lambda_t          db = sum_t u_t lambda_t          dc = 2 sum_t dy_t x_t

jax derives it from the forms, whose products and transforms have such adjoints themselves.

    convolution   FFT of twice the length; O(T log T), all tokens at once
    recurrence    from chunk to chunk; inside a chunk of C tokens it is unrolled into products; O(T C), memory O(T)

No form ever holds the states of all tokens, (B, T, H, N): sums over powers of a are products of two short tables, a^i
and a^{iC}. The tables are products too: on a CPU complex exponentials cost seven times as much (measured).

Axes: B batch, T time, C chunk, I chunks, H channels, N complex states, P = 2N (real parts, then imaginary).
"""

from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Complex, Float

from lengthscale.models.ops.availability import by_platform, check_known
from lengthscale.models.ops.linear_scan import scan_associative

METHODS = ("convolution", "recurrence")
CHUNK = 32  # of the recurrence
FEW = 8  # tables of up to so many powers are computed one after the other
_einsum = partial(jnp.einsum, precision=lax.Precision.HIGHEST)  # a GPU's TF32 would cost the kernel 13 bits


class System(NamedTuple):
    """The discrete system of each channel: its states' decay a, what its input writes, b, and its output reads, c."""

    a: Complex[Array, "H N"]
    b: Complex[Array, "H N"]
    c: Complex[Array, "H N"]


def s4d_reference(
    u: Float[Array, "B T H"], system: System, x0: Complex[Array, "B H N"]
) -> tuple[Float[Array, "B T H"], Complex[Array, "B H N"]]:
    """The equation, transcribed directly. Same arguments and results as `s4d`."""
    a, b, c = system

    def step(x, u_t):
        x = a * x + b * u_t[:, :, None]
        return x, 2 * (c * x).sum(-1).real

    x, y = lax.scan(step, x0, jnp.moveaxis(u, 1, 0))
    return jnp.moveaxis(y, 0, 1), x


def s4d(
    u: Float[Array, "B T H"],
    system: System,
    x0: Complex[Array, "B H N"] | None = None,
    *,
    method: str = "auto",
    chunk: int = CHUNK,
) -> tuple[Float[Array, "B T H"], Complex[Array, "B H N"]]:
    """Outputs y, without the skip D u, and the last state.

    u: the inputs. x0: the state before the first token (None: 0). method: one of METHODS,
    or "auto": the convolution from rest, as in training, the recurrence from a state. (One core, H=256, N=32, T=4096:
    7.7 us a token against 10 forward from rest, 21 against 26 with the gradient, 17 against 9 from a state.) chunk: of
    the recurrence. Raises ValueError for an unknown method, or a chunk below 1.

    The FFT rounds: with the convolution a later input moves earlier outputs by a rounding error, with the recurrence by
    nothing at all.
    """
    check_known(method, METHODS)
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    if method == "auto":
        method = "convolution" if x0 is None else "recurrence"
    a, b, c = system
    if u.shape[1] == 1:
        return _one_token(u, a, b, c, x0)
    if method == "recurrence":
        return _recurrence(u, a, b, c, x0, chunk)
    return _convolution(u, a, b, c, x0)


def s4d_kernel(w: Complex[Array, "*B H N"], a: Complex[Array, "H N"], length: int) -> Float[Array, "*B H T"]:
    """2 Re(sum_n w_n a_n^l) for l < T = length: a product with the Vandermonde matrix of a.

    It is the impulse response K where w = b c, and the free response to x_0 where w = c a x_0.
    """
    chunk = _root(length)
    inner, a_chunk = _powers(a, chunk)
    outer, _ = _powers(a_chunk, -(-length // chunk), 2 * w)
    kernel = _einsum("i...hp,jhp->...hij", _pairs(outer.conj()), _pairs(inner))
    return kernel.reshape(*kernel.shape[:-2], -1)[..., :length]


def _one_token(u, a, b, c, x0):
    x = b * u[:, 0, :, None]
    x = x if x0 is None else a * x0 + x
    return 2 * (c * x).sum(-1).real[:, None], x


def _convolution(u, a, b, c, x0):
    length = u.shape[1]
    size = 1 << (2 * length - 1).bit_length()  # a power of two, and no wrap-around
    kernel = jnp.fft.rfft(s4d_kernel(b * c, a, length), size)
    y = jnp.fft.irfft(jnp.fft.rfft(u.swapaxes(1, 2), size) * kernel, size)[:, :, :length]
    if x0 is not None:
        y += s4d_kernel(c * a * x0, a, length)
    return y.swapaxes(1, 2), _last_state(u, a, b, x0)


def _recurrence(u, a, b, c, x0, chunk):
    length = u.shape[1]
    chunk = min(chunk, length)
    powers, a_chunk = _powers(a, chunk)
    before, last = _states(u, powers, a_chunk, b, x0)
    y = _einsum("bich,hcd->bidh", _chunks(u, chunk), _toeplitz(s4d_kernel(b * c, a, chunk)))
    y += _einsum("ibhp,dhp->bidh", _pairs(before), _pairs((2 * c * a * powers).conj()))
    return y.reshape(u.shape[0], -1, u.shape[2])[:, :length], last


def _states(u, powers, a_chunk, b, x0):
    """The states before every chunk (I, B, H, N), and the last one. powers: a^j for the tokens j of a chunk."""
    chunk, impulses = len(powers), b * powers
    tail = (u.shape[1] - 1) % chunk + 1
    whole, rest = u[:, : u.shape[1] - tail], u[:, None, u.shape[1] - tail :]
    first = jnp.zeros((u.shape[0], *b.shape), b.dtype) if x0 is None else x0
    x, before = _before_each(a_chunk, first, _driven(_chunks(whole, chunk), impulses))
    a_tail = a_chunk if tail == chunk else powers[tail]
    return jnp.concatenate([before, x[None]]), a_tail * x + _driven(rest, impulses)[0]


def _before_each(a, x, driven):
    """(the last x, x before each) of x -> a x + driven: a loop on a CPU, in log n steps elsewhere."""
    if by_platform({"cpu": True}, False):
        return lax.scan(lambda x, new: (a * x + new, x), x, driven)
    if not driven.shape[0]:
        return x, driven
    after = scan_associative(jnp.broadcast_to(a, driven.shape), driven, x)
    return after[-1], jnp.concatenate([x[None], after[:-1]])


def _last_state(u, a, b, x0):
    """a^T x_0 + sum_t a^{T-t} b u_t, with the same two tables as the kernel: no state between needs to be known."""
    length = u.shape[1]
    chunk = _root(length)
    missing = -length % chunk
    chunks = _chunks(jnp.pad(u, ((0, 0), (missing, 0), (0, 0))), chunk)  # zeros in front, which add nothing
    inner, a_chunk = _powers(a, chunk)
    outer, _ = _powers(a_chunk, chunks.shape[1])
    last = (outer[::-1, None] * _driven(chunks, b * inner)).sum(0)
    if x0 is None:
        return last
    return last + outer[-1] * (inner[chunk - missing] if missing else a_chunk) * x0


def _driven(chunks, impulses):
    """What the inputs of each chunk add to the state after it, sum_j a^{C-1-j} b u_j: (I, B, H, N).

    chunks: (B, I, C, H). impulses: a^j b.
    """
    return _complex(_einsum("bijh,jhp->ibhp", chunks, _pairs(impulses[: chunks.shape[2]][::-1])))


def _powers(a, n, first=None):
    """first, a first, ..., a^{n-1} first (None: 1), stacked, and a^n first.

    a^{iC+j} is the product of two short tables. So the depth is log n, where a loop would have n steps, each a kernel
    of its own on a GPU.
    """
    first = jnp.ones_like(a) if first is None else first
    if n <= FEW:
        powers = [first]
        for _ in range(n):
            powers.append(a * powers[-1])
        return jnp.stack(powers[:n]), powers[n]
    inner, a_chunk = _powers(a, _root(n))
    outer, _ = _powers(a_chunk, -(-n // len(inner)), first)
    powers = (outer[:, None] * inner).reshape(-1, *first.shape)[:n]
    return powers, a * powers[-1]


def _toeplitz(kernel):
    """(H, C) -> (H, C, C), [h, i, j] = K_{j-i}, and 0 where j < i."""
    chunk = kernel.shape[1]
    kernel = jnp.pad(kernel, ((0, 0), (chunk, 0)))
    return jnp.stack([kernel[:, chunk - i : 2 * chunk - i] for i in range(chunk)], axis=1)


def _chunks(u, chunk):
    """(B, T, H) -> (B, I, C, H), padded with zeros."""
    u = jnp.pad(u, ((0, 0), (0, -u.shape[1] % chunk), (0, 0)))
    return u.reshape(u.shape[0], -1, chunk, u.shape[2])


def _root(length):
    """A power of two near the square root: the chunk for which two tables of powers are shortest."""
    return 1 << ((length - 1).bit_length() + 1) // 2


def _pairs(x):
    return jnp.concatenate([x.real, x.imag], axis=-1)


def _complex(x):
    return lax.complex(*jnp.split(x, 2, axis=-1))
