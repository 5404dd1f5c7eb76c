"""What `decode` and `generate` share: a model laid out for single tokens, and the next inputs made from outputs."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from lengthscale.models.backbone import Backbone
from lengthscale.models.one_row import laid_out_for_one_row
from lengthscale.models.ops.platform import platform


def laid_out(model: Any) -> Any:
    """The model as it decodes fastest.

    A Backbone without a cache has its blocks one by one (Backbone.apart); on CUDA models are laid out for one row
    (models/one_row.py).
    """
    model = model.apart() if isinstance(model, Backbone) else model
    return laid_out_for_one_row(model) if platform() == "cuda" else model


def next_inputs(outputs, inputs):
    """The inputs of the next step, made from the outputs of this one, (B, 1, V): like `inputs`, (B, 1) or (B, 1, F).

    A token is the arg max of its logits. A model of real features gets its first output as the next input, so that
    its steps depend on each other in the same way.
    """
    if jnp.issubdtype(inputs.dtype, jnp.integer):
        return outputs.argmax(axis=-1).astype(inputs.dtype)
    return jnp.tanh(outputs[..., :1]).astype(inputs.dtype) * jnp.ones_like(inputs)
