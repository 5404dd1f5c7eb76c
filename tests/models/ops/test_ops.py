"""Every op's fast forms against its reference: values and gradients, both precisions, odd lengths, remainders."""

from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from lengthscale.models.ops import attention, gated, linear_scan, selective_scan
from lengthscale.models.ops.attention.blocks import attention_in_blocks
from lengthscale.models.ops.attention.cache import attention_with_cache_in_blocks
from tests.helpers.compare import assert_close

# Relative to 1 + the largest entry. Sums of up to a few hundred terms in another order.
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


# Most float32 runs are slow ones: the golden tests have float32 of every op anyway.
@pytest.fixture(params=["float64", pytest.param("float32", marks=pytest.mark.slow)])
def dtype(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def normal(seed, *shape, dtype):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def same_value_and_gradient(fast, reference, args, dtype):
    """Compare all outputs, and the gradients of a random sum of them with respect to all arguments."""
    outputs = jax.jit(reference)(*args)
    cotangents = jax.tree.map(lambda x: normal(9, *x.shape, dtype=x.dtype), outputs)

    def total(function, *args):
        leaves = zip(jax.tree.leaves(function(*args)), jax.tree.leaves(cotangents), strict=True)
        return sum((x * ct).sum().real for x, ct in leaves)

    numbers = tuple(range(len(args)))
    assert_close(jax.jit(fast)(*args), outputs, TOLERANCE[dtype])
    gradient = jax.jit(jax.grad(partial(total, fast), argnums=numbers))(*args)
    expected = jax.jit(jax.grad(partial(total, reference), argnums=numbers))(*args)
    assert_close(gradient, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("method", linear_scan.METHODS)
@pytest.mark.parametrize(("length", "chunk"), [(1, 8), (16, 8), (37, 8), (7, 16)])
def test_linear_scan(method, length, chunk, dtype):
    a, b = 0.9 * normal(0, 2, length, 3, 2, dtype=dtype), normal(1, 2, length, 3, 2, dtype=dtype)
    fast = partial(linear_scan.linear_scan, method=method, chunk=chunk)
    same_value_and_gradient(fast, linear_scan.linear_scan_reference, (a, b, normal(2, 2, 3, 2, dtype=dtype)), dtype)


def test_linear_scan_of_a_known_series():
    h = linear_scan.linear_scan(jnp.full((1, 10, 1), 0.5), jnp.ones((1, 10, 1)))
    np.testing.assert_allclose(h[0, :, 0], 2 - 2.0 ** -np.arange(10), rtol=1e-6)  # 1 + 1/2 + 1/4 + ...


def scan_arguments(batch, length, dtype, width=5, state=4):
    """(x, A, h0) of a selective scan."""
    u, dt = normal(0, batch, length, width, dtype=dtype), jax.nn.softplus(normal(1, batch, length, width, dtype=dtype))
    A = -jnp.exp(normal(2, width, state, dtype=dtype))
    B, C = normal(3, batch, length, state, dtype=dtype), normal(4, batch, length, state, dtype=dtype)
    return selective_scan.Inputs(u, dt, B, C), A, normal(5, batch, state, width, dtype=dtype)


# The native kernel is for float32 and not found everywhere: tests/models/ops/selective_scan/test_native.py.
IN_JAX = [method for method in selective_scan.METHODS if method != "native"]


# In float64 the kernels' interpreter is slow, and tests/models/ops/selective_scan/test_pallas.py compares them too.
@pytest.mark.parametrize("method", [pytest.param(m, marks=pytest.mark.slow if m == "pallas" else ()) for m in IN_JAX])
@pytest.mark.parametrize(
    ("batch", "length", "chunk"),
    [(2, 1, None), (1, 37, None), (2, 37, 8), pytest.param(3, 64, 16, marks=pytest.mark.slow)],
)
def test_selective_scan(method, batch, length, chunk, dtype):
    fast = partial(selective_scan.selective_scan, method=method, chunk=chunk)
    same_value_and_gradient(fast, selective_scan.selective_scan_reference, scan_arguments(batch, length, dtype), dtype)


# Of pallas the interpreter holds copies; tests/models/ops/selective_scan/test_pallas.py looks at the program itself.
@pytest.mark.parametrize("method", [method for method in IN_JAX if method != "pallas"])
def test_selective_scan_never_holds_all_states(method):
    x, A, h0 = scan_arguments(1, 8192, "float32", width=64, state=16)

    def loss(u):
        return selective_scan.selective_scan(x._replace(u=u), A, h0, method=method)[0].sum()

    temporaries = jax.jit(jax.grad(loss)).lower(x.u).compile().memory_analysis().temp_size_in_bytes
    assert temporaries < 8192 * 64 * 16 * 4 / 1.5


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("length", [1, 23])
def test_gated_recurrences(batch, length, dtype):
    width = 6

    def gates(n):
        return normal(n, batch, length, n * width, dtype=dtype), 0.5 * normal(7, n * width, width, dtype=dtype)

    h0, c0, b_n = (normal(n, *shape, dtype=dtype) for n, shape in enumerate([(batch, width), (batch, width), (width,)]))
    same_value_and_gradient(partial(gated.rnn, method="sequential"), gated.rnn_reference, (*gates(1), h0), dtype)
    same_value_and_gradient(partial(gated.lstm, method="sequential"), gated.lstm_reference, (*gates(4), h0, c0), dtype)
    same_value_and_gradient(partial(gated.gru, method="sequential"), gated.gru_reference, (*gates(3), b_n, h0), dtype)


@pytest.mark.parametrize(
    ("length", "block", "causal", "window"),
    [
        (1, 8, True, None),
        (16, 8, True, None),
        (37, 8, True, None),
        (37, 64, True, None),
        (37, 8, True, 5),
        (37, 8, True, 1),
        (37, 8, True, 12),
        (37, 8, False, None),
        (37, 8, False, 5),
    ],
)
def test_attention(length, block, causal, window, dtype):
    qkv = tuple(normal(n, 2, length, 2, 4, dtype=dtype) for n in range(3))
    mask = attention.Mask(causal, window)
    fast = partial(attention_in_blocks, mask=mask, block=block)
    same_value_and_gradient(fast, partial(attention.attention_reference, mask=mask), qkv, dtype)


def test_attention_to_another_sequence(dtype):
    q, k, v = (
        normal(0, 2, 13, 2, 4, dtype=dtype),
        normal(1, 2, 30, 2, 4, dtype=dtype),
        normal(2, 2, 30, 2, 4, dtype=dtype),
    )
    mask = attention.Mask(causal=False)
    fast = partial(attention_in_blocks, mask=mask, block=8)
    same_value_and_gradient(fast, partial(attention.attention_reference, mask=mask), (q, k, v), dtype)


def test_attention_survives_extreme_scores():
    q = jnp.full((1, 32, 1, 4), 100.0)
    k = jnp.linspace(-100, 100, 32)[None, :, None, None] * jnp.ones(4)
    v = normal(0, 1, 32, 1, 4, dtype="float32")
    gradient = jax.grad(lambda *qkv: attention_in_blocks(*qkv, block=8).sum(), argnums=(0, 1, 2))(q, k, v)
    assert all(np.all(np.isfinite(g)) for g in gradient)
    np.testing.assert_allclose(attention_in_blocks(q, k, v, block=8), v, atol=1e-5)  # each attends to itself alone


@pytest.mark.parametrize(
    ("length", "filled", "capacity"), [(1, 20, 32), (1, 31, 32), (5, 20, 37), (19, 0, 37), (1, 0, 8)]
)
def test_attention_with_a_cache(length, filled, capacity, dtype):
    heads, size, layers, layer = 2, 4, 3, 1
    q, k, v = (normal(n, 2, filled + length, heads, size, dtype=dtype) for n in range(3))
    whole = attention.attention_reference(q, k, v)[:, filled:]
    junk = normal(5, layers, 2, heads, capacity, size, dtype=dtype)  # beyond what is filled it must not matter
    k_cache, v_cache = (junk.at[layer, :, :, :filled].set(x[:, :filled].swapaxes(1, 2)) for x in (k, v))
    q, k, v = (x[:, filled:] for x in (q, k, v))
    cache = attention.Cache(k_cache, v_cache, jnp.int32(layer), jnp.int32(filled))
    assert_close(attention_with_cache_in_blocks(q, k, v, cache, block=8), whole, TOLERANCE[dtype])


def test_attention_memory_is_linear():
    def temporaries(length):
        x = jax.ShapeDtypeStruct((1, length, 2, 16), jnp.float32)
        loss = jax.jit(jax.grad(lambda q, k, v: attention.attention(q, k, v).sum(), argnums=(0, 1, 2)))
        return loss.lower(x, x, x).compile().memory_analysis().temp_size_in_bytes

    assert temporaries(16384) < 2.5 * temporaries(8192)


def test_the_checker_of_the_test_run_sees_a_shape_that_its_annotation_forbids():
    pytest.importorskip("beartype")
    x = jnp.zeros((1, 4, 1, 2))
    with pytest.raises(jaxtyping.TypeCheckError, match=r"checking parameter 'k'"):
        attention.attention(x, jnp.zeros((2, 4, 1, 2)), x)  # another batch


@pytest.mark.parametrize(("field", "shape"), [("u", (2, 4, 5)), ("B", (1, 4, 3)), ("C", (1, 4))])
def test_the_checker_of_the_test_run_sees_a_wrong_shape_inside_a_named_tuple(field, shape):
    """u of another batch than h0, B of other states than A, C without an axis."""
    pytest.importorskip("beartype")
    x, A, h0 = scan_arguments(1, 4, "float32")
    with pytest.raises(jaxtyping.TypeCheckError, match=r"checking parameter"):
        selective_scan.selective_scan(x._replace(**{field: jnp.zeros(shape)}), A, h0)


def test_the_checker_of_the_test_run_sees_a_wrong_shape_inside_a_cache():
    pytest.importorskip("beartype")
    x, one = jnp.zeros((1, 1, 2, 8)), jnp.zeros((3, 1, 2, 16, 8))
    for wrong in (jnp.zeros((3, 1, 2, 15, 8)), jnp.zeros((3, 2, 2, 16, 8)), one[0]):
        with pytest.raises(jaxtyping.TypeCheckError, match=r"checking parameter 'cache'"):
            attention.attention_with_cache(x, x, x, attention.Cache(one, wrong, 0, 3))
    with pytest.raises(jaxtyping.TypeCheckError, match=r"checking parameter 'cache'"):
        attention.attention_with_cache(x, x, x, attention.Cache(one, one, 0, jnp.zeros(1)))


def test_wrong_arguments_say_what_was_expected(unchecked_shapes):
    x = jnp.zeros((1, 4, 1, 2))
    with pytest.raises(ValueError, match="unknown method 'fast'; expected auto, blocked, reference"):
        attention.attention(x, x, x, method="fast")
    with pytest.raises(ValueError, match="as many keys as queries, got 3 and 4"):
        attention.attention(x, x[:, :3], x[:, :3])
    with pytest.raises(ValueError, match="unknown method 'fast'; expected auto, sequential"):
        linear_scan.linear_scan(x, x, method="fast")
    with pytest.raises(ValueError, match="one shape, got a"):
        linear_scan.linear_scan(x, x[:, :3])
    with pytest.raises(ValueError, match="unknown method 'fast'; expected auto, sequential"):
        selective_scan.selective_scan(*scan_arguments(1, 4, "float32"), method="fast")
