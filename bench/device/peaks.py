"""The machine's peak rates, as measured on it: of a matrix product, and of copying memory."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp

SIDE = 2048  # of the matrices
COPIED_BYTES = 1 << 28
REPEATS = 5
DTYPES = ("float32", "bfloat16")


def measure_peaks() -> dict:
    """The peak rates, each the best of a few calls: {"gemm_flops_per_s": {dtype: ...}, "copy_bytes_per_s": ...}."""

    def fastest(call, args) -> float:
        """The least seconds of a call. The first argument is donated, so that the result needs no new memory."""
        compiled = jax.jit(call, donate_argnums=0).lower(*args).compile()
        seconds = []
        for _ in range(REPEATS + 1):
            started = time.perf_counter()
            results = jax.block_until_ready(compiled(*args))
            seconds.append(time.perf_counter() - started)
            args = (results, *args[1:])
        return min(seconds[1:])

    gemm = {}
    for dtype in DTYPES:
        # A CPU without bfloat16 instructions takes 30 times as long.
        side = SIDE if dtype == "float32" or jax.default_backend() != "cpu" else SIDE // 4
        a, b = (jax.random.normal(jax.random.key(n), (side, side), dtype) / side**0.5 for n in (0, 1))
        gemm[dtype] = 2 * side**3 / fastest(jnp.matmul, (a, b))
    x = jnp.zeros(COPIED_BYTES // 4, jnp.float32)
    return {"gemm_flops_per_s": gemm, "copy_bytes_per_s": 2 * COPIED_BYTES / fastest(lambda x: x + 1, (x,))}
