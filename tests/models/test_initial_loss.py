"""Before training every model says that all tokens, or classes, are about equally likely."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from lengthscale.bench.data.streams import text, windows
from lengthscale.models import MODELS, SIZES, Interface, build, streaming
from lengthscale.models.names import every_model, spec_of

LENGTH = 48


@partial(jax.jit, static_argnums=(0, 1))
def initial_loss(name, size, key):
    """Nats a target, on text, in which a token is often followed by itself or by its like."""
    if spec_of(name).kind == "images":
        images = jax.random.uniform(key, (10, 16, 16, 3), minval=-1)
        interface = Interface(features=3, outputs=10, side=16)
        model: Any = build(name, size=size, interface=interface, rngs=nnx.Rngs(key))
        return streaming.cross_entropy(model(images, train=True), jnp.arange(10)).mean()
    model: Any = build(name, size=size, rngs=nnx.Rngs(key))
    tokens = jnp.asarray(windows(text().held_out, 4, LENGTH + 1))
    if spec_of(name).kind == "pairs":
        half = LENGTH // 2
        return streaming.cross_entropy(model.teach(tokens[:, :half], tokens[:, half - 1 : -1]), tokens[:, half:]).mean()
    return streaming.loss(model, tokens[:, :-1], tokens[:, 1:])


@pytest.mark.parametrize("name", every_model())
@pytest.mark.parametrize(
    "size", [size if size == "tiny" else pytest.param(size, marks=pytest.mark.slow) for size in SIZES]
)
def test_the_initial_loss_is_that_of_a_guess(name, size):
    classes = 10 if MODELS[name.partition(":")[0]].kind == "images" else 256
    seeds = 4 if classes == 10 else 2 if size == "tiny" else 1  # ten logits, nearly the same for all images, scatter
    found = [float(initial_loss(name, size, jax.random.key(seed))) for seed in range(seeds)]
    assert np.mean(found) == pytest.approx(math.log(classes), abs=0.2)
