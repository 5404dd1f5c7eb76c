"""One long sequence in chunks, the state carried by a `lax.scan`: equal to the whole in value and gradient.

With `jax.checkpoint` round a chunk, training holds the activations of one chunk and the states between chunks. A cache
carries no gradient, so attention trains whole; its cost in memory is linear anyway. Axes: see models/base.py.
"""

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Float, Int

from models.base import SequenceModel, State


def prefill(
    model: SequenceModel, tokens: Int[Array, "B T"], *, capacity: int, chunk: int = 0
) -> tuple[Float[Array, "B V"], State]:
    """The last token's logits and the state after it, in chunks of `chunk` tokens (0: whole)."""
    if not chunk or chunk >= tokens.shape[1]:
        return model.prefill(tokens, capacity)
    pieces = _pieces(tokens, chunk)

    def body(state: State, piece):
        x, after = model.features(piece, state)
        assert after is not None
        return after, x[:, -1]

    state, x = lax.scan(body, model.init_state(tokens.shape[0], capacity), pieces)
    return model.logits(x[-1]), state


def loss(
    model: SequenceModel, tokens: Int[Array, "B T"], targets: Int[Array, "B T"], *, chunk: int = 0
) -> Float[Array, ""]:
    """Mean cross-entropy in nats a token, in chunks of `chunk` tokens (0: whole)."""
    if not chunk or chunk >= tokens.shape[1]:
        return _cross_entropy(model(tokens)[0], targets).mean()

    @jax.checkpoint
    def body(state, piece):
        logits, state = model(piece[0], state)
        return state, _cross_entropy(logits, piece[1]).sum()

    state = model.init_state(tokens.shape[0], 0)
    _, sums = lax.scan(body, state, (_pieces(tokens, chunk), _pieces(targets, chunk)))
    return sums.sum() / tokens.size


def _cross_entropy(logits, targets):
    return optax.softmax_cross_entropy_with_integer_labels(
        logits.astype(jnp.promote_types(logits.dtype, "float32")), targets
    )


def _pieces(tokens, chunk):
    batch, length = tokens.shape
    if length % chunk:
        raise ValueError(f"chunk must divide length, got chunk={chunk}, length={length}")
    return tokens.reshape(batch, length // chunk, chunk).swapaxes(0, 1)
