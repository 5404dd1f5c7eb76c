"""The arithmetic of Pallas kernels, by a GPU's own instructions where Triton has no operation for them."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from lengthscale.models.ops.platform import platform

LOG2_E = math.log2(math.e)


def multiply_add(x: Array, y: Array, z: Array) -> Array:
    """x y + z, which Triton does not make one operation by itself."""
    if not has_instructions(x.dtype):
        return x * y + z
    shape = jnp.broadcast_shapes(x.shape, y.shape, z.shape)
    return instructions("fma.rn.f32 $0, $1, $2, $3;", *(jnp.broadcast_to(v, shape) for v in (x, y, z)))


def exp2(x: Array) -> Array:
    """2^x. A GPU's instruction takes a denormal x for 0; 2^x is 1 of either."""
    return instructions("ex2.approx.ftz.f32 $0, $1;", x) if has_instructions(x.dtype) else jnp.exp2(x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x)."""
    return 1 / (1 + exp2(-LOG2_E * x))


def has_instructions(dtype: Any) -> bool:
    """Whether a kernel may have a GPU's instructions for this precision, where Triton has no operation for them."""
    return platform() == "cuda" and dtype == jnp.float32


def instructions(asm: str, *args: Array, pack: int = 1) -> Array:
    """The result of instructions for so many float32 at a time, of which so many bytes share one register."""
    from jax.experimental.pallas import triton  # here, since not every jaxlib has it

    registers = pack + sum(1 if x.dtype == jnp.int8 else pack for x in args)
    # "&": the first of several instructions may not write where a later one reads.
    constraints = ",".join("=&r" if n < pack else "r" for n in range(registers))
    result = [jax.ShapeDtypeStruct(args[0].shape, args[0].dtype)]
    return triton.elementwise_inline_asm(
        asm, args=args, constraints=constraints, pack=pack, result_shape_dtypes=result
    )[0]
