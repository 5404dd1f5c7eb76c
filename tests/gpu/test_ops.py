"""Every op's own choice of form against its equation in float64: values and gradients, all dtypes, odd lengths.

On a GPU (`./run_tests.sh --gpu -m gpu`) to 65,536 tokens; on a CPU it is a rehearsal at small sizes. The arguments are
rounded to the dtype before the equation gets them, so that only the op's own rounding counts. Where the equation would
take memory quadratic in length, its blocked form stands for it, in float64 too.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lengthscale.bench.plan.dtypes import DTYPES
from lengthscale.models.ops.attention import (
    CAUSAL,
    Cache,
    Mask,
    attention,
    attention_reference,
    attention_with_cache,
    attention_with_cache_reference,
)
from lengthscale.models.ops.attention.blocks import attention_in_blocks
from lengthscale.models.ops.causal_conv import causal_conv1d, causal_conv1d_reference
from lengthscale.models.ops.gated import gru, gru_reference, lstm, lstm_reference, rnn, rnn_reference
from lengthscale.models.ops.linear_scan import linear_scan, linear_scan_reference
from lengthscale.models.ops.rope import rope, rope_reference
from lengthscale.models.ops.row_product import RowNorm, row_product, row_product_reference
from lengthscale.models.ops.s4d import System, s4d, s4d_reference
from lengthscale.models.ops.selective_scan import (
    Gate,
    Inputs,
    gated_selective_scan,
    gated_selective_scan_reference,
    selective_scan,
    selective_scan_reference,
)
from lengthscale.models.ops.wkv import Decay, WKVState, empty_state, wkv, wkv_reference
from tests.helpers.platforms import ON_GPU

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

# Relative to the largest entry: an op's own rounding, over thousands of terms.
TOLERANCES = {"float32": 5e-5, "tf32": 5e-3, "bfloat16": 3e-2}
WIDE = 256 if ON_GPU else 24  # channels
SIZE = 64 if ON_GPU else 8  # of a head
LENGTHS = (1, 1000, 4097, 65_536) if ON_GPU else (1, 37, 130)
LONG = 8192  # beyond, there is no (T, T) matrix
dtypes = [name for name, dtype in DTYPES.items() if ON_GPU or not dtype.platforms]


class Draw:
    """Random arrays, in float64."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __call__(self, *shape, scale=1.0):
        return scale * self.rng.normal(size=shape)

    def complex(self, *shape):
        return self(*shape) + 1j * self(*shape)

    def positive(self, *shape):
        return np.log1p(np.exp(self(*shape)))


def attention_case(draw, T, mask=CAUSAL, more_keys=0):
    q, k, v = draw(1, T, 4, SIZE), draw(1, T + more_keys, 2, SIZE), draw(1, T + more_keys, 2, SIZE)
    equation = attention_reference if T <= LONG else attention_in_blocks
    fast, equation = (partial(function, mask=mask) for function in (attention, equation))
    return fast, equation, (q, k, v)


def masked_attention_case(draw, T):
    """With keys that may not be seen, half of all."""
    fast, equation, args = attention_case(draw, T, Mask(causal=False), more_keys=5)
    key_mask = jnp.arange(T + 5)[None] % 2 == 0
    return partial(fast, key_mask=key_mask), partial(equation, key_mask=key_mask), args


def cache_case(draw, T):
    arrays = draw(1, 1, 4, SIZE), draw(1, 1, 2, SIZE), draw(1, 1, 2, SIZE)
    cache = draw(2, 1, 2, T, SIZE), draw(2, 1, 2, T, SIZE)

    def run(function, q, k, v, k_cache, v_cache):
        return function(q, k, v, Cache(k_cache, v_cache, 1, T - 1))

    return partial(run, attention_with_cache), partial(run, attention_with_cache_reference), (*arrays, *cache)


