"""The four forms of input and output, of any SequenceModel: N to N, N to 1, 1 to N, N to M.

    N to N   model(inputs)                                   every position's output: the model itself
    N to 1   n_to_1(model, inputs, lengths)                  the output at the last input
    1 to N   greedy(model, state, start, n)                  tokens: each output's arg max is the next input
             free_run(model, state, start, n)                features: each output is the next input
             impulse_response(model, state, start, n)        features: zeros after the first input
    N to M   model.teach(source, targets, lengths)           an EncoderDecoder, given the targets (teacher forcing)
             greedy(model, model.encode(source), start, n)   the same, running free

What runs free is a `lax.scan` over the state, which may be an empty one (`model.init_state(B, capacity)`), that of a
prompt, or that of a source; its capacity must hold n steps more. Axes: see models/base.py; M steps made.
"""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float, Int

from lengthscale.models.base import Inputs, SequenceModel, State


def n_to_1(model: SequenceModel, inputs: Inputs, lengths: Int[Array, " B"] | None = None) -> Float[Array, "B V"]:
    """The output at each sequence's last input that counts (lengths: how many do, at least 1; None: all).

    A causal model cannot feel the padding behind it.
    """
    x, _ = model.features(inputs)
    if lengths is None:
        return model.logits(x[:, -1])
    return model.logits(jnp.take_along_axis(x, (lengths - 1)[:, None, None], axis=1)[:, 0])


def greedy(
    model: SequenceModel, state: State, start: Int[Array, " B"], n: int, end: int | None = None
) -> tuple[Int[Array, "B M"], State]:
    """n tokens after `start`, each the most likely next one, and the state, which has seen all but the last.

    A sequence that has made the token `end` makes nothing else from there on; `start` may be that token.
    """

    def step(carry, _):
        token, ended, state = carry
        logits, after = model(token[:, None], state)
        assert after is not None
        token = jnp.argmax(logits[:, 0], axis=-1).astype(token.dtype)
        if end is not None:
            token = jnp.where(ended, end, token)
            ended |= token == end
        return (token, ended, after), token

    (_, _, state), tokens = lax.scan(step, (start, jnp.zeros(start.shape, bool), state), length=n)
    return tokens.T, state


def free_run(
    model: SequenceModel, state: State, start: Float[Array, "B F"], n: int
) -> tuple[Float[Array, "B M F"], State]:
    """n outputs, the first one to `start`, each other to the output before it; as many outputs as features."""

    def step(carry, _):
        x, state = carry
        outputs, after = model(x[:, None], state)
        assert after is not None
        if outputs.shape[2] != x.shape[1]:
            raise ValueError(f"outputs fed back need the inputs' width, {x.shape[1]}, got {outputs.shape[2]}")
        x = outputs[:, 0].astype(x.dtype)
        return (x, after), x

    (_, state), outputs = lax.scan(step, (start, state), length=n)
    return outputs.swapaxes(0, 1), state


def impulse_response(
    model: SequenceModel, state: State, start: Float[Array, "B F"], n: int
) -> tuple[Float[Array, "B M V"], State]:
    """n outputs to `start` and then zeros."""
    inputs = jnp.zeros((start.shape[0], n, start.shape[1]), start.dtype).at[:, 0].set(start)
    outputs, after = model(inputs, state)
    assert after is not None
    return outputs, after
