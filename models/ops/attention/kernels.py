"""Attention by kernels of others: cuDNN's for CUDA and Splash, jax's own Pallas kernel, for TPU.

The memory of both is linear in T. When each is available: see dispatch.py. Axes: see equation.py.
"""

from functools import cache
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental.pallas.ops.tpu import splash_attention
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask import LocalMask, MultiHeadMask
from jaxtyping import Float

from lengthscale.models.ops.attention.equation import CAUSAL, Mask
from lengthscale.models.ops.platform import platform

_SPLASH = "splash_attention_of"  # how the name of a jitted call of Splash begins
LANES = 128  # a TPU's row: of a block's keys, and of a head's size (a narrower one takes as much memory)


def cudnn(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    v: Float[Array, "B S J K"],
    mask: Mask,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> Float[Array, "B T H K"]:
    """Attention by cuDNN's kernel, through jax; implementation="xla": the same call on any platform, for tests.

    Arguments as `models.ops.attention.attention`'s, for which `dispatch.misfit` gives no reason (Dao et al.,
    arXiv:2205.14135). The gradient is for even lengths only, so odd ones are padded: by a key that no query sees, since
    it lies behind them all or, where the mask is not causal, behind the keys' length.
    """
    size = None if mask.window is None else (mask.window - 1, 0)  # jax does not count the query's own key
    length, keys = q.shape[1], k.shape[1]
    ends = None if mask.causal or keys % 2 == 0 else jnp.full(k.shape[0], keys, jnp.int32)
    q, k, v = (jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (q, k, v))
    y = jax.nn.dot_product_attention(
        q,
        k,
        v,
        is_causal=mask.causal,
        local_window_size=size,
        key_value_seq_lengths=ends,
        implementation=implementation,
    )
    return y[:, :length]


@cache
def reason_against_cudnn() -> str | None:
    """Why jax cannot trace a call of cuDNN here, or None. It looks for the library, and needs no device for it."""
    q = jax.ShapeDtypeStruct((1, 8, 1, 8), jnp.bfloat16)
    try:
        jax.eval_shape(lambda q: cudnn(q, q, q, CAUSAL), q)
    except (RuntimeError, NotImplementedError) as error:
        return f"jax says: {error}"
    return None


def splash(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S J K"],
    v: Float[Array, "B S J K"],
    mask: Mask,
) -> Float[Array, "B T H K"]:
    """Attention by Splash, with head size and lengths padded to what it needs; on a CPU it is interpreted.

    Arguments as `models.ops.attention.attention`'s, for which `dispatch.misfit` gives no reason. The name of the jitted
    function says what it computes (`splash_of`), since Splash's kernels skip blocks by tables that only they read.
    """

    def run(q, k, v):
        return _splash(q, k, v, mask)

    kept = [str(n) for n in (*q.shape, *k.shape[1:3], int(mask.causal), mask.window or 0)]
    run.__name__ = "_".join([_SPLASH, *kept])
    return jax.jit(run)(q, k, v)


def splash_of(name: str) -> dict | None:
    """What a jitted function of this name computes by Splash: shapes of queries and keys, whether causal, the window.

    The window is 0 where there is none. None for another function. Its gradient has the same name.
    """
    head, *kept = name.rsplit("_", 8)
    if head != _SPLASH:
        return None
    b, t, h, size, s, j, causal, window = map(int, kept)
    return {"q": (b, t, h, size), "k": (b, s, j, size), "causal": bool(causal), "window": window}


def _splash(q, k, v, mask):
    length, heads, size = q.shape[1:]
    block_q, block_k = splash_block(length), splash_block(k.shape[1])
    q = _padded(q * size**-0.5, block_q)
    k, v = _padded(k, block_k), _padded(v, block_k)
    lengths = q.shape[1], k.shape[1]
    run = splash_attention.make_splash_mha_single_device(
        MultiHeadMask([_Band(lengths, mask.window) if mask.causal else splash_attention.FullMask(lengths)] * heads),
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
    return y.swapaxes(1, 2)[:, :length, :, :size]  # pyright: ignore[reportAttributeAccessIssue]


def splash_block(length: int) -> int:
    """The size of Splash's blocks of so many queries or keys: up to 8 blocks, then 1,024 tokens.

    This means little padding, and few blocks.
    """
    return next((block for block in (LANES, 256, 512) if length <= 8 * block), 1024)


def _padded(x, block):
    """x padded by zeros: the tokens to whole blocks, and each head to whole rows of a TPU."""
    return jnp.pad(x, [(0, 0), (0, -x.shape[1] % block), (0, 0), (0, -x.shape[3] % LANES)])


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