def conv_case(draw, T):
    args = draw(2, T, WIDE), draw(4, WIDE), draw(WIDE), draw(2, 3, WIDE)
    return partial(causal_conv1d, silu=True), partial(causal_conv1d_reference, silu=True), args


def gated_case(draw, T, cell, reference, gates):
    xg, w = draw(2, T, gates * WIDE), draw(gates * WIDE, WIDE, scale=WIDE**-0.5)
    states = {1: [(2, WIDE)], 4: [(2, WIDE)] * 2, 3: [(WIDE,), (2, WIDE)]}[gates]
    return cell, reference, (xg, w, *(draw(*shape) for shape in states))


def scan_case(draw, T):
    x = Inputs(draw(2, T, WIDE), 0.1 * draw.positive(2, T, WIDE), draw(2, T, 16), draw(2, T, 16))
    return selective_scan, selective_scan_reference, (x, -np.exp(draw(WIDE, 16)), draw(2, 16, WIDE))


def gated_scan_case(draw, T):
    x = Inputs(draw(2, T, WIDE), draw(2, T, WIDE) - 2, draw(2, T, 16), draw(2, T, 16))
    gate = Gate(draw(2, T, WIDE), draw(WIDE), draw(WIDE))
    return gated_selective_scan, gated_selective_scan_reference, (x, -np.exp(draw(WIDE, 16)), draw(2, 16, WIDE), gate)


def padded_scan_case(draw, T):
    """With rests in every axis: channels that fill no block, a number of states that is no power of two."""
    x = Inputs(draw(3, T, 40), draw(3, T, 40) - 2, draw(3, T, 6), draw(3, T, 6))
    gate = Gate(draw(3, T, 40), draw(40), draw(40))
    return gated_selective_scan, gated_selective_scan_reference, (x, -np.exp(draw(40, 6)), draw(3, 6, 40), gate)


def s4d_case(draw, T, from_state):
    a = np.exp(-0.1 * draw.positive(WIDE, 16) + 1j * draw(WIDE, 16))
    system, x0 = System(a, draw.complex(WIDE, 16), draw.complex(WIDE, 16)), draw.complex(2, WIDE, 16)
    u = draw(2, T, WIDE)
    if from_state:
        return s4d, s4d_reference, (u, system, x0)
    return s4d, lambda u, system: s4d_reference(u, system, jnp.zeros_like(x0)), (u, system)


def wkv_case(draw, T, from_state):
    args = Decay(-np.exp(draw(WIDE)), draw(WIDE)), 3 * draw(2, T, WIDE), draw(2, T, WIDE)
    if from_state:
        return wkv, wkv_reference, (*args, WKVState(draw(2, WIDE), 1 + draw.positive(2, WIDE), 3 * draw(2, WIDE)))

    def run(function, decay, k, v):
        return function(decay, k, v, empty_state(2, WIDE, k.dtype))

    return partial(run, wkv), partial(run, wkv_reference), args


def linear_scan_case(draw, T):
    return linear_scan, linear_scan_reference, (np.tanh(draw(2, T, WIDE)), draw(2, T, WIDE), draw(2, WIDE))


def rope_case(draw, T):
    at = jnp.arange(T)
    return partial(rope, position=at), partial(rope_reference, position=at), (draw(1, T, 2, SIZE),)


def row_product_case(draw, T):
    """Of so many inputs, or fewer where it is for fewer."""
    width = min(T, 5000)

    def run(function, x, w, b, scale, shift):
        return function(x, w, b, RowNorm(scale, shift, 1e-5), jax.nn.gelu)

    args = draw(width) + 2, draw(3 * WIDE + 1, width, scale=width**-0.5), draw(3 * WIDE + 1), draw(width), draw(width)
    return partial(run, row_product), partial(run, row_product_reference), args


