"""The C++ attention kernel against the readable reference, in float32."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lengthscale.bench.device.flops import flops
from lengthscale.models.ops import native
from lengthscale.models.ops.attention import Cache, Mask, attention, attention_reference, attention_with_cache
from lengthscale.models.ops.attention.blocks import attention_in_blocks
from lengthscale.models.ops.platform import lowering_for
from tests.helpers.compare import assert_close
from tests.helpers.platforms import needs_kernels

TOLERANCE = 2e-5  # as in test_ops: sums of up to a few hundred terms in another order

pytestmark = needs_kernels


def arguments(length, n_keys=None, *, batch=1, heads=2, key_heads=None, size=16, seed=0):
    rng = np.random.default_rng(seed)
    keys = (batch, n_keys or length, key_heads or heads, size)
    q, k, v = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((batch, length, heads, size), keys, keys))
    return q, k, v


def gradients(function, args):
    """Of a random sum of the outputs, with respect to queries, keys and values."""
    ct = np.random.default_rng(9).normal(size=args[0].shape).astype("float32")
    return jax.jit(jax.grad(lambda *args: (function(*args) * ct).sum(), argnums=(0, 1, 2)))(*args)


@pytest.mark.parametrize(
    ("shape", "mask"),
    [
        ({"length": 64, "size": 64}, {}),  # whole panels and tiles
        ({"length": 37, "batch": 2, "heads": 4, "key_heads": 2}, {}),
        ({"length": 700, "size": 40}, {}),  # several blocks, the last of odd length; a head is no whole panel
        ({"length": 300, "batch": 2, "heads": 4, "key_heads": 1, "size": 24}, {"window": 50}),
        ({"length": 600, "heads": 1, "size": 256}, {"window": 300}),
        ({"length": 5, "size": 8}, {"window": 1}),
        ({"length": 1, "size": 8}, {}),
        ({"length": 50, "n_keys": 333, "heads": 3, "size": 8}, {"causal": False}),
        ({"length": 300, "n_keys": 13, "key_heads": 1}, {"causal": False}),
        ({"length": 90, "batch": 2, "key_heads": 1}, {"causal": False, "window": 7}),
    ],
)
def test_it_equals_the_reference(shape, mask):
    args = arguments(**shape)
    mask = Mask(**mask)
    fast, reference = partial(attention, mask=mask, method="native"), partial(attention_reference, mask=mask)
    assert_close(jax.jit(fast)(*args), reference(*args), TOLERANCE)
    assert_close(gradients(fast, args), gradients(reference, args), TOLERANCE)


def test_extreme_scores_give_neither_nan_nor_a_wrong_mean():
    """Each query attends to its own key alone; all but it lie far below, or above zero by hundreds."""
    q = 30 * jnp.eye(48)[None, :, None] + 5.0
    v = arguments(48, heads=1, size=48)[2]
    fast, reference = partial(attention, method="native"), attention_reference
    assert_close(fast(q, q, v), v, TOLERANCE)
    assert_close(gradients(fast, (q, q, v)), gradients(reference, (q, q, v)), TOLERANCE)


def test_a_nan_is_not_swallowed():
    q, k, v = arguments(200)
    fast = partial(attention, method="native")
    for args in ((q, k.at[0, 100, 0, 3].set(np.nan), v), (q, k, v.at[0, 100, 0].set(np.nan))):
        y = fast(*args)
        assert np.isnan(y[0, 100:, 0]).all()
        assert not np.isnan(y[0, :64]).any()
        assert not np.isnan(y[0, :, 1]).any()
    assert np.isnan(fast(q.at[0, 150, 1, 2].set(np.nan), k, v)[0, 150, 1]).all()
    dq, dk, dv = jax.grad(lambda *args: fast(*args).sum(), argnums=(0, 1, 2))(q, k.at[0, 100, 0, 3].set(np.nan), v)
    assert np.isnan(dq[0, 100:, 0]).all()
    assert np.isnan(dk[0, 100, 0]).all()
    assert np.isnan(dv[0, :100, 0]).all()
    assert not any(np.isnan(x[0, :, 1]).any() for x in (dq, dk, dv))


def test_it_runs_under_vmap_in_a_scan_and_recomputed():
    q, k, v = arguments(40, batch=3)
    expected = attention_reference(q, k, v)

    def one(q, k, v):
        return attention(q[None], k[None], v[None], method="native")[0]

    assert_close(jax.jit(jax.vmap(one))(q, k, v), expected, TOLERANCE)
    _, y = jax.lax.scan(lambda carry, x: (carry, one(*x)), None, (q, k, v))
    assert_close(y, expected, TOLERANCE)
    recomputed = jax.vmap(jax.checkpoint(one))
    assert_close(gradients(recomputed, (q, k, v)), gradients(attention_reference, (q, k, v)), TOLERANCE)


@pytest.mark.parametrize("mask", [Mask(causal=False), Mask(), Mask(window=300)])
def test_flops_are_those_of_the_form_in_jax(mask):
    """Of the pairs that are seen: with small blocks the JAX form computes few others, but shrinks its sums often."""
    args = arguments(512, size=64)
    for transform in (lambda f: f, lambda f: jax.grad(lambda *args: f(*args).sum(), argnums=(0, 1, 2))):
        in_jax = flops(transform(partial(attention_in_blocks, mask=mask, block=16)), *args)
        assert flops(transform(partial(attention, mask=mask, method="native")), *args) == pytest.approx(in_jax, rel=0.2)
    exact = flops(partial(attention, mask=Mask(causal=False), method="native"), *args)
    assert exact == 2 * (512 * 512 * (4 * 64 + 4) + 512 * 64 * 2)


def test_auto_takes_it_where_it_fits():
    def chosen(target="cpu", key_mask=None, **shape):
        with lowering_for(target):
            args = arguments(64, **shape)
            run = partial(attention, mask=Mask(causal=False), key_mask=key_mask)
            text = str(jax.make_jaxpr(run)(*args))
            return "native" if "attention_forward" in text else "pallas" if "pallas_call" in text else "blocked"

    assert chosen() == "native"
    assert chosen(size=256) == "native"
    assert chosen(size=12) == "blocked"
    assert chosen(size=264) == "blocked"
    assert chosen(key_mask=jnp.ones((1, 64), bool)) == "blocked"
    assert chosen("cuda") == "pallas"
    q = arguments(8)[0].astype("bfloat16")
    with pytest.raises(ValueError, match="method native does not fit: it is for float32 on a CPU, got bfloat16"):
        attention(q, q, q, method="native")
    with pytest.raises(ValueError, match="head size divisible by 8, of 256 at most, got 12"):
        attention(*arguments(8, size=12), method="native")


def test_without_kernels_auto_is_blocked(monkeypatch):
    monkeypatch.setattr(native, "missing", lambda: "LENGTHSCALE_NATIVE=0")
    args = arguments(30)
    assert "attention_forward" not in str(jax.make_jaxpr(attention)(*args))
    assert_close(attention(*args), attention_reference(*args), TOLERANCE)
    with pytest.raises(ValueError, match="does not fit: LENGTHSCALE_NATIVE=0"):
        attention(*args, method="native")


# tokens before, slots, window, heads, key heads, head size: an empty cache, one that is full, several pieces, rings
# before and after they turn, a window narrower than the cache, a single slot
STEPS = [
    (0, 7, None, 4, 2, 16),
    (30, 30, None, 2, 2, 16),
    (2500, 2600, None, 4, 1, 64),
    (30, 64, 64, 2, 1, 16),
    (64, 64, 64, 2, 1, 32),
    (200, 64, 64, 3, 3, 16),
    (80, 100, 33, 4, 1, 48),
    (13, 1, 1, 2, 1, 16),
]


@pytest.mark.parametrize(("filled", "slots", "window", "heads", "key_heads", "size"), STEPS)
def test_a_step_equals_the_last_row_of_the_whole(filled, slots, window, heads, key_heads, size):
    q, k, v = arguments(filled + 1, batch=2, heads=heads, key_heads=key_heads, size=size)
    expected = attention_reference(q, k, v, Mask(window=window))[:, -1:]
    at = np.arange(max(0, filled - slots), filled)
    caches = np.full((2, 3, 2, key_heads, slots, size), np.nan, "float32")  # other layers, and slots not filled
    for old, x in zip(caches, (k, v), strict=True):
        old[1, :, :, at % slots] = np.asarray(x)[:, at].swapaxes(0, 1)
    step = jax.jit(partial(attention_with_cache, window=window, method="native"))
    k_cache, v_cache = map(jnp.asarray, caches)
    cache = Cache(k_cache, v_cache, jnp.int32(1), jnp.int32(filled))
    y = step(q[:, -1:], k[:, -1:], v[:, -1:], cache)
    assert_close(y, expected, TOLERANCE)


def test_a_step_with_extreme_scores_is_neither_nan_nor_wrong():
    """The own key lies hundreds above the others, then one in the cache does."""
    q, _, v = arguments(41, heads=1)
    for which in (40, 17):
        k = -q[:, -1:] * jnp.full((1, 41, 1, 1), 50.0)
        k = k.at[:, which].multiply(-1)
        k_cache, v_cache = (x[:, :-1].swapaxes(1, 2)[None] for x in (k, v))
        cache = Cache(k_cache, v_cache, jnp.int32(0), jnp.int32(40))
        y = attention_with_cache(q[:, -1:], k[:, -1:], v[:, -1:], cache, method="native")
        assert_close(y, v[:, which : which + 1], TOLERANCE)


def test_flops_of_a_step_are_those_of_the_blocks_in_jax():
    q, k, v = arguments(1, heads=4, key_heads=2, size=64)
    zeros = jnp.zeros((2, 1, 2, 1024, 64))
    native_flops, jax_flops = (
        flops(partial(attention_with_cache, method=method), q, k, v, Cache(zeros, zeros, 0, 1000))
        for method in ("native", "blocked")
    )
    assert native_flops == pytest.approx(jax_flops, rel=0.02)
