"""One long sequence in chunks, the state carried by a `lax.scan`: equal to the whole in value and gradient.

With `jax.checkpoint` round a chunk, training holds the activations of one chunk and the states between chunks. A cache
carries no gradient, so attention trains whole; its cost in memory is linear anyway. The outputs of a large vocabulary
are never whole: 64k tokens of 50,257 would take 13 GB in float32. Axes: see models/base.py.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Float, Int

from lengthscale.models.base import Inputs, SequenceModel, State

OUTPUTS_AT_ONCE = 1 << 26  # numbers: 268 MB in float32


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
        x, _ = model.features(inputs)
        return _total(model, error, x, targets, weights) / weights.sum()

    @jax.checkpoint
    def body(state, piece):
        inputs, targets, weights = piece
        x, state = model.features(inputs, state)
        return state, _total(model, error, x, targets, weights)

    state = model.init_state(inputs.shape[0], 0)
    _, sums = lax.scan(body, state, tuple(_pieces(x, chunk) for x in (inputs, targets, weights)))
    return sums.sum() / weights.sum()


def _total(model: SequenceModel, error: Callable, x, targets, weights) -> Array:
    """The weighted sum of errors of features x (B, T, D); in pieces of positions where the outputs would be large."""

    def of_piece(x, targets, weights):
        return (error(model.logits(x), targets) * weights).sum()

    width = jax.eval_shape(model.logits, x).shape[-1]
    n_pieces = -(-targets.size * width // OUTPUTS_AT_ONCE)
    if n_pieces == 1:
        return of_piece(x, targets, weights)
    size = -(-targets.size // n_pieces)
    flat = (x.reshape(-1, x.shape[-1]), targets.reshape(-1), weights.reshape(-1))
    missing = n_pieces * size - targets.size  # positions without weight
    pieces = tuple(
        jnp.pad(each, [(0, missing)] + [(0, 0)] * (each.ndim - 1)).reshape(n_pieces, size, *each.shape[1:])
        for each in flat
    )
    pure, parameters = jax.closure_convert(of_piece, *(each[0] for each in pieces))
    return _sum_of_pieces(pure, parameters, *pieces)  # pyright: ignore[reportReturnType] of custom_vjp


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sum_of_pieces(function, parameters, x, targets, weights):
    """The sum of function(x_i, targets_i, weights_i, *parameters) over pieces i.

    With a gradient, that of each piece is computed right after its value, while its outputs are there: they are never
    kept, nor computed again.
    """

    def add(total, piece):
        return total + function(*piece, *parameters), None

    return lax.scan(add, jnp.zeros((), weights.dtype), (x, targets, weights))[0]


def _sum_of_pieces_fwd(function, parameters, x, targets, weights):
    def add(carry, piece):
        total, sums = carry
        x, targets, weights = piece
        value, (dx, dparameters) = jax.value_and_grad(
            lambda x, parameters: function(x, targets, weights, *parameters), argnums=(0, 1)
        )(x, parameters)
        return (total + value, jax.tree.map(jnp.add, sums, dparameters)), dx

    wide = [jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32)) for p in parameters]
    start = (jnp.zeros((), weights.dtype), wide)
    (total, sums), dx = lax.scan(add, start, (x, targets, weights))
    return total, (dx, [each.astype(p.dtype) for each, p in zip(sums, parameters, strict=True)])


def _sum_of_pieces_bwd(function, residuals, d):
    dx, dparameters = jax.tree.map(lambda g: g * d.astype(g.dtype), residuals)
    return dparameters, dx, None, None


_sum_of_pieces.defvjp(_sum_of_pieces_fwd, _sum_of_pieces_bwd)


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
