"""The plain recurrent network (Elman 1990): h_t = tanh(W_x x_t + W_h h_{t-1} + b), one layer a block.

State: h (B, D). Recurrent weights start orthogonal.
"""

from functools import partial

import jax.numpy as jnp
from flax import nnx

from lengthscale.models import Interface, Size
from lengthscale.models.backbone import Backbone, matched_backbone
from lengthscale.models.base import Mixer
from lengthscale.models.layers import Linear, kernel_init, orthogonal_gates, project
from lengthscale.models.ops.gated import rnn
from lengthscale.models.ops.packed import finish


class RNN(Mixer):
    """features: the inputs' width, if not D. method: see models/ops/gated/. lengths: how much of each sequence counts
    (models/ops/packed.py).
    """

    def __init__(
        self, d_model: int, *, features: int | None = None, input_init=kernel_init, method: str = "auto", rngs: nnx.Rngs
    ):
        self.w_x = Linear(features or d_model, d_model, kernel_init=input_init, rngs=rngs)
        self.w_h = nnx.Param(orthogonal_gates(rngs.params(), 1, d_model))
        self.d_model, self.method = d_model, method

    def __call__(self, x, state, position, lengths=None):
        h0 = self.init_state(x.shape[0], 0, x.dtype) if state is None else state
        assert self.w_x.bias is not None
        h = rnn(project(x, self.w_x.kernel[...]), self.w_h[...], h0, bias=self.w_x.bias[...], method=self.method)
        return finish(h, h0, lengths)

    def init_state(self, batch, capacity, dtype):
        return jnp.zeros((batch, self.d_model), dtype)


def build(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> Backbone:
    """Blocks with an RNN as mixer, of this size."""
    return matched_backbone(size, interface, partial(RNN, size.d_model, method=method), rngs=rngs)
