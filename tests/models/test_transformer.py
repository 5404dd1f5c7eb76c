"""Grouped queries, windows and their rings, key masks, rotary positions."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lengthscale.models import Interface
from lengthscale.models.llama import LlamaConfig, llama
from lengthscale.models.ops.attention import (
    Cache,
    Mask,
    attention,
    attention_reference,
    attention_to_cache,
    attention_with_cache_reference,
)
from lengthscale.models.ops.attention.blocks import attention_in_blocks
from lengthscale.models.ops.attention.cache import attention_with_cache_in_blocks
from lengthscale.models.ops.rope import rope, rope_reference
from lengthscale.models.transformer import AttentionConfig, GPT2Config, gpt2
from tests.helpers.compare import assert_close

EXACT = 1e-11  # float64, sums in another order
TOLERANCE = 1e-5  # float32, models of a few layers
BATCH, VOCAB = 2, 11


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.result_type(float))


def value_and_gradient(function, *args):
    """The outputs, and the gradient of a fixed random sum of them with respect to all arguments."""

    def total(*args):
        y = function(*args)
        return (y * normal(9, *y.shape)).sum(), y

    (_, y), gradient = jax.jit(jax.value_and_grad(total, argnums=tuple(range(len(args))), has_aux=True))(*args)
    return y, gradient


def queries_and_keys(length, n_keys, heads, kv_heads, size=4):
    shapes = ((length, heads), (n_keys, kv_heads), (n_keys, kv_heads))
    return tuple(normal(seed, BATCH, n, h, size) for seed, (n, h) in enumerate(shapes))


MASKS = {
    "window": {"mask": Mask(window=5)},
    "holes": {"mask": Mask(causal=False), "key_mask": jnp.asarray(np.random.default_rng(3).random((BATCH, 19)) < 0.5)},
    "nothing to see": {"mask": Mask(causal=False), "key_mask": jnp.arange(19) < jnp.array([[0], [8]])},
    "causal and padded": {"mask": Mask(), "key_mask": jnp.arange(19) < jnp.array([[7], [18]])},
}


@pytest.mark.parametrize("kind", MASKS)
def test_grouped_queries_equal_repeated_keys(kind, x64):
    q, k, v = queries_and_keys(19 if MASKS[kind]["mask"].causal else 13, 19, heads=6, kv_heads=2)

    def repeated(q, k, v):
        return attention_reference(q, jnp.repeat(k, 3, axis=2), jnp.repeat(v, 3, axis=2), **MASKS[kind])

    y = value_and_gradient(partial(attention_in_blocks, **MASKS[kind], block=8), q, k, v)
    assert_close(y, value_and_gradient(repeated, q, k, v), EXACT)


def test_a_query_that_sees_no_key_gives_zero_and_gradients_stay_finite(x64):
    q, k, v = queries_and_keys(13, 19, heads=2, kv_heads=1)
    y, gradient = value_and_gradient(partial(attention_in_blocks, **MASKS["nothing to see"], block=8), q, k, v)
    np.testing.assert_array_equal(y[0], 0)
    assert np.all(np.abs(y[1]) > 0)
    for g in gradient:
        np.testing.assert_array_equal(g[0], 0)
        assert np.all(np.isfinite(g))
    np.testing.assert_array_equal(gradient[2][1, 8:], 0)  # keys that nobody may see


# tokens so far, new ones, slots, window: rings that never turn, that have just, that turn inside the piece, that the
# piece overruns; and caches of fewer slots than the window
RINGS = [(3, 1, 8, 8), (8, 1, 8, 8), (21, 1, 8, 8), (21, 5, 8, 8), (21, 19, 8, 8), (0, 19, 8, 8), (13, 6, 1, 1)]
RINGS += [(13, 1, 1, 1), (5, 5, 12, 14), (21, 5, 30, None)]
whole_window = jax.jit(attention_reference, static_argnames="mask")
attend_with_cache = jax.jit(partial(attention_with_cache_in_blocks, block=4), static_argnames="mask")


@pytest.mark.parametrize(("filled", "length", "slots", "window"), RINGS)
def test_attention_with_a_ring_equals_the_whole(filled, length, slots, window, x64):
    qkv = queries_and_keys(40, 40, heads=4, kv_heads=2)
    mask = Mask(window=window)
    whole = np.asarray(whole_window(*qkv, mask=mask))
    at = np.arange(max(0, filled - slots), filled)
    caches = np.random.default_rng(5).normal(size=(2, 3, BATCH, 2, slots, 4))  # other layers, slots not filled: junk
    q, k, v = map(np.asarray, qkv)
    for cache, x in zip(caches, (k, v), strict=True):
        cache[1, :, :, at % slots] = x[:, at].swapaxes(0, 1)
    new = slice(filled, filled + length)
    k_cache, v_cache = map(jnp.asarray, caches)
    y = attend_with_cache(q[:, new], k[:, new], v[:, new], Cache(k_cache, v_cache, 1, filled), mask=mask)
    assert_close(y, whole[:, new], EXACT)


@pytest.mark.parametrize(("filled", "length", "slots", "window"), [(0, 5, 7, 7), (9, 1, 7, 7), (17, 3, 7, 5)])
def test_attention_with_a_ring_equals_its_reference_in_value_and_gradient(filled, length, slots, window, x64):
    args = (*queries_and_keys(length, length, heads=4, kv_heads=2), *normal(5, 2, 3, BATCH, 2, slots, 4))

    def of(function):
        def with_cache(q, k, v, k_cache, v_cache):
            return function(q, k, v, Cache(k_cache, v_cache, 1, filled))

        return jax.jit(partial(value_and_gradient, with_cache))(*args)

    fast = partial(attention_with_cache_in_blocks, mask=Mask(window=window), block=4)
    assert_close(of(fast), of(partial(attention_with_cache_reference, window=window)), EXACT)


@pytest.mark.parametrize("length", [1, 6])
def test_attention_to_a_cache_equals_the_whole(length, x64):
    q, k, v = queries_and_keys(length, 19, heads=4, kv_heads=2)
    lengths = jnp.array([0, 13])
    caches = (normal(5, 3, BATCH, 2, 19, 4).at[1].set(x.swapaxes(1, 2)) for x in (k, v))
    y = jax.jit(partial(attention_to_cache, block=8))(q, *caches, jnp.int32(1), lengths)
    assert_close(y, attention_reference(q, k, v, Mask(causal=False), key_mask=jnp.arange(19) < lengths[:, None]), EXACT)


def intermediates(jaxpr):
    """Sizes of all arrays that a program makes on its way."""
    for equation in jaxpr.eqns:
        yield from (variable.aval.size for variable in equation.outvars)
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from intermediates(inner)


def test_decoding_with_grouped_queries_repeats_no_keys():
    heads, kv_heads, slots, size, block = 8, 2, 4096, 16, 512
    q, k, v = (normal(n, 1, 1, h, size) for n, h in enumerate((heads, kv_heads, kv_heads)))
    cache = normal(3, 2, 1, kv_heads, slots, size)
    run = partial(attention_with_cache_in_blocks, block=block)
    program = jax.make_jaxpr(run)(q, k, v, Cache(cache, cache, 1, 4000))
    assert max(intermediates(program.jaxpr)) == kv_heads * block * size  # one block of keys


def test_rope_equals_complex_numbers(x64):
    x, position = normal(0, 2, 7, 3, 8), jnp.arange(100, 107)
    y = value_and_gradient(lambda x: rope(x, position, 500.0), x)
    assert_close(y, value_and_gradient(lambda x: rope_reference(x, position, 500.0), x), EXACT)
    np.testing.assert_array_equal(rope(x[:, :1], jnp.arange(1)), x[:, :1])  # position 0 turns nothing


def test_rope_depends_on_the_distance_alone(x64):
    q, k = normal(0, 1, 9, 1, 8), normal(1, 1, 9, 1, 8)

    def scores(start):
        q_, k_ = (rope(x, start + jnp.arange(9)) for x in (q, k))
        return jnp.einsum("bthk,bshk->bts", q_, k_)

    assert_close(scores(100_000), scores(0), 1e-9)
    assert np.abs(scores(0) - jnp.einsum("bthk,bshk->bts", q, k)).max() > 0.1


def test_rope_in_bfloat16_turns_by_exact_angles():
    x, position = normal(0, 1, 64, 1, 8), jnp.arange(100_000, 100_064)
    x = x.astype(jnp.bfloat16).astype(jnp.float32)
    assert_close(rope(x.astype(jnp.bfloat16), position).astype(jnp.float32), rope(x, position), 2**-8)


def small_llama(window):
    """With heads x head_size other than d_model, and a head of its own."""

    def make():
        config = LlamaConfig(d_model=12, n_layers=2, heads=4, kv_heads=2, head_size=4, d_ff=16, window=window)
        return llama(config, interface=Interface(VOCAB), rngs=nnx.Rngs(0))

    return pushed(make)


def pushed(make):
    """(graph, parameters), the parameters pushed away from the small numbers of initialisation."""
    graph, params = nnx.split(jax.jit(make)())
    noise = np.random.default_rng(1)
    return graph, jax.tree.map(lambda x: x + 0.1 * noise.normal(size=x.shape).astype(np.float32), params)


def tokens_of(length, seed=0):
    return np.random.default_rng(seed).integers(0, VOCAB, (BATCH, length), np.int32)


@pytest.fixture(scope="module")
def windowed():
    """A model with a window of 5, and model(tokens, state), compiled once for each length."""
    graph, params = small_llama(5)
    call = jax.jit(lambda tokens, state: nnx.merge(graph, params)(tokens, state))
    return nnx.merge(graph, params), call


def test_a_ring_gives_the_whole_across_any_cut(windowed):
    model, call = windowed
    tokens = tokens_of(23)
    whole = call(tokens, None)[0]  # one windowed product, without a cache
    _, state = call(tokens, model.init_state(BATCH, 64))
    assert state.layers.k.shape == (2, BATCH, 2, 5, 4)
    for cuts in (range(1, 23), (7, 14, 21, 22), (1, 8, 15, 22), (1, 2, 9, 16)):
        pieces, now = [], model.init_state(BATCH, 64)
        for piece in np.split(tokens, list(cuts), axis=1):
            logits, now = call(piece, now)
            pieces.append(logits)
        assert_close(np.concatenate(pieces, axis=1), whole, TOLERANCE)
        assert_close(now, state, TOLERANCE)


def test_a_prefilled_ring_is_the_rings_turn(windowed):
    model, call = windowed
    graph, params = nnx.split(model)
    logits, state = call(tokens_of(23), model.init_state(BATCH, 64))
    last, prefilled = jax.jit(lambda params: nnx.merge(graph, params).prefill(tokens_of(23), 64))(params)
    assert_close(last, logits[:, -1], TOLERANCE)
    assert_close(prefilled, state, TOLERANCE)


def test_a_ring_that_a_capacity_cuts_short_is_refused_more(windowed):
    model, _ = windowed
    state = model.init_state(BATCH, 3)
    assert state.layers.k.shape == (2, BATCH, 2, 3, 4)
    with pytest.raises(ValueError, match="capacity=3, 4 tokens"):
        model(jnp.asarray(tokens_of(4)), state)


def test_a_window_is_what_reaches_a_token(windowed):
    _, call = windowed
    tokens = tokens_of(23)
    changed = tokens.copy()
    changed[:, 8] += 1
    change = np.abs(call(changed % VOCAB, None)[0] - call(tokens, None)[0]).max(axis=(0, 2)) > 0
    np.testing.assert_array_equal(change, (np.arange(23) >= 8) & (np.arange(23) <= 8 + 2 * 4))  # two layers of 5


def test_learned_positions_end():
    def make():
        config = GPT2Config(d_model=8, n_layers=1, heads=2, n_positions=6, d_ff=8)
        return gpt2(config, interface=Interface(VOCAB), rngs=nnx.Rngs(0))

    model = nnx.eval_shape(make)
    with pytest.raises(ValueError, match="6 learned positions, got 7 inputs"):
        jax.eval_shape(lambda: make()(jnp.asarray(tokens_of(7))))
    with pytest.raises(ValueError, match="6 learned positions, got capacity=7"):
        model.init_state(BATCH, 7)


def test_wrong_arguments_say_what_was_expected():
    q, k, v = queries_and_keys(5, 5, heads=6, kv_heads=4)
    with pytest.raises(ValueError, match="key heads must divide query heads, got 4 and 6"):
        attention(q, k, v)
    with pytest.raises(ValueError, match=r"a query sees itself.*got 0"):
        attention(q, q, q, Mask(window=0))
    with pytest.raises(ValueError, match="even head size, got 3"):
        rope(normal(0, 1, 2, 1, 3), jnp.arange(2))
    with pytest.raises(ValueError, match="kv_heads=2, heads=3"):
        AttentionConfig(12, 4, kv_heads=2)
    with pytest.raises(ValueError, match="kv_heads=3, heads=4"):
        LlamaConfig(d_model=12, n_layers=2, heads=4, kv_heads=3, head_size=4, d_ff=16)
    with pytest.raises(ValueError, match="head_size=5, d_model=12"):
        AttentionConfig(12, 5)
    with pytest.raises(ValueError, match="heads=3, d_model=8"):
        GPT2Config(d_model=8, n_layers=1, heads=3, n_positions=4, d_ff=8)
