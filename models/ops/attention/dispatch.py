"""Which form of attention is taken. The equations and the axes are in equation.py.

Methods: "reference" is the equation (memory quadratic in T); "blocked" is the form in JAX (blocks.py, cache.py);
"native" is a C++ kernel for a CPU (native.py); "cudnn" and "splash" are kernels of others for CUDA and TPU
(kernels.py); "pallas" has our kernels for CUDA (pallas.py), for what cuDNN does not take: float32, a mask of keys, a
window that is not causal.

jax looks for cuDNN's library when the program is traced. So cuDNN is available only where jax's packages for CUDA are
installed, with or without a device; a program that is exported elsewhere has our kernels. On a TPU a mask of keys is
left to the blocked form, since Splash does not support a query that sees no key.
"""

import jax.numpy as jnp
from jax import Array, ShapeDtypeStruct
from jaxtyping import Bool, Float

from lengthscale.models.ops import native
from lengthscale.models.ops.attention.blocks import attention_in_blocks
from lengthscale.models.ops.attention.cache import attention_with_cache_in_blocks
from lengthscale.models.ops.attention.equation import CAUSAL, Cache, Mask, attention_reference
from lengthscale.models.ops.attention.kernels import LANES, cudnn, reason_against_cudnn, splash, splash_block
from lengthscale.models.ops.attention.native import attention_native, step_native
from lengthscale.models.ops.attention.pallas import attention_pallas, reason_against_pallas
from lengthscale.models.ops.attention.step import reason_against_step_pallas, step_pallas
from lengthscale.models.ops.availability import by_platform, check_known, reason_against_float32_on_cpu, require
from lengthscale.models.ops.platform import platform

METHODS = ("blocked", "reference", "native", "cudnn", "splash", "pallas")
_NATIVE_HEAD = 256  # the widest head whose blocks stay in a core's second-level cache
_CUDNN_HEAD = 128  # the widest head before Hopper
# Splash lists all pairs of its blocks, on the host when it is traced (10 s for so many tokens), then in scalar memory.
_SPLASH_LONGEST = 262_144
ShapedArray = Array | ShapeDtypeStruct  # where shape and dtype are all that is read


def attention(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    v: Float[Array, "B S J K"],
    mask: Mask = CAUSAL,
    *,
    key_mask: Bool[Array, "B S"] | None = None,
    method: str = "auto",
) -> Float[Array, "B T H K"]:
    """Attention of a sequence to itself (or, with a mask that is not causal, to another one): y, in q's dtype.

    q, k, v: queries, keys and values; J divides H. mask: which keys a query sees, by their positions. key_mask: the
    keys that may be seen at all (None: all); a query that sees none gives 0. method: one of METHODS, or "auto": the
    first kernel of the platform that fits (on CUDA cuDNN's, then ours), else blocked.

    Raises ValueError for an unknown method, one that is not available for these arguments, key heads that do not divide
    the query heads, and for a causal mask or a window if S differs from T.
    """
    check_known(method, METHODS)
    if (mask.causal or mask.window is not None) and q.shape[1] != k.shape[1]:
        raise ValueError(f"causal attention needs as many keys as queries, got {k.shape[1]} and {q.shape[1]}")
    _check_heads(q, k)
    if method == "auto":
        method = fitting(q, k, mask, key_mask)
    if method == "reference":
        return attention_reference(q, k, v, mask, key_mask=key_mask)
    if method == "blocked":
        return attention_in_blocks(q, k, v, mask, key_mask=key_mask)
    require(method, misfit(method, q, k, mask, key_mask))
    if method == "pallas":
        return attention_pallas(q, k, v, mask, key_mask=key_mask)
    return {"native": attention_native, "cudnn": cudnn, "splash": splash}[method](q, k, v, mask)


