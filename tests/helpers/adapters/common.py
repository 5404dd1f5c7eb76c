"""What adapters share."""

import jax
import jax.numpy as jnp

from lengthscale.models import checkpoints


def next_token_loss(logits, ids):
    """Mean cross-entropy of each token after the first, as transformers' `labels=ids` gives it."""
    log_p = jax.nn.log_softmax(logits[:, :-1])
    return -jnp.take_along_axis(log_p, ids[:, 1:, None], axis=-1).mean()


def convert_all(entries, weights) -> dict:
    """{our parameter: its array} of a table of models.huggingface."""
    return {entry.ours: checkpoints.convert(entry, weights.__getitem__, jnp) for entry in entries}


def norm(weights: dict, theirs: str, ours: str) -> dict:
    """A LayerNorm's weight and bias."""
    return {f"{ours}.scale": weights[f"{theirs}.weight"], f"{ours}.bias": weights[f"{theirs}.bias"]}


def stacked(weights: dict, prefix: str, block, name: str = "blocks") -> dict:
    """block(prefix of a layer) of every layer under "prefix.number.", each array with a leading axis of layers."""
    number = prefix.count(".") + 1
    n_layers = 1 + max(int(key.split(".")[number]) for key in weights if key.startswith(f"{prefix}."))
    blocks = [block(f"{prefix}.{layer}") for layer in range(n_layers)]
    return {f"{name}.{path}": jnp.stack([block[path] for block in blocks]) for path in blocks[0]}
