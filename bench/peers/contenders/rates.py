"""What the rates of jax and of torch have in common. This file loads neither of them."""

from __future__ import annotations

GEMM_SIDE = 1024
READ_WIDTH = 1024  # of the matrix that is read by a product with a vector
READ_BYTES = 1 << 26  # in one call: a smaller matrix is read several times


def read_rows(work: float | None) -> int:
    """The rows of a float32 matrix, READ_WIDTH wide, with as many bytes as ours reads in a step. work: these bytes."""
    return max(1, round((work or 0) / 4 / READ_WIDTH))


class ForAll(dict):
    """A mapping with the same builder for every row."""

    def __init__(self, builder):
        super().__init__()
        self._builder = builder

    def __missing__(self, key):
        return self._builder
