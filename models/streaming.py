"""One long sequence in chunks, the state carried by a `lax.scan`: equal to the whole in value and gradient.

With `jax.checkpoint` round a chunk, training holds the activations of one chunk and the states between chunks. A cache
carries no gradient, so attention trains whole; its cost in memory is linear anyway. Axes: see models/base.py.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Float, Int

from lengthscale.models.base import Inputs, SequenceModel, State


def cross_entropy(logits: Float[Array, "... V"], targets: Int[Array, "..."]) -> Float[Array, "..."]:
    """In nats, in float32 at least."""
    logits = logits.astype(jnp.promote_types(logits.dtype, "float32"))
    return optax.softmax_cross_entropy_with_integer_labels(logits, targets)


def squared_error(outputs: Float[Array, "... 1"], targets: Float[Array, "..."]) -> Float[Array, "..."]:
    """Of the one number that the model gives, in float32 at least."""
    return jnp.square(outputs[..., 0].astype(jnp.promote_types(outputs.dtype, "float32")) - targets)


def prefill(
    model: SequenceModel, inputs: Inputs, *, capacity: int, chunk: int = 0
) -> tuple[Float[Array, "B V"], State]:
    """The last position's outputs and the state after it, in chunks of at most `chunk` positions (0: whole)."""
    if not chunk:
        return model.prefill(inputs, capacity)
    pieces = _pieces(inputs, chunk)

    def body(state: State, piece):
        x, after = model.features(piece, state)
        assert after is not None
        return after, x[:, -1]

    state, x = lax.scan(body, model.init_state(inputs.shape[0], capacity), pieces)
    return model.logits(x[-1]), state


def loss(
    model: SequenceModel,
    inputs: Inputs,
    targets: Array,
    weights: Float[Array, "B T"] | None = None,
    *,
    error: Callable[[Array, Array], Array] = cross_entropy,
    chunk: int = 0,
) -> Float[Array, ""]:
    """Mean error of the scored positions, in chunks of at most `chunk` positions (0: whole).

    A sequence that is shorter than `chunk` is one chunk, whose gradient recomputes it, as that of a longer one does.
    targets: (B, T), as `error` takes them. weights: how much each position counts (None: all the same).
    """
    weights = jnp.ones(targets.shape, jnp.float32) if weights is None else weights
    if not chunk:
        return (error(model(inputs)[0], targets) * weights).sum() / weights.sum()

    @jax.checkpoint
    def body(state, piece):
        inputs, targets, weights = piece
        outputs, state = model(inputs, state)
        return state, (error(outputs, targets) * weights).sum()

    state = model.init_state(inputs.shape[0], 0)
    _, sums = lax.scan(body, state, tuple(_pieces(x, chunk) for x in (inputs, targets, weights)))
    return sums.sum() / weights.sum()


def score(
    model: SequenceModel,
    inputs: Inputs,
    targets: Array,
    weights: Float[Array, "B T"],
    *,
    error: Callable[[Array, Array], Array] = cross_entropy,
    chunk: int,
) -> Float[Array, "3 B"]:
    """Each sequence's sums of weighted errors, of weights where the largest output is the target, and of weights.

    In chunks of `chunk` positions and a shorter last one; no gradient is meant to pass.
    """

    def body(carry, piece):
        state, sums = carry
        inputs, targets, weights = piece
        outputs, state = model(inputs, state)
        right = outputs.argmax(-1) == targets
        new = jnp.stack([(x * weights).sum(1) for x in (error(outputs, targets), right, jnp.ones_like(weights))])
        return (state, sums + new), None

    length = inputs.shape[1]
    whole = length - length % chunk
    carry = model.init_state(inputs.shape[0], length), jnp.zeros((3, inputs.shape[0]), weights.dtype)
    if whole:
        carry, _ = lax.scan(body, carry, tuple(_pieces(x[:, :whole], chunk) for x in (inputs, targets, weights)))
    if whole < length:
        carry, _ = body(carry, tuple(x[:, whole:] for x in (inputs, targets, weights)))
    return carry[1]


def _pieces(x, chunk):
    batch, length = x.shape[:2]
    chunk = min(chunk, length)
    if length % chunk:
        raise ValueError(f"chunk must divide length, got chunk={chunk}, length={length}")
    return x.reshape(batch, length // chunk, chunk, *x.shape[2:]).swapaxes(0, 1)
