"""What adapters share."""

import jax
import jax.numpy as jnp
from flax import nnx


def with_weights(make, weights: dict):
    """The module that make() would give, with the weights, by their path ("mixer.in_proj.kernel"), as its own."""
    graph, abstract = nnx.split(nnx.eval_shape(make))
    flat = dict(nnx.to_flat_state(abstract))
    assert {".".join(map(str, path)) for path in flat} == set(weights), "the weights do not fit the module"
    for path, variable in flat.items():
        array = weights[".".join(map(str, path))]
        assert variable.shape == array.shape, f"{path}: {variable.shape}, weights {array.shape}"
        flat[path] = variable.replace(array)
    return nnx.merge(graph, nnx.from_flat_state(flat))


def next_token_loss(logits, ids):
    """Mean cross-entropy of each token after the first, as transformers' `labels=ids` gives it."""
    log_p = jax.nn.log_softmax(logits[:, :-1])
    return -jnp.take_along_axis(log_p, ids[:, 1:, None], axis=-1).mean()
