"""What the rates of jax and of torch have in common. Neither of them here."""

from __future__ import annotations

GEMM_SIDE = 1024
READ_WIDTH = 1024  # of the matrix that is read by a product with a vector
READ_BYTES = 1 << 26  # in a call, if the matrix is smaller: it is read again


def read_rows(work: float | None) -> int:
    """Of a float32 matrix READ_WIDTH wide that takes as many bytes as ours reads in a step."""
    return max(1, round((work or 0) / 4 / READ_WIDTH))


class ForAll(dict):
    """The same builder for every row."""

    def __init__(self, builder):
        super().__init__()
        self._builder = builder

    def __missing__(self, key):
        return self._builder
