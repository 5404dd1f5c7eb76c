"""The bodies of WKV's Pallas kernels. The equations are in equation.py; pallas.py says what each kernel is for.

One program has S chunks of one sequence, one beside the other, and a block of channels. Neither meet, so a step is rows
(S, D), and there are only loads and stores of rows and operations on each number alone, which both compilers know.

No padding of tokens is exact, since the state decays with any token. Past the end of the sequence, what is carried
stays as it is.

Axes: S chunks of a program, C chunk, R run, D channels (a block of them, in a kernel).
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl

from lengthscale.models.ops.instructions import LOG2_E
from lengthscale.models.ops.kernel_call import over_runs
from lengthscale.models.ops.wkv.equation import Decay, WKVState, empty_state

RUN = 8  # tokens whose states the gradient's kernel holds at once; and the rows of a TPU's register


@dataclass(frozen=True)
class Chunks:
    """A sequence of `length` tokens in chunks of `size`, a multiple of RUN; a program has `together` of them.

    The last chunk may have fewer tokens, and those after it, which fill the last program, have none.
    """

    length: int
    size: int
    together: int

    @property
    def programs(self) -> int:
        """How many programs there are for one sequence and one block of channels."""
        return -(-self.length // (self.size * self.together))

    @property
    def number(self) -> int:
        """How many chunks there are."""
        return self.programs * self.together


class Pull(NamedTuple):
    """How the gradient of the state before a chunk follows from that of the state after it.

    daa = decay daa_after + aa, dbb = decay dbb_after + bb, dp = passes dp_after.
    """

    decay: Any
    aa: Any
    bb: Any
    passes: Any  # 1 where no token of the chunk sets p, else 0


@dataclass(frozen=True)
class _Rows:
    """The rows that one kernel goes through: the tokens of S chunks at once, or one sequence's chunks."""

    there: Any  # how many there are; of several chunks (S, 1)
    room: int  # for how many there is room
    ragged: bool  # whether these can differ
    together: int = 1  # S

    def load(self, run, refs) -> list[tuple[Any, ...]]:
        """The rows (S, D) of a run's numbers, of every array. Past the end they may be any numbers."""
        # A GPU's program, which has one chunk, must not read past the end of an array: it reads the last row again.
        last = self.there - 1 if self.ragged and self.together == 1 else None
        rows = [self.at(t if last is None else jnp.minimum(t, last)) for t in self.numbers(run)]
        return [tuple(ref[row, :] for ref in refs) for row in rows]

    def numbers(self, run) -> list[Any]:
        """The numbers t of a run's rows."""
        return [run * RUN + j for j in range(RUN)]

    def each(self, run, loaded, dtype) -> list[tuple[Any, ...]]:
        """A run's numbers, each with what was loaded, in this precision."""
        numbered = zip(self.numbers(run), loaded, strict=True)
        return [(t, *(row.astype(dtype) for row in rows)) for t, rows in numbered]

    def at(self, t):
        """Where the rows numbered t are."""
        return pl.ds(t, self.together, stride=self.room) if self.together > 1 else pl.ds(t, 1)

    def keep(self, t, new, old):
        """`new`, or past the end `old`."""
        return jax.tree.map(partial(jnp.where, t < self.there), new, old) if self.ragged else new

    def runs(self, load, body, carry, reverse=False):
        """The loop over all runs: body(number of the run, load(that number), what is carried)."""
        return over_runs(-(-self.room // RUN), load, body, carry, reverse)

    def store(self, refs, t, values):
        """Store the rows numbered t of several arrays."""
        jax.tree.map(
            lambda ref, value: ref.__setitem__((self.at(t), slice(None)), value.astype(ref.dtype)), refs, values
        )


def _tokens(chunks):
    first = pl.program_id(0) * chunks.together
    if chunks.together > 1:
        first = first + lax.broadcasted_iota(jnp.int32, (chunks.together, 1), 0)
    ragged = chunks.length % (chunks.size * chunks.together) > 0
    return _Rows(jnp.minimum(chunks.length - first * chunks.size, chunks.size), chunks.size, ragged, chunks.together)


def _borders(chunks):
    return _Rows(chunks.size // RUN, chunks.size // RUN, False, chunks.together)


def _all_chunks(chunks):
    return _Rows(chunks.number, chunks.number, chunks.number % RUN > 0)


def _state(refs, at: Any = ...):
    return WKVState(*(ref[at] for ref in refs))


def _store(refs, values):
    jax.tree.map(lambda ref, value: ref.__setitem__(..., value), refs, values)


def _weights(x, y):
    """e^{x-m}, e^{y-m} with m = max(x, y), by one exponential: that of 2, which a GPU has an instruction for."""
    e = jnp.exp2(jnp.abs(x - y) * -LOG2_E)
    return jnp.where(x > y, 1, e), jnp.where(x > y, e, 1)


def _after(w, state, sums):
    """The state, decayed by e^w, with other sums added; and the weights of both."""
    p = state.p + w
    old, new = _weights(p, sums.p)
    return WKVState(old * state.aa + new * sums.aa, old * state.bb + new * sums.bb, jnp.maximum(p, sums.p)), (old, new)


def _after_token(w, state, k, v):
    return _after(w, state, WKVState(v, jnp.ones_like(v), k))


def _output(u, state, k, v):
    """y of a token, 1 / its denominator, and its weights (old, new)."""
    old, new = _weights(state.p, u + k)
    over = 1 / (old * state.bb + new)
    return (old * state.aa + new * v) * over, over, (old, new)


def end_kernel(chunks, w, kv, end):
    """A chunk's last state, from an empty one."""
    rows, w = _tokens(chunks), w[...]

    def run(number, loaded, state):
        for t, k_t, v_t in rows.each(number, loaded, w.dtype):
            state = rows.keep(t, _after_token(w, state, k_t, v_t)[0], state)
        return state

    _store(end, rows.runs(lambda number: rows.load(number, kv), run, empty_state(chunks.together, w.shape[1], w.dtype)))


def between_kernel(chunks, w, start, ends, before, last):
    """The state before each chunk of a sequence, and after the last."""
    rows, w = _all_chunks(chunks), w[...]

    def run(number, loaded, state):
        states = []
        for i, *end in rows.each(number, loaded, w.dtype):
            states.append((i, state))
            tokens = jnp.clip(chunks.length - i * chunks.size, 0, chunks.size).astype(w.dtype)
            state = rows.keep(i, _after(tokens * w, state, WKVState(*end))[0], state)
        for i, each in states:
            rows.store(before, i, each)
        return state

    _store(last, rows.runs(lambda number: rows.load(number, ends), run, _state(start)))


def output_kernel(chunks, decay, kv, before, y):
    """A chunk's outputs, from the state before it."""
    rows, w, u = _tokens(chunks), decay.w[...], decay.u[...]

    def run(number, loaded, state):
        outputs = []
        for t, k_t, v_t in rows.each(number, loaded, w.dtype):
            outputs.append((t, _output(u, state, k_t, v_t)[0]))
            state, _ = _after_token(w, state, k_t, v_t)
        for t, each in outputs:
            rows.store(y, t, each)
        return state

    rows.runs(lambda number: rows.load(number, kv), run, _state(before))


def pull_kernel(chunks, decay, kv_and_dy, before, borders, pull):
    """The states before a chunk's runs, and how its gradient goes back.

    daa = sum_t (the decays before t) old_t g_t needs no way back: the sum can be taken forwards.
    """
    rows, w, u = _tokens(chunks), decay.w[...], decay.u[...]

    def step(carry, k, v, dy):
        state, so_far = carry
        y, over, (old, _) = _output(u, state, k, v)
        g = so_far.decay * old * dy * over
        passes = jnp.where(state.p + w > k, so_far.passes, 0)
        state, (decay, _) = _after_token(w, state, k, v)
        return state, Pull(so_far.decay * decay, so_far.aa + g, so_far.bb - g * y, passes)

    def run(number, loaded, carry):
        _borders(chunks).store(borders, number, carry[0])
        for t, *token in rows.each(number, loaded, w.dtype):
            carry = rows.keep(t, step(carry, *token), carry)
        return carry

    state = _state(before)
    one, zero = jnp.ones_like(state.p), jnp.zeros_like(state.p)
    _, result = rows.runs(lambda number: rows.load(number, kv_and_dy), run, (state, Pull(one, zero, zero, one)))
    _store(pull, result)


def pull_between_kernel(chunks, dlast, pulls, after, first):
    """The gradient of the state after each chunk of a sequence, and before the first."""
    rows = _all_chunks(chunks)

    def run(number, loaded, d):
        gradients = []
        for i, *pull in reversed(rows.each(number, loaded, dlast.p.dtype)):
            gradients.append((i, d))
            decay, aa, bb, passes = pull
            d = rows.keep(i, WKVState(decay * d.aa + aa, decay * d.bb + bb, passes * d.p), d)
        for i, each in gradients:
            rows.store(after, i, each)
        return d

    _store(first, rows.runs(lambda number: rows.load(number, pulls), run, _state(dlast), reverse=True))


def gradient_kernel(chunks, decay, kv_and_dy, edges, dkv, shares):
    """The gradients of a chunk's k and v, and its shares of those of w and u.

    edges: the states before its runs, and the gradient of the state after it.
    """
    rows, w, u = _tokens(chunks), decay.w[...], decay.u[...]
    borders, after = edges

    def step(carry, token):
        d, shares = carry
        k, v, dy, state, (decay, add) = token
        y, over, (old, new) = _output(u, state, k, v)
        g = dy * over
        dk_now = new * g * (v - y)
        passes = state.p + w > k
        dp = jnp.where(passes, d.p, 0)
        dk = dk_now + add * (v * d.aa + d.bb) + (d.p - dp)
        dw = shares.w + decay * (state.aa * d.aa + state.bb * d.bb) + dp
        dv = new * g + add * d.aa
        d = WKVState(decay * d.aa + old * g, decay * d.bb - old * g * y, dp)
        return (d, Decay(dw, shares.u + dk_now)), (dk, dv)

    def load(number):
        return rows.load(number, kv_and_dy), _state(borders, (_borders(chunks).at(number), slice(None)))

    def run(number, loaded, carry):
        loaded, state = loaded
        tokens, gradients = [], []
        for t, k_t, v_t, dy_t in rows.each(number, loaded, w.dtype):
            after_t, weights = _after_token(w, state, k_t, v_t)
            tokens.append((t, (k_t, v_t, dy_t, state, weights)))
            state = after_t
        for t, token in reversed(tokens):
            new, dkv_t = step(carry, token)
            carry = rows.keep(t, new, carry)
            gradients.append((t, dkv_t))
        for t, each in gradients:
            rows.store(dkv, t, each)
        return carry

    d = _state(after)
    zero = jnp.zeros_like(d.p)
    _store(shares, rows.runs(load, run, (d, Decay(zero, zero)), reverse=True)[1])
