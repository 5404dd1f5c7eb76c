"""The kernels of attention: which one is available, and those of others, cuDNN's for CUDA and Splash for TPU.

Splash is jax's own Pallas kernel. On a CPU there is a kernel of ours, models/ops/attention_native.py. The memory of all
of them is linear in T.

jax looks for cuDNN when the program is traced, which fails without a CUDA device, even if the call never runs. So cuDNN
is available only where such a device is; a program that is exported elsewhere is blocked. A mask of keys is left to the
blocked form too: cuDNN takes it as a (T, S) matrix, and Splash does not support a query that sees no key.

Axes: see models/ops/attention.py.
"""

# Splash's types allow for residuals in addition to its result:
# pyright: reportArgumentType=false, reportCallIssue=false, reportAttributeAccessIssue=false

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, ShapeDtypeStruct
from jax.experimental.pallas.ops.tpu import splash_attention
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask import LocalMask, MultiHeadMask
from jaxtyping import Bool, Float

from lengthscale.models.ops import native
from lengthscale.models.ops.availability import by_platform, reason_against_float32_on_cpu
from lengthscale.models.ops.platform import is_here, platform

_LANES = 128  # a TPU's row: of a block's keys, and of a head's size (a narrower one takes as much memory)
_NATIVE_HEAD = 256  # the widest head whose blocks stay in a core's second-level cache
_CUDNN_HEAD = 128  # the widest head before Hopper
# Splash lists all pairs of its blocks, on the host when it is traced (10 s for so many tokens), then in scalar memory.
SPLASH_LONGEST = 262_144
ShapedArray = Array | ShapeDtypeStruct  # where shape and dtype are all that is read


def fitting(
    q: Float[ShapedArray, "B T H K"],
    k: Float[ShapedArray, "B S J K"],
    causal: bool,
    window: int | None,
    key_mask: Bool[ShapedArray, "B S"] | None,
) -> str:
    """The method that "auto" stands for: the platform's kernel, or "blocked" where that is not available.

    Arguments as `models.ops.attention.attention`'s; of the arrays, only shape and dtype are read.
    """
    best = by_platform({"cpu": "native", "cuda": "cudnn", "tpu": "splash"}, "blocked")
    return "blocked" if best == "blocked" or misfit(best, q, k, causal, window, key_mask) else best


def misfit(
    method: str,
    q: Float[ShapedArray, "B T H K"],
    k: Float[ShapedArray, "B S J K"],
    causal: bool,
    window: int | None,
    key_mask: Bool[ShapedArray, "B S"] | None,
) -> str | None:
    """Why the kernel "native", "cudnn" or "splash" is not available for these arguments, or None.

    Arguments as `fitting`'s.
    """
    if key_mask is not None:
        return "it takes no key_mask"
    if method == "native":
        return _native_misfit(q, k)
    if window is not None and not causal:
        return "its window is causal"
    return (_cudnn_misfit if method == "cudnn" else _splash_misfit)(q, k, causal)


def _native_misfit(q, k):
    if reason := reason_against_float32_on_cpu((q, k)):
        return reason
    if q.shape[3] % 8 or q.shape[3] > _NATIVE_HEAD:
        return f"it needs a head size divisible by 8, of {_NATIVE_HEAD} at most, got {q.shape[3]}"
    return native.missing()


def _cudnn_misfit(q, k, causal):
    if not is_here("cuda"):
        return "it needs a CUDA device, already when it is traced"
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
    if q.shape[1] < _LANES or k.shape[1] > SPLASH_LONGEST:
        return f"it is for {_LANES} to {SPLASH_LONGEST} tokens, got {q.shape[1]} queries and {k.shape[1]} keys"
    block = _block(k.shape[1])
    if not causal and k.shape[1] % block:  # where it is causal, no query sees the padding behind the keys
        return f"it needs a multiple of {block} keys where they are not causal, got {k.shape[1]}"
    return None


def cudnn(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    v: Float[Array, "B S J K"],
    causal: bool,
    window: int | None,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> Float[Array, "B T H K"]:
    """Attention by cuDNN's kernel, through jax; implementation="xla": the same call on any platform, for tests.

    Arguments as `models.ops.attention.attention`'s, for which `misfit` gives no reason (Dao et al., arXiv:2205.14135).
    """
    size = None if window is None else (window - 1, 0)  # jax does not count the query's own key
    return jax.nn.dot_product_attention(
        q, k, v, is_causal=causal, local_window_size=size, implementation=implementation
    )


def splash(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    v: Float[Array, "B S J K"],
    causal: bool,
    window: int | None,
) -> Float[Array, "B T H K"]:
    """Attention by Splash, with head size and lengths padded to what it needs; on a CPU it is interpreted.

    Arguments as `models.ops.attention.attention`'s, for which `misfit` gives no reason.
    """
    length, heads, size = q.shape[1:]
    block_q, block_k = _block(length), _block(k.shape[1])
    q = _padded(q * size**-0.5, block_q)
    k, v = _padded(k, block_k), _padded(v, block_k)
    lengths = q.shape[1], k.shape[1]
    run = splash_attention.make_splash_mha_single_device(
        MultiHeadMask([_Band(lengths, window) if causal else splash_attention.FullMask(lengths)] * heads),
        block_sizes=splash_attention.BlockSizes(
            block_q=block_q,
            block_kv=block_k,
            block_q_dkv=block_q,
            block_kv_dkv=block_k,
            block_q_dq=block_q,
            block_kv_dq=block_k,
        ),
        interpret=platform() == "cpu",
    )
    y = jax.vmap(run)(*(x.swapaxes(1, 2) for x in (q, k, v)))
    return y.swapaxes(1, 2)[:, :length, :, :size]


def _block(length):
    """The size of a block: up to 8 blocks, then 1,024 tokens. This means little padding, and few blocks."""
    return next((block for block in (_LANES, 256, 512) if length <= 8 * block), 1024)


def _padded(x, block):
    """x padded by zeros: the tokens to whole blocks, and each head to whole rows of a TPU."""
    return jnp.pad(x, [(0, 0), (0, -x.shape[1] % block), (0, 0), (0, -x.shape[3] % _LANES)])


class _Band(LocalMask):
    """The causal mask, or a window's; a block that is all allowed or all masked is one truth value.

    When it is traced, Splash calls any() and all() of every block of the (T, S) matrix. With blocks as arrays this
    would take 6 s for 32,768 tokens.
    """

    def __init__(self, shape, window):
        super().__init__(shape, (None if window is None else window - 1, 0), 0)

    def __getitem__(self, index):  # pyright: ignore[reportIncompatibleMethodOverride]
        (q, k), (back, _) = index, self.window_size
        if k.start >= q.stop or (back is not None and k.stop <= q.start - back):
            return np.False_
        if k.stop <= q.start + 1 and (back is None or k.start >= q.stop - 1 - back):
            return np.True_
        return super().__getitem__(index)
