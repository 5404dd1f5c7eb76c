"""Rematerialisation changes memory and FLOPs, and no value; outputs of a large vocabulary are never whole."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lengthscale.bench.device import memory
from lengthscale.bench.device.flops import flops_of
from lengthscale.models import Interface, Size, build, streaming
from lengthscale.models.remat import REMATS, group_size, scan_blocks
from tests.helpers.compare import assert_close

DEEP = Size(16, 6, 2_000, head_size=8)  # 6 layers: groups of 2 or 3 blocks
TOLERANCE = 1e-5  # float32, of six layers
BLOCKS = ("rnn", "lstm", "transformer", "transformer++", "s4d", "mamba", "rwkv4")
WORDS = Interface(vocab=11)
IMAGES = Interface(features=3, outputs=5, side=16)


def split(name, size: Any = DEEP, interface=WORDS) -> Any:
    return nnx.split(build(name, size=size, interface=interface, rngs=nnx.Rngs(0)))


def loss_of(graph, remat, tokens):
    def loss(params):
        model = nnx.merge(graph, params)
        model.remat = remat
        return streaming.loss(model, tokens[:, :-1], tokens[:, 1:])

    return loss


def tokens_of(length, vocab=11) -> Any:
    return np.random.default_rng(0).integers(0, vocab, (2, length + 1), np.int32)


def slow_but(*quick):
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in BLOCKS]


@pytest.mark.parametrize("name", slow_but("mamba"))
def test_no_value_and_no_gradient_changes(name):
    graph, params = split(name)
    results = [jax.jit(jax.value_and_grad(loss_of(graph, remat, tokens_of(24))))(params) for remat in REMATS]
    for result in results[1:]:
        assert_close(result, results[0], TOLERANCE)


@pytest.mark.slow
def test_of_images_and_of_pairs_either():
    graph, params = split("vit", interface=IMAGES)
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    results = []
    for remat in REMATS:

        def total(params, remat=remat):
            model: Any = nnx.merge(graph, params)
            model.remat = remat
            return jnp.square(model(images)).sum()

        results.append(jax.jit(jax.value_and_grad(total))(params))
    graph, params = split("transformer-encdec")
    source, targets = tokens_of(11), tokens_of(8)
    pairs = []
    for remat in REMATS:

        def of_pair(params, remat=remat):
            model: Any = nnx.merge(graph, params)
            model.remat = remat
            return jnp.square(model.teach(source, targets)).mean()

        pairs.append(jax.jit(jax.value_and_grad(of_pair))(params))
    for found in (results, pairs):
        for result in found[1:]:
            assert_close(result, found[0], TOLERANCE)


def gradients(name):
    """The gradient of a model of 12 layers, traced with each rematerialisation."""
    graph, params = split(name, Size(64, 12, 40_000, head_size=16))
    return [jax.jit(jax.value_and_grad(loss_of(graph, remat, tokens_of(512)))).trace(params) for remat in REMATS]


@pytest.mark.parametrize("name", BLOCKS)
def test_it_costs_a_third_of_the_flops_at_most(name):
    none, block, full = (flops_of(program.jaxpr) or 0 for program in gradients(name))
    assert 1.05 < block / none < (4 / 3 if name in ("rnn", "lstm") else 1.3)
    assert 1.3 < full / none < 5 / 3


@pytest.mark.parametrize("name", slow_but("transformer"))
def test_it_saves_memory(name):
    none, block, full = (memory.planned_bytes(each.lower().compile()) or 0 for each in gradients(name))
    assert block < none / 3
    assert full <= 1.05 * block  # of 12 or 24 blocks the inputs are little beside one block's arrays


def test_groups_keep_as_little_as_they_can():
    assert [group_size(n) for n in (1, 2, 4, 6, 7, 12, 24, 36)] == [1, 1, 2, 2, 1, 3, 4, 6]


def test_an_unknown_one_is_refused():
    with pytest.raises(ValueError, match="unknown remat 'blocks'; expected none, block, full"):
        scan_blocks("blocks", lambda x, _: (x, None), 1.0, jnp.zeros(2))


@pytest.mark.parametrize("name", ["transformer", "rnn-plain"])
@pytest.mark.parametrize("weighted", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_loss_in_pieces_is_the_whole_loss(name, weighted, monkeypatch):
    """37 tokens of 2 sequences in 11 pieces of 7, of which the last one is padded."""
    graph, params = split(name, "tiny", Interface(vocab=50))
    tokens = tokens_of(37, vocab=50)
    weights: Any = np.random.default_rng(1).random((2, 37), np.float32) if weighted else None

    def loss(params):
        return 3.0 * streaming.loss(nnx.merge(graph, params), tokens[:, :-1], tokens[:, 1:], weights)

    whole = jax.jit(jax.value_and_grad(loss))(params)
    monkeypatch.setattr(streaming, "OUTPUTS_AT_ONCE", 50 * 7)
    in_pieces = jax.jit(jax.value_and_grad(lambda params: loss(params)))(params)
    assert_close(in_pieces, whole, TOLERANCE)
    assert_close(jax.jit(lambda params: loss(params))(params), whole[0], TOLERANCE)


def test_outputs_of_a_large_vocabulary_are_never_whole():
    vocab, length = 50_257, 8_192
    graph, params = split("mamba", Size(16, 1, 2_000), Interface(vocab=vocab))
    tokens = jax.ShapeDtypeStruct((1, length + 1), jnp.int32)
    step = jax.jit(lambda params, tokens: jax.value_and_grad(partial(loss_of, graph, "none")(tokens))(params))
    traced = step.trace(params, tokens)
    outputs = 4 * length * vocab
    assert (memory.planned_bytes(traced.lower().compile()) or 0) < outputs
    products = 2 * length * vocab * 16  # the head's, of which there are three: nothing is computed again
    assert (flops_of(traced.jaxpr) or 0) < 3 * products + 20 * length * vocab
