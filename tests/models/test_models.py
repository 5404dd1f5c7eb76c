"""The contract, over every model: streaming, causality, states, gradients, learning."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lengthscale.models import MODELS, SIZES, Interface, build, every_model, spec_of, streaming
from lengthscale.models.one_row import Transposed, laid_out_for_one_row
from lengthscale.models.ops.platform import lowering_for
from tests.helpers.compare import assert_close
from tests.models.test_budget import matched_params

VOCAB, BATCH, LENGTH = 256, 2, 37
NAMES = [name for name, spec in MODELS.items() if spec.kind == "sequence" and not spec.variant_of]
# gru and lstm run rnn's scan, the window runs transformer++'s attention: some of theirs are slow tests.
ALIKE = ("gru", "lstm", "transformer-window")
SOME = [pytest.param(name, marks=pytest.mark.slow if name in ALIKE else ()) for name in NAMES]
# tiny models in float32: a few hundred roundings of numbers near 1
TOLERANCE = 1e-5


def split_model(name, method="auto"):
    """(graph, parameters) of a tiny model."""

    def make(key):
        return build(name, size="tiny", interface=Interface(VOCAB), method=method, rngs=nnx.Rngs(key))

    graph, _ = nnx.split(nnx.eval_shape(make, jax.random.key(0)))
    return graph, jax.jit(lambda key: nnx.state(make(key)))(jax.random.key(0))


@pytest.fixture(scope="module", params=NAMES)
def named(request):
    """(name, model), a tiny one, its parameters pushed away from the small numbers of initialisation."""
    graph, params = split_model(request.param)
    noise = np.random.default_rng(1)
    params = jax.tree.map(lambda x: x + 0.1 * noise.normal(size=x.shape).astype(np.float32), params)
    return request.param, nnx.merge(graph, params)


@pytest.fixture(scope="module")
def model(named):
    return named[1]


@pytest.fixture(scope="module")
def run(model):
    """model(tokens, state), compiled once for each length."""
    graph, params = nnx.split(model)
    compiled = jax.jit(lambda tokens, state: nnx.merge(graph, params)(tokens, state))
    return lambda tokens, state=None: compiled(tokens, state)


def some_tokens(batch=BATCH, length=LENGTH, seed=0):
    return jax.random.randint(jax.random.key(seed), (batch, length), 0, VOCAB)


@pytest.mark.parametrize(
    "cuts", [(12, 13, 25), *(pytest.param(c, marks=pytest.mark.slow) for c in [(1,), (36,), (13, 14), (5, 6, 20)])]
)
def test_any_split_gives_the_same_logits_and_state(model, run, cuts):
    tokens = some_tokens()
    whole, state = run(tokens, model.init_state(BATCH, 64))
    pieces, split_state = [], model.init_state(BATCH, 64)
    for piece in jnp.split(tokens, cuts, axis=1):
        logits, split_state = run(piece, split_state)
        pieces.append(logits)
    assert_close(jnp.concatenate(pieces, axis=1), whole, TOLERANCE)
    assert_close(split_state, state, TOLERANCE)


def test_without_a_state_the_logits_are_the_same(model, run):
    tokens = some_tokens()
    assert_close(run(tokens)[0], run(tokens, model.init_state(BATCH, LENGTH))[0], TOLERANCE)


def test_laid_out_for_single_tokens_on_cuda_it_is_the_same_model(named, run):
    """Blocks one by one, with a cache too, matrices stored transposed, and norms joined to products."""
    name, model = named
    tokens = some_tokens(length=1)
    _, state = run(some_tokens(), model.init_state(BATCH, 64))
    with lowering_for("cuda"):
        laid_out = laid_out_for_one_row(model.apart())
    assert isinstance(laid_out.blocks, nnx.List), name
    stored = [x.get_raw_value().shape for _, x in nnx.iter_graph(laid_out) if isinstance(x, Transposed)]
    read = [x.get_value().shape for _, x in nnx.iter_graph(laid_out) if isinstance(x, Transposed)]
    assert len(stored) >= 4, name
    assert stored == [(*rest, outputs, inputs) for *rest, inputs, outputs in read]
    graph, params = nnx.split(laid_out)
    logits, after = jax.jit(lambda params, *inputs: nnx.merge(graph, params)(*inputs))(params, tokens, state)
    assert_close((logits, after), run(tokens, state), TOLERANCE)


@pytest.mark.parametrize("length", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_one_row_on_cuda_is_the_same_model(named, run, length, monkeypatch):
    """By the kernels of one row, interpreted: where norms are joined to products, and where they are not."""
    name, model = named
    tokens, state = some_tokens(batch=1, length=length), model.init_state(1, 64)
    with lowering_for("cuda"):
        laid_out = laid_out_for_one_row(model.apart())
    graph, params = nnx.split(laid_out)
    step = jax.jit(lambda params, *inputs: nnx.merge(graph, params)(*inputs))
    with lowering_for("cuda"):
        jax.make_jaxpr(step)(params, tokens, state)
    monkeypatch.setattr("lengthscale.models.one_row.platform", lambda: "cuda")
    joined = "name=row_product" in str(jax.make_jaxpr(step)(params, tokens, state))
    assert joined == (length == 1 and name != "rwkv4"), name
    assert_close(step(params, tokens, state), run(tokens, state), TOLERANCE)


def test_prefill_is_the_call_on_an_empty_state(model, run):
    tokens = some_tokens()
    logits, state = run(tokens, model.init_state(BATCH, 64))
    graph, params = nnx.split(model)
    last, prefilled = jax.jit(lambda p, x: nnx.merge(graph, p).prefill(x, 64))(params, tokens)
    assert_close(last, logits[:, -1], TOLERANCE)
    assert_close(prefilled, state, TOLERANCE)


def test_causality(named, run):
    leak = TOLERANCE if named[0] == "s4d" else 0  # an FFT rounds all tokens together
    tokens = some_tokens()
    at = LENGTH // 2
    changed = tokens.at[:, at].add(1) % VOCAB
    before, after = np.asarray(run(tokens)[0]), np.asarray(run(changed)[0])
    change = np.abs(before - after).max(axis=-1)
    assert np.all(change[:, :at] <= leak)
    assert np.all(change[:, at:] > leak), "a token must be felt at every later position"


def test_state_keeps_shapes_and_dtypes(model, run):
    state = model.init_state(BATCH, 64)
    _, after = run(some_tokens(length=3), state)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


def test_state_size_against_capacity(named):
    name, model = named
    small, large = (
        sum(x.size for x in jax.tree.leaves(model.init_state(1, capacity).layers)) for capacity in (64, 128)
    )
    bounded = MODELS[name].streams or name == "transformer-window"  # whose ring is of 32 tokens at this size
    assert large == (small if bounded else 2 * small)


def test_gradients_are_finite_and_reach_every_parameter(model):
    graph, params = nnx.split(model)
    tokens = some_tokens()

    def loss(params):
        return streaming.loss(nnx.merge(graph, params), tokens[:, :-1], tokens[:, 1:])

    for path, gradient in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(params)):
        gradient = np.asarray(gradient)
        assert np.all(np.isfinite(gradient)), path
        assert np.any(gradient != 0), path


@pytest.mark.parametrize("named", SOME, indirect=True)
@pytest.mark.parametrize("chunk", [12, pytest.param(4, marks=pytest.mark.slow)])
def test_chunks_equal_the_whole_in_value_and_gradient(named, chunk):
    name, model = named
    tokens = some_tokens()
    if MODELS[name].streams:
        graph, params = nnx.split(model)

        def loss(params, chunk):
            return streaming.loss(nnx.merge(graph, params), tokens[:, :-1], tokens[:, 1:], chunk=chunk)

        step = jax.jit(jax.value_and_grad(loss), static_argnums=1)
        assert_close(step(params, chunk), step(params, 0), TOLERANCE)
    graph, params = nnx.split(model)

    @partial(jax.jit, static_argnums=1)
    def prefill(params, chunk):
        return streaming.prefill(nnx.merge(graph, params), tokens[:, :36], capacity=36, chunk=chunk)

    assert_close(prefill(params, chunk), prefill(params, 0), TOLERANCE)


def test_a_chunk_that_does_not_divide_the_length_is_refused(model):
    with pytest.raises(ValueError, match="chunk=10, length=36"):
        streaming.prefill(model, some_tokens(length=36), capacity=36, chunk=10)


def test_loss_falls_on_one_batch_without_recompiling(model):
    graph, params = nnx.split(model)
    tokens = some_tokens(batch=4, length=33)
    optimizer = optax.adam(1e-2)
    traces = 0

    @jax.jit
    def step(params, state):
        nonlocal traces
        traces += 1
        value, gradient = jax.value_and_grad(
            lambda p: streaming.loss(nnx.merge(graph, p), tokens[:, :-1], tokens[:, 1:])
        )(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    state, losses = optimizer.init(params), []
    for _ in range(20):
        params, state, value = step(params, state)
        losses.append(float(value))
    assert losses[-1] < 0.8 * losses[0]
    assert traces == 1


def test_decoding_does_not_recompile(model):
    graph, params = nnx.split(model)
    traces = 0

    @jax.jit
    def step(tokens, state):
        nonlocal traces
        traces += 1
        return nnx.merge(graph, params)(tokens, state)

    state = model.init_state(1, 8)
    for t in range(4):
        _, state = step(some_tokens(1, 1, seed=t), state)
    assert traces == 1
    assert int(state.position) == 4


@pytest.mark.parametrize("size", [size for size in SIZES if size not in ("130m", "370m")])  # test_budget has all
def test_parameters_are_matched_within_5_percent(size):
    counts = {
        name: matched_params(nnx.eval_shape(lambda name=name: build(name, size=size, rngs=nnx.Rngs(0))))
        for name in every_model()
        if spec_of(name).kind != "images"  # whose embeddings are others; see tests/models/test_images.py
    }
    assert max(counts.values()) <= 1.05 * min(counts.values()), counts


@pytest.mark.parametrize("name", SOME)
def test_bfloat16_runs_and_stays_near_float32(name):
    graph, params = split_model(name)

    @partial(jax.jit, static_argnums=1)
    def call(params, dtype):
        model = nnx.merge(graph, jax.tree.map(lambda x: x.astype(dtype), params))
        state = model.init_state(BATCH, LENGTH)
        return (state, *model(some_tokens(), state))

    empty, logits, state = call(params, "bfloat16")
    assert logits.dtype == jnp.bfloat16
    assert jax.tree.map(lambda x: x.dtype, state) == jax.tree.map(lambda x: x.dtype, empty)
    assert_close(logits.astype(jnp.float32), call(params, "float32")[1], 0.06)  # bfloat16 has 8 bits of mantissa


@pytest.mark.slow
def test_mambas_methods_agree():
    def logits(method):
        graph, params = split_model("mamba", method)
        return jax.jit(lambda p: nnx.merge(graph, p)(some_tokens())[0])(params)

    expected = logits("auto")
    for method in MODELS["mamba"].methods:
        if method != "auto":
            assert_close(logits(method), expected, TOLERANCE)


def test_unknown_names_come_with_the_closest():
    for wrong, message in (
        ({"name": "mambo"}, "did you mean 'mamba'"),
        ({"name": "mamba", "size": "tinny"}, "did you mean 'tiny'"),
        ({"name": "mamba", "method": "chunky"}, "did you mean 'chunked'"),
        ({"name": "lstm", "method": "associative"}, "unknown method of lstm"),
    ):
        with pytest.raises(ValueError, match=message):
            build(wrong["name"], size=wrong.get("size", "tiny"), method=wrong.get("method", "auto"), rngs=nnx.Rngs(0))


def test_a_cache_that_cannot_hold_the_tokens_is_refused():
    model = build("transformer", size="tiny", rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="capacity=8, 9 tokens"):
        model(some_tokens(length=9), model.init_state(BATCH, 8))
    with pytest.raises(ValueError, match="capacity=8, 9 tokens"):
        model.prefill(some_tokens(length=9), 8)


def test_models_is_importable_without_jax():
    subprocess.run([sys.executable, "-c", "import models, sys; sys.exit('jax' in sys.modules)"], check=True)
