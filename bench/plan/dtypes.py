"""What a dtype of the command line means: the type of all arrays, and how precisely float32 is multiplied.

By default jax multiplies float32 on NVIDIA's matrix units as TF32, with 10 bits of mantissa, and on a TPU's as
bfloat16, with 7. So "float32" asks for IEEE's float32 on every platform, and TF32 is a dtype of its own, which only
CUDA has. What the products of a program were is its column `precision` (bench/device/precision.py).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dtype:
    """One dtype of the command line."""

    arrays: str  # the type of parameters and activations
    n_bytes: int  # of a number of that type
    matmul_precision: str  # as jax.default_matmul_precision
    platforms: tuple[str, ...] = ()  # those that have it, as jax names them; none: all

    @property
    def exact(self) -> str:
        """The precision at which forms of a computation are compared: products round as little as the arrays do."""
        return "highest" if self.arrays == "float32" else self.matmul_precision


DTYPES = {
    "float32": Dtype("float32", 4, "highest"),
    "tf32": Dtype("float32", 4, "tensorfloat32", platforms=("cuda",)),
    # "highest" is no precision of bfloat16 to Mosaic. What is multiplied in float32 even so asks for it by itself.
    "bfloat16": Dtype("bfloat16", 2, "default"),
}
