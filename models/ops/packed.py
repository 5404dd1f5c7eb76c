"""Sequences of unequal length in one batch: each counts up to its own length, the rest is padding (torch's "packed").

A recurrence runs over the padding too, which changes neither its outputs up to the length nor their gradients. The rest
is done here: outputs past the length are zero, the final state is the one at the last step that counts, and the reverse
direction starts there. Axes: B batch, T time, D width.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Shaped

_HELD = 1e30  # sigmoid of it is exactly 1, of its negative exactly 0, and so are their gradients


def counts(lengths: Int[Array, " B"], length: int) -> Bool[Array, "B T"]:
    """Whether each of `length` steps lies within its sequence's own length."""
    return jnp.arange(length) < lengths[:, None]


def finish(
    h: Float[Array, "B T D"], h0: Float[Array, "B D"], lengths: Int[Array, " B"] | None
) -> tuple[Float[Array, "B T D"], Float[Array, "B D"]]:
    """The outputs, zero past each sequence's length, and its last one that counts.

    h: the outputs of all steps. h0: the state before the first step, which is the last one where a length is 0.
    lengths: how many steps of each sequence count (None: all).
    """
    if lengths is None:
        return h, h[:, -1]
    last = jnp.take_along_axis(h, jnp.maximum(lengths - 1, 0)[:, None, None], axis=1)[:, 0]
    return jnp.where(counts(lengths, h.shape[1])[..., None], h, 0), jnp.where(lengths[:, None] > 0, last, h0)


def hold_cell(xg: Float[Array, "B T G"], lengths: Int[Array, " B"] | None) -> Float[Array, "B T G"]:
    """xg, an LSTM's gates i, f, g, o before their nonlinearities, so that padding leaves the cell: i = 0, f = 1.

    G = 4 D. lengths: how many steps of each sequence count (None: all).
    """
    if lengths is None:
        return xg
    held = jnp.array([-_HELD, _HELD, 0, 0], xg.dtype).repeat(xg.shape[-1] // 4)
    return jnp.where(counts(lengths, xg.shape[1])[..., None], xg, held)


def reverse(x: Shaped[Array, "B T D"], lengths: Int[Array, " B"] | None) -> Shaped[Array, "B T D"]:
    """Each sequence backwards, from its own last step; padding stays where it is. It is its own inverse.

    lengths: how many steps of each sequence count (None: all).
    """
    if lengths is None:
        return x[:, ::-1]
    t = jnp.arange(x.shape[1])
    at = jnp.where(counts(lengths, x.shape[1]), lengths[:, None] - 1 - t, t)
    return jnp.take_along_axis(x, at[..., None], axis=1)
