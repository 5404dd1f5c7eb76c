"""The loss of a model before training. As a program, `python -m tests.helpers.initial_loss SIZE`, that of every model.

The program is for large models: the tests themselves run without the compiler's optimisations, and to draw 90 M
parameters takes minutes there.
"""

import json
import os
import subprocess
import sys
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from lengthscale.bench.data.streams import text, windows
from lengthscale.models import SIZES, Interface, build, streaming
from lengthscale.models.names import every_model, spec_of

LENGTH = 48
IMAGE_CLASSES = 10


@partial(jax.jit, static_argnums=(0, 1))
def initial_loss(name, size, key):
    """Nats a target, on text, in which a token is often followed by itself or by its like."""
    if spec_of(name).kind == "images":
        images = jax.random.uniform(key, (10, 16, 16, 3), minval=-1)
        interface = Interface(features=3, outputs=IMAGE_CLASSES, side=16)
        model: Any = build(name, size=size, interface=interface, rngs=nnx.Rngs(key))
        return streaming.cross_entropy(model(images, train=True), jnp.arange(10)).mean()
    model: Any = build(name, size=size, interface=Interface(positions=LENGTH), rngs=nnx.Rngs(key))
    tokens = jnp.asarray(windows(text().held_out, 4, LENGTH + 1))
    if spec_of(name).kind == "pairs":
        half = LENGTH // 2
        return streaming.cross_entropy(model.teach(tokens[:, :half], tokens[:, half - 1 : -1]), tokens[:, half:]).mean()
    return streaming.loss(model, tokens[:, :-1], tokens[:, 1:])


def losses_of(name, size):
    """The losses of some seeds; more for images, as ten logits, nearly the same for all images, scatter."""
    seeds = 4 if spec_of(name).kind == "images" else 2 if size == "tiny" else 1
    return [float(initial_loss(name, size, jax.random.key(seed))) for seed in range(seeds)]


def models_of(size):
    """The models that have this size."""
    return [name for name in every_model() if size in SIZES or spec_of(name).state_by_width]


@cache
def optimised(size):
    """{model: losses} of every model of a size, from a process with the compiler's optimisations."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-m", "tests.helpers.initial_loss", size]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout)


if __name__ == "__main__":
    print(json.dumps({name: losses_of(name, sys.argv[1]) for name in models_of(sys.argv[1])}))
