"""Comparing pytrees of arrays, with errors that say which leaf is off and by how much."""

import jax
import numpy as np


def assert_close(actual, expected, tolerance: float) -> None:
    """Every leaf within tolerance x (1 + its largest magnitude)."""
    actual_leaves, tree = jax.tree_util.tree_flatten_with_path(actual)
    expected_leaves = jax.tree.leaves(expected)
    assert len(actual_leaves) == len(expected_leaves), tree
    for (path, x), y in zip(actual_leaves, expected_leaves, strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert x.shape == y.shape, f"{jax.tree_util.keystr(path)}: shape {x.shape}, expected {y.shape}"
        error, bound = np.max(np.abs(x - y), initial=0), tolerance * (1 + np.max(np.abs(y), initial=0))
        assert error <= bound, f"{jax.tree_util.keystr(path)}: off by {error:.3g}, allowed {bound:.3g}"
