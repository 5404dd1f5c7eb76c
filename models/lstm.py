"""The LSTM (Hochreiter and Schmidhuber 1997; forget gate of Gers et al. 2000), one layer a block.

The equation is in models/ops/gated/equation.py. State: h and c (B, D). The forget gate's bias starts at 1 (Jozefowicz
et al. 2015), recurrent weights orthogonal, gate by gate.
"""

from functools import partial

import jax.numpy as jnp
from flax import nnx

from lengthscale.models import Interface, Size
from lengthscale.models.backbone import Backbone, matched_backbone
from lengthscale.models.base import Mixer
from lengthscale.models.layers import Linear, kernel_init, orthogonal_gates, project
from lengthscale.models.ops.gated import lstm
from lengthscale.models.ops.packed import finish, hold_cell


class LSTM(Mixer):
    """features: the inputs' width, if not D. method: see models/ops/gated/. lengths: how much of each sequence counts
    (models/ops/packed.py).
    """

    def __init__(
        self, d_model: int, *, features: int | None = None, input_init=kernel_init, method: str = "auto", rngs: nnx.Rngs
    ):
        width = features or d_model
        self.w_x = Linear(width, 4 * d_model, kernel_init=input_init, bias_init=_forget_bias, rngs=rngs)
        self.w_h = nnx.Param(orthogonal_gates(rngs.params(), 4, d_model))
        self.d_model, self.method = d_model, method

    def __call__(self, x, state, position, lengths=None):
        h0, c0 = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        assert self.w_x.bias is not None
        xg = project(x, self.w_x.kernel[...])
        h, c = lstm(hold_cell(xg, lengths), self.w_h[...], h0, c0, bias=self.w_x.bias[...], method=self.method)
        h, last = finish(h, h0, lengths)
        return h, (last, c)

    def init_state(self, batch, capacity, dtype):
        zeros = jnp.zeros((batch, self.d_model), dtype)
        return zeros, zeros


def _forget_bias(key, shape, dtype):
    i, f, g, o = jnp.split(jnp.zeros(shape, dtype), 4)
    return jnp.concatenate([i, f + 1, g, o])


def build(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> Backbone:
    """Blocks with an LSTM as mixer, of this size."""
    return matched_backbone(size, interface, partial(LSTM, size.d_model, method=method), rngs=rngs)