def attention_with_cache(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B T J K"],
    v: Float[Array, "B T J K"],
    cache: Cache,
    *,
    window: int | None = None,
    method: str = "auto",
) -> Float[Array, "B T H K"]:
    """Causal attention of T new tokens to themselves and to those in the cache before them: y, in q's dtype.

    q, k, v: of the new tokens. cache: see `Cache`. window: as in `Mask`. method: as `attention`'s. One token has
    kernels: in float32 on a CPU (native.py) for "auto" and "native", on CUDA (step.py) for all but "reference". All
    else is blocks in JAX. No gradient is meant to pass here. Raises ValueError as `attention` does.
    """
    check_known(method, METHODS)
    _check_heads(q, k)
    mask = Mask(window=window)
    if method in ("auto", "native") and reason_against_step(q, cache) is None:
        return step_native(q, k, v, cache, mask)
    if method != "reference" and platform() == "cuda" and reason_against_step_pallas(q, cache) is None:
        return step_pallas(q, k, v, cache, mask)
    return attention_with_cache_in_blocks(q, k, v, cache, mask)


def fitting(
    q: Float[ShapedArray, "B T H K"],
    k: Float[ShapedArray, "B S J K"],
    mask: Mask,
    key_mask: Bool[ShapedArray, "B S"] | None,
) -> str:
    """The method that "auto" stands for: the platform's first kernel that is available, else "blocked".

    Arguments as `attention`'s; of the arrays, only shape and dtype are read.
    """
    best = by_platform({"cpu": ["native"], "cuda": ["cudnn", "pallas"], "tpu": ["splash"]}, [])
    return next((method for method in best if misfit(method, q, k, mask, key_mask) is None), "blocked")


def misfit(
    method: str,
    q: Float[ShapedArray, "B T H K"],
    k: Float[ShapedArray, "B S J K"],
    mask: Mask,
    key_mask: Bool[ShapedArray, "B S"] | None,
) -> str | None:
    """Why the kernel "native", "cudnn", "splash" or "pallas" is not available for these arguments, or None.

    Arguments as `fitting`'s.
    """
    if method == "pallas":
        return reason_against_pallas(q)
    if key_mask is not None:
        return "it takes no key_mask"
    if method == "native":
        return _native_misfit(q, k)
    if mask.window is not None and not mask.causal:
        return "its window is causal"
    return _cudnn_misfit(q) if method == "cudnn" else _splash_misfit(q, k, mask.causal)


def reason_against_step(q: Float[Array, "B T H K"], cache: Cache) -> str | None:
    """Why `step_native` is not available for these queries and this cache, or None."""
    if reason := reason_against_float32_on_cpu((q, cache.k)):
        return reason
    if q.shape[1] != 1 or q.shape[3] % 16:
        return f"it is for one token and heads of a multiple of 16, got {q.shape[1]} and {q.shape[3]}"
    return native.missing()


def _check_heads(q, k):
    if q.shape[2] % k.shape[2]:
        raise ValueError(f"key heads must divide query heads, got {k.shape[2]} and {q.shape[2]}")


def _native_misfit(q, k):
    if reason := reason_against_float32_on_cpu((q, k)):
        return reason
    if q.shape[3] % 8 or q.shape[3] > _NATIVE_HEAD:
        return f"it needs a head size divisible by 8, of {_NATIVE_HEAD} at most, got {q.shape[3]}"
    return native.missing()


def _cudnn_misfit(q):
    if platform() != "cuda":
        return f"it is CUDA's, not for {platform()}"
    if reason := reason_against_cudnn():
        return reason
    if q.dtype not in (jnp.float16, jnp.bfloat16):
        return f"it needs float16 or bfloat16, got {q.dtype}"
    if q.shape[3] % 8 or q.shape[3] > _CUDNN_HEAD:
        return f"it needs a head size divisible by 8, of {_CUDNN_HEAD} at most, got {q.shape[3]}"
    return None


def _splash_misfit(q, k, causal):
    if platform() not in ("tpu", "cpu"):
        return f"it is a TPU's (a CPU interprets it), not for {platform()}"
    if q.dtype not in (jnp.float32, jnp.bfloat16):
        return f"it needs float32 or bfloat16, got {q.dtype}"
    if q.shape[1] < LANES or k.shape[1] > _SPLASH_LONGEST:
        return f"it is for {LANES} to {_SPLASH_LONGEST} tokens, got {q.shape[1]} queries and {k.shape[1]} keys"
    block = splash_block(k.shape[1])
    if not causal and k.shape[1] % block:  # where it is causal, no query sees the padding behind the keys
        return f"it needs a multiple of {block} keys where they are not causal, got {k.shape[1]}"
    return None