CASES = {
    "attention": attention_case,
    "attention in a window": partial(attention_case, mask=Mask(window=100)),
    "attention to another sequence": partial(attention_case, mask=Mask(causal=False), more_keys=5),
    "attention to some keys": masked_attention_case,
    "attention with a cache": cache_case,
    "causal convolution": conv_case,
    "rnn": partial(gated_case, cell=rnn, reference=rnn_reference, gates=1),
    "lstm": partial(gated_case, cell=lstm, reference=lstm_reference, gates=4),
    "gru": partial(gated_case, cell=gru, reference=gru_reference, gates=3),
    "selective scan": scan_case,
    "gated selective scan": gated_scan_case,
    "padded selective scan": padded_scan_case,
    "s4d from rest": partial(s4d_case, from_state=False),
    "s4d from a state": partial(s4d_case, from_state=True),
    "wkv from rest": partial(wkv_case, from_state=False),
    "wkv from a state": partial(wkv_case, from_state=True),
    "linear scan": linear_scan_case,
    "rope": rope_case,
    "product of a normed row": row_product_case,
}
# Computed in float32 whatever the model's dtype: states of recurrences, complex numbers.
IN_FLOAT32 = ("linear scan", "s4d from rest", "s4d from a state")
SCANS = ("selective scan", "gated selective scan", "padded selective scan")
STATES_IN_FLOAT32: dict[str, tuple[int, ...]] = dict.fromkeys(SCANS, (1, 2))  # numbers of arguments: A and h0
NO_GRADIENT = ("attention with a cache", "product of a normed row")


def total(function, weights, *args):
    """A weighted sum of all outputs."""
    leaves = zip(jax.tree.leaves(function(*args)), weights, strict=True)
    return sum((x * w).sum().real for x, w in leaves)


def rounded(tree, dtype):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.complex64 if np.iscomplexobj(x) else dtype), tree)


def wide(tree):
    return jax.tree.map(lambda x: x.astype(jnp.complex128 if jnp.iscomplexobj(x) else jnp.float64), tree)


@pytest.mark.parametrize("dtype", dtypes)
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("op", CASES)
def test_an_op_equals_its_equation(op, length, dtype):
    if op in IN_FLOAT32 and dtype == "bfloat16":
        pytest.skip(f"{op} is computed in float32")
    fast, equation, args = CASES[op](Draw(), length)
    arrays = DTYPES[dtype].arrays
    kept = STATES_IN_FLOAT32.get(op, ())
    narrow = tuple(rounded(x, "float32" if number in kept else arrays) for number, x in enumerate(args))
    with jax.default_matmul_precision(DTYPES[dtype].matmul_precision):
        found = jax.jit(fast)(*narrow)
    numbers = tuple(range(len(args)))
    with jax.enable_x64(True):
        exact = wide(narrow)
        expected = jax.jit(equation)(*exact)
        weights = [np.random.default_rng(1).normal(size=x.shape) for x in jax.tree.leaves(expected)]
        by = None if op in NO_GRADIENT else jax.jit(jax.grad(partial(total, equation, weights), numbers))(*exact)
    compare(found, expected, TOLERANCES[dtype], "value")
    if by is not None:
        weights = [w.astype(np.float32) for w in weights]
        with jax.default_matmul_precision(DTYPES[dtype].matmul_precision):
            found = jax.jit(jax.grad(partial(total, fast, weights), numbers))(*narrow)
        compare(found, by, 4 * TOLERANCES[dtype], "gradient")


def compare(found, expected, tolerance, what):
    """Each array within the tolerance, relative to its largest entry, or to a thousandth of the largest of all."""
    leaves = [np.asarray(y) for y in jax.tree.leaves(expected)]
    largest = max(np.abs(y).max() for y in leaves)
    for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(found), leaves, strict=True):
        x = np.asarray(x, complex if np.iscomplexobj(y) else float)
        error = np.abs(x - y).max() / max(np.abs(y).max(), 1e-3 * largest)
        assert error <= tolerance, f"{what}{jax.tree_util.keystr(path)}: off by {error:.2g}, allowed {tolerance:g}"
