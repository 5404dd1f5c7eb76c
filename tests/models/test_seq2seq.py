"""Stacks of recurrent layers, sequences of unequal length, the four forms, and encoder-decoders."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lengthscale.models import Interface, build, forms
from lengthscale.models.gru import GRU
from lengthscale.models.lstm import LSTM
from lengthscale.models.ops import packed
from lengthscale.models.recurrent import RecurrentConfig, RecurrentModel, Stack
from lengthscale.models.rnn import RNN
from lengthscale.models.seq2seq import Seq2Seq
from tests.helpers.compare import assert_close

TOLERANCE = 1e-5  # float32: a few hundred roundings of numbers near 1


def split(make) -> tuple[Any, Any]:
    """(graph, parameters) of the module that make(rngs) gives, made in one program."""
    graph, _ = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    return graph, jax.jit(lambda: nnx.state(make(nnx.Rngs(0))))()


def rough(make) -> tuple[Any, Any]:
    """The same, its parameters pushed away from the small numbers of initialisation."""
    graph, params = split(make)
    noise = np.random.default_rng(1)
    return graph, jax.tree.map(lambda x: x + 0.3 * noise.normal(size=x.shape).astype(np.float32), params)


def numbers(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("cell", "n_layers"), [(RNN, 1), (LSTM, 2), (GRU, 1)])
def test_packed_sequences_equal_each_one_alone(cell, n_layers):
    """In outputs, final states and every gradient, in both directions, whatever the padding holds."""
    lengths = (2, 5)
    graph, params = rough(lambda rngs: Stack(cell, 3, 4, n_layers, bidirectional=True, rngs=rngs))
    empty = nnx.merge(graph, params).init_state(2, jnp.float32)
    start = jax.tree.map(lambda s: numbers(*s.shape, seed=2), empty)
    counts = packed.counts(jnp.array(lengths), 6)[..., None]
    x, weights = jnp.where(counts, numbers(2, 6, 3), 1e3), numbers(2, 6, 8, seed=3)

    def together(params, x, start):
        return nnx.merge(graph, params)(x, start, jnp.array(lengths))

    def alone(params, x, start):
        ys, states = [], []
        for b, length in enumerate(lengths):
            here = jax.tree.map(lambda s, b=b: s[:, b : b + 1], start)
            y, state = nnx.merge(graph, params)(x[b : b + 1, :length], here)
            ys.append(jnp.pad(y, [(0, 0), (0, 6 - length), (0, 0)]))
            states.append(state)
        return jnp.concatenate(ys), jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *states)

    def loss(function, params, x, start):
        y, state = function(params, x, start)
        return (y * weights).sum() + sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(state)), (y, state)

    step = jax.jit(jax.value_and_grad(loss, argnums=(1, 2, 3), has_aux=True), static_argnums=0)
    assert_close(step(together, params, x, start), step(alone, params, x, start), TOLERANCE)


def test_a_sequence_of_no_length_leaves_the_state_alone():
    graph, params = split(lambda rngs: Stack(LSTM, 3, 4, 1, rngs=rngs))
    start = (numbers(1, 2, 4), numbers(1, 2, 4, seed=1))
    y, (h, c) = jax.jit(lambda x: nnx.merge(graph, params)(x, start, jnp.array([0, 2])))(numbers(2, 5, 3))
    np.testing.assert_array_equal(y[0], 0)
    np.testing.assert_array_equal(h[:, 0], start[0][:, 0])
    np.testing.assert_array_equal(c[:, 0], start[1][:, 0])


def test_reverse_turns_each_sequence_round_its_own_middle():
    x = jnp.arange(10).reshape(2, 5, 1)
    lengths = jnp.array([3, 5])
    np.testing.assert_array_equal(packed.reverse(x, lengths)[..., 0], [[2, 1, 0, 3, 4], [9, 8, 7, 6, 5]])
    np.testing.assert_array_equal(packed.reverse(x, None)[..., 0], [[4, 3, 2, 1, 0], [9, 8, 7, 6, 5]])


def test_forget_bias_is_one_in_every_layer():
    stack = nnx.merge(*split(lambda rngs: Stack(LSTM, 3, 4, 3, rngs=rngs)))
    expected = np.repeat([0, 1, 0, 0], 4)
    np.testing.assert_array_equal(stack.first.w_x.bias[...], expected)
    np.testing.assert_array_equal(stack.rest.w_x.bias[...], np.stack([expected] * 2))


def test_n_to_1_is_the_output_at_the_last_input_that_counts():
    model = nnx.merge(
        *rough(lambda rngs: build("transformer", size="tiny", interface=Interface(12, outputs=5), rngs=rngs))
    )
    tokens, lengths = some_tokens(3, 9), jnp.array([5, 9, 1])

    @jax.jit
    def call(tokens):
        return model(tokens)[0], forms.n_to_1(model, tokens), forms.n_to_1(model, tokens, lengths)

    outputs, last, at_lengths = call(tokens)
    assert_close(last, outputs[:, -1], TOLERANCE)
    assert_close(at_lengths, outputs[np.arange(3), lengths - 1], TOLERANCE)


@pytest.fixture(scope="module")
def pair():
    """An encoder-decoder as the harness gets it, tiny."""
    return nnx.merge(*rough(lambda rngs: build("seq2seq-lstm", size="tiny", interface=Interface(12), rngs=rngs)))


def some_tokens(batch, length, seed=0):
    return jax.random.randint(jax.random.key(seed), (batch, length), 0, 12)


def test_greedy_is_the_arg_max_of_the_sequence_so_far_up_to_the_end(pair):
    source, start = some_tokens(3, 7), jnp.array([1, 2, 3])
    greedy = jax.jit(lambda start, end: forms.greedy(pair, pair.encode(source), start, 6, end))
    free, state = greedy(start, -1)  # no token
    inputs = jnp.concatenate([start[:, None], free[:, :-1]], axis=1)
    np.testing.assert_array_equal(free, jnp.argmax(jax.jit(pair.teach)(source, inputs), axis=-1))
    assert int(state.position) == 6
    end = free[0, 2]
    ended = np.cumsum(np.cumsum(free == end, axis=1), axis=1) > 1
    np.testing.assert_array_equal(greedy(start, end)[0], np.where(ended, end, free))
    begun_with_end, _ = greedy(jnp.full(3, end), -1)
    assert np.any(begun_with_end[:, 0] != end)
    np.testing.assert_array_equal(greedy(jnp.full(3, end), end)[0][:, 0], begun_with_end[:, 0])


def test_free_run_and_impulse_response_are_what_a_loop_gives():
    interface = Interface(features=3, outputs=3)
    make = partial(RecurrentModel, GRU, RecurrentConfig(5, 2), interface=interface)
    model = nnx.merge(*rough(lambda rngs: make(rngs=rngs)))
    first = numbers(2, 3)

    @jax.jit
    def call(first):
        empty = model.init_state(2, 4)
        return forms.free_run(model, empty, first, 4)[0], forms.impulse_response(model, empty, first, 4)[0]

    fed_back, response = call(first)
    run = jax.jit(lambda inputs: model(inputs)[0])
    assert_close(fed_back, run(jnp.concatenate([first[:, None], fed_back[:, :-1]], axis=1)), TOLERANCE)
    assert_close(response, run(jnp.pad(first[:, None], [(0, 0), (0, 3), (0, 0)])), TOLERANCE)


def test_the_targets_may_be_cut_anywhere(pair):
    source, targets = some_tokens(2, 5), some_tokens(2, 9, seed=1)

    @jax.jit
    def pieces():
        state, logits = pair.encode(source), []
        for piece in (targets[:, :1], targets[:, 1:6], targets[:, 6:]):
            y, state = pair(piece, state)
            logits.append(y)
        return jnp.concatenate(logits, axis=1), state.position

    logits, position = pieces()
    assert_close(logits, jax.jit(pair.teach)(source, targets), TOLERANCE)
    assert position == 9


def test_padding_of_the_source_is_not_read(pair):
    source, targets, lengths = some_tokens(3, 9), some_tokens(3, 4, seed=1), jnp.array([5, 9, 1])
    other = jnp.where(packed.counts(lengths, 9), source, 0)
    teach = jax.jit(pair.teach)
    np.testing.assert_array_equal(teach(source, targets, lengths), teach(other, targets, lengths))
    alone = teach(source[:1, :5], targets[:1])
    assert_close(teach(source, targets, lengths)[:1], alone, TOLERANCE)


def test_a_bidirectional_encoder_hands_over_both_ends():
    make = partial(Seq2Seq, LSTM, RecurrentConfig(6, 1, d_embed=4), interface=Interface(12), bidirectional=True)
    model = nnx.merge(*rough(lambda rngs: make(rngs=rngs)))
    source = some_tokens(2, 5)

    @jax.jit
    def call():
        _, (ahead, back) = model.encoder(model.embed_source(source))
        return model.encode(source).layers, ahead, back, model.teach(source, source)

    layers, ahead, back, logits = call()
    for joined, one, other in zip(layers, ahead, back, strict=True):
        np.testing.assert_array_equal(joined, np.concatenate([one, other], axis=-1))
    assert layers[0].shape == (1, 2, 6)
    assert np.all(np.isfinite(logits))


def test_it_learns_to_repeat_a_source():
    """From teacher forcing, and shows it running free; every parameter has its share."""
    graph, params = split(lambda rngs: build("seq2seq-gru", size="tiny", interface=Interface(12), rngs=rngs))
    optimizer = optax.adam(1e-2)
    source = some_tokens(16, 4) % 11 + 1
    inputs = jnp.concatenate([jnp.zeros((16, 1), int), source[:, :-1]], axis=1)

    def loss(params):
        logits = nnx.merge(graph, params).teach(source, inputs)
        return optax.softmax_cross_entropy_with_integer_labels(logits, source).mean()

    @jax.jit
    def train(params):
        def step(carry, _):
            params, state = carry
            value, gradient = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), (value, jax.tree.map(jnp.any, gradient))

        (params, _), (values, felt) = jax.lax.scan(step, (params, optimizer.init(params)), length=100)
        model: Any = nnx.merge(graph, params)
        made, _ = forms.greedy(model, model.encode(source), inputs[:, 0], 4)
        return values, felt, made

    values, felt, made = train(params)
    assert values[0] > 2
    assert values[-1] < 0.3
    assert np.mean(made == source) > 0.8
    assert all(np.all(leaf) for leaf in jax.tree.leaves(felt))


def test_bfloat16_stays_near_float32():
    graph, params = split(lambda rngs: build("seq2seq-lstm", size="tiny", interface=Interface(12), rngs=rngs))

    @partial(jax.jit, static_argnums=1)
    def call(params, dtype):
        model: Any = nnx.merge(graph, jax.tree.map(lambda x: x.astype(dtype), params))
        state = model.encode(some_tokens(2, 9), jnp.array([9, 4]))
        return model(some_tokens(2, 5, seed=1), state)

    logits, state = call(params, "bfloat16")
    assert {x.dtype for x in jax.tree.leaves(state.layers)} == {jnp.dtype("bfloat16")}
    assert_close(logits.astype(jnp.float32), call(params, "float32")[0], 0.05)  # 8 bits of mantissa


def test_bad_arguments_are_refused():
    tokens, features, good = Interface(12), Interface(features=3, outputs=2), RecurrentConfig(4, 1, d_embed=4)

    def make(kind, interface, config=good, **others) -> Any:
        return nnx.merge(*split(lambda rngs: kind(RNN, config, interface=interface, **others, rngs=rngs)))

    for interface, config, message in (
        (tokens, replace(good, n_layers=0), "n_layers must be at least 1, got 0"),
        (tokens, replace(good, d_embed=0), "got d_embed=0"),
        (features, replace(good, tied=True), "features=3"),
    ):
        with pytest.raises(ValueError, match=message):
            make(Seq2Seq, interface, config)
    with pytest.raises(ValueError, match="even d_model, got 5"):
        make(Seq2Seq, tokens, replace(good, d_model=5), bidirectional=True)
    with pytest.raises(ValueError, match=r"shape \(2,\), got \(3,\)"):
        make(Seq2Seq, tokens).encode(some_tokens(2, 3), jnp.array([1, 2, 3]))
    model = make(RecurrentModel, features)
    with pytest.raises(ValueError, match="width, 3, got 2"):
        forms.free_run(model, model.init_state(1, 2), numbers(1, 3), 2)
