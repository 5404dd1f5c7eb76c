"""What the calls of our Pallas kernels share: how they are compiled on each platform, and whether they can be.

On CUDA that is Pallas's Triton backend, which jax will remove one day (docs/accelerators.md says why it is used).
Without it "auto" takes the forms in JAX. On a TPU it is Mosaic; on a CPU kernels run interpreted.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.experimental import pallas as pl

from lengthscale.models.ops.platform import platform


def power_of_two(n: int) -> int:
    """The smallest power of two that is n or more: the shapes of Triton's blocks."""
    return 1 << (n - 1).bit_length()


def power_of_two_within(n: int) -> int:
    """The largest power of two that is n or less; 0 for 0."""
    return (1 << n.bit_length()) >> 1


def whole(x: Array | jax.ShapeDtypeStruct) -> pl.BlockSpec:
    """The cut of an operand that every program of a kernel gets whole."""
    return pl.BlockSpec(x.shape, lambda *_: (0,) * len(x.shape))


def pad_channels(x: Array, block: int) -> Array:
    """The last axis padded to a multiple of the block."""
    missing = -x.shape[-1] % block
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)]) if missing else x


def compiled_with(num_warps: int, num_stages: int = 1) -> dict[str, Any]:
    """The arguments of `pl.pallas_call` that depend on the platform. The numbers of warps and stages are Triton's."""
    if platform() == "cpu":
        return {"interpret": True}
    if platform() == "tpu":
        from jax.experimental.pallas import tpu

        return {"compiler_params": tpu.CompilerParams(dimension_semantics=("parallel",) * 3)}
    from jax.experimental.pallas import triton

    return {"compiler_params": triton.CompilerParams(num_warps=num_warps, num_stages=num_stages)}


def over_runs(count: int, load: Callable, body: Callable, carry: Any, reverse: bool = False) -> Any:
    """The loop of a kernel over so many runs of rows: body(number of the run, load(that number), what is carried).

    Each run's rows are loaded while the run before it is computed, so that a GPU does not wait for memory.
    """

    def number(i):
        return count - 1 - i if reverse else i

    def step(i, carried):
        carry, loaded = carried
        following = load(number(jnp.minimum(i + 1, count - 1)))
        return body(number(i), loaded, carry), following

    return lax.fori_loop(0, count, step, (carry, load(number(0))))[0]


def reason_against_kernels() -> str | None:
    """Why no Pallas kernel can be compiled for the platform, or None."""
    if platform() == "cuda" and not _has_triton():
        return "this jax has no Triton backend for Pallas"
    return None


@cache
def _has_triton() -> bool:
    return find_spec("jax.experimental.pallas.triton") is not None
