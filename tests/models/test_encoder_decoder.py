"""The encoder-decoder Transformer: teaching equals decoding, padding is not there, gradients, learning."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lengthscale.models import Interface, Size, build
from lengthscale.models.base import EncoderDecoder
from lengthscale.models.encoder_decoder import EncoderDecoderConfig, TransformerEncoderDecoder
from tests.helpers.compare import assert_close

TOLERANCE = 1e-5  # float32, models of a few layers
BATCH, VOCAB = 2, 11
SOURCE, TARGET, LENGTHS = 9, 7, np.array([5, 9])


def make(interface):
    config = EncoderDecoderConfig(d_model=16, head_size=8, n_encoder=2, n_decoder=2, d_ff=24)
    return TransformerEncoderDecoder(config, interface=interface, rngs=nnx.Rngs(0))


def tokens_of(length, seed=0):
    return np.random.default_rng(seed).integers(0, VOCAB, (BATCH, length), np.int32)


@pytest.fixture(scope="module")
def pairs():
    """A model, and compiled: teach(source, targets, lengths), call(tokens, state), encode(source, lengths)."""
    graph, params = nnx.split(jax.jit(partial(make, Interface(VOCAB)))())
    noise = np.random.default_rng(1)  # away from the small numbers of initialisation
    params = jax.tree.map(lambda x: x + 0.1 * noise.normal(size=x.shape).astype(np.float32), params)

    def model(params):
        return nnx.merge(graph, params)

    teach = jax.jit(lambda *args: model(params).teach(*args))
    call = jax.jit(lambda *args: model(params)(*args))
    encode = jax.jit(lambda *args: model(params).encode(*args, capacity=12))
    return model(params), teach, call, encode


@pytest.mark.parametrize("lengths", [LENGTHS, None], ids=["padded", "whole"])
def test_teacher_forcing_equals_decoding(pairs, lengths):
    _, teach, call, encode = pairs
    source, targets = tokens_of(SOURCE), tokens_of(TARGET, seed=1)
    whole = teach(source, targets, lengths)
    start = encode(source, lengths)
    for cuts in (range(1, TARGET), (6,)):
        state, pieces = start, []
        for piece in np.split(targets, list(cuts), axis=1):
            logits, state = call(piece, state)
            pieces.append(logits)
        assert_close(np.concatenate(pieces, axis=1), whole, TOLERANCE)
        assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(lambda x: (x.shape, x.dtype), start)


def test_a_prefill_is_decoding_from_the_source_s_state(pairs):
    """In one pass, where the other reads what it has just written; a state that has room goes on alike."""
    model, *_ = pairs
    source, targets = tokens_of(SOURCE), tokens_of(TARGET, seed=1)
    found = jax.jit(partial(model.prefill_after, capacity=12))(source, targets)
    expected = jax.jit(partial(EncoderDecoder.prefill_after, model, capacity=12))(source, targets)
    assert_close(found, expected, TOLERANCE)
    with pytest.raises(ValueError, match="capacity must hold the tokens, got capacity=3, 7 tokens"):
        model.prefill_after(source, targets, 3)


def test_padding_is_as_if_it_were_not_there(pairs):
    _, teach, _, _ = pairs
    source, targets = tokens_of(SOURCE), tokens_of(TARGET, seed=1)
    padding = np.arange(SOURCE) >= LENGTHS[:, None]
    whole = teach(source, targets, LENGTHS)
    np.testing.assert_array_equal(teach(np.where(padding, source + 1, source) % VOCAB, targets, LENGTHS), whole)
    assert_close(teach(source[:, :5], targets, None)[0], whole[0], TOLERANCE)
    assert np.abs(teach(source, targets, None)[0] - whole[0]).max() > 0.01
    everything = np.full(BATCH, SOURCE)
    assert_close(teach(source, targets, everything), teach(source, targets, None), TOLERANCE)


@pytest.fixture(scope="module")
def lesson():
    """(parameters, step): step(parameters) gives the loss of the first 4 targets and its gradients, on real inputs."""
    graph, params = nnx.split(jax.jit(partial(make, Interface(features=3, outputs=4)))())
    source, targets = (jax.random.normal(jax.random.key(n), (BATCH, n, 3)) for n in (SOURCE, TARGET))

    def loss(params, source, targets):
        log_p = jax.nn.log_softmax(nnx.merge(graph, params).teach(source, targets, LENGTHS))
        return -log_p[:, jnp.arange(4), jnp.array([0, 3, 1, 2])].mean()

    step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))
    return params, lambda params: step(params, source, targets)


def test_gradients_flow_from_what_is_read_alone(lesson):
    params, step = lesson
    _, (d_params, d_source, d_targets) = step(params)
    for path, g in jax.tree_util.tree_leaves_with_path(d_params):
        assert np.all(np.isfinite(g)), path
        assert np.any(np.asarray(g) != 0), path
    read = np.abs(d_source).max(axis=2) > 0
    np.testing.assert_array_equal(read, np.arange(SOURCE) < LENGTHS[:, None])
    read = np.abs(d_targets).max(axis=2) > 0
    np.testing.assert_array_equal(read, np.broadcast_to(np.arange(TARGET) < 4, read.shape))


def test_an_encoder_decoder_learns(lesson):
    params, step = lesson
    losses = []
    for _ in range(20):
        value, (gradient, *_) = step(params)
        params = jax.tree.map(lambda p, g: p - 0.3 * g, params, gradient)
        losses.append(float(value))
    assert losses[-1] < 0.7 * losses[0]


def test_an_empty_source_is_where_a_state_starts(pairs):
    model, teach, call, _ = pairs
    graph, params = nnx.split(model)
    source, targets = tokens_of(SOURCE), tokens_of(TARGET, seed=1)
    nothing = np.zeros(BATCH, int)
    whole = teach(source, targets, nothing)
    assert_close(call(targets, None)[0], whole, TOLERANCE)
    logits, state = call(targets, model.init_state(BATCH, 12))
    assert_close(logits, whole, TOLERANCE)
    last, prefilled = jax.jit(lambda params: nnx.merge(graph, params).prefill(targets, 12))(params)
    assert_close(last, whole[:, -1], TOLERANCE)
    assert_close(prefilled, state, TOLERANCE)


@pytest.mark.slow
def test_an_encoder_decoder_in_bfloat16_stays_near_float32(pairs):
    model, teach, _, _ = pairs
    graph, params = nnx.split(model)
    source, targets = tokens_of(SOURCE), tokens_of(TARGET, seed=1)

    @jax.jit
    def decode(params):
        model = nnx.merge(graph, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params))
        return model(targets, model.encode(source, LENGTHS, 12))

    logits, state = decode(params)
    assert logits.dtype == state.layers.target.k.dtype == state.layers.source.k.dtype == jnp.bfloat16
    assert_close(logits.astype(jnp.float32), teach(source, targets, LENGTHS), 0.05)  # 8 bits of mantissa


def test_wrong_lengths_and_stacks_are_refused():
    model = nnx.eval_shape(partial(make, Interface(VOCAB)))
    source = jnp.asarray(tokens_of(SOURCE))
    with pytest.raises(ValueError, match=r"shape \(2,\), got \(2, 9\)"):
        model.encode(source, source)
    with pytest.raises(ValueError, match="a layer each, got 0 and 1"):
        build("transformer-encdec", size=Size(32, 1, 19_900, head_size=16), rngs=nnx.Rngs(0))
