"""The machine's peak rates, as measured on it: of a matrix product, and of copying memory."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp

from lengthscale.bench.plan.dtypes import DTYPES
from lengthscale.models.ops.platform import platform

SIDE = 2048  # of the matrices
SIDES = {"cuda": 8192, "tpu": 8192}  # 2,048 take an H100 30 us, less than a call itself
COPIED_BYTES = 1 << 28
REPEATS = 5


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
    for name, dtype in DTYPES.items():
        if dtype.platforms and platform() not in dtype.platforms:
            continue
        # A CPU without bfloat16 instructions takes 30 times as long.
        side = SIDES.get(platform(), SIDE) if platform() != "cpu" or name == "float32" else SIDE // 4
        a, b = (jax.random.normal(jax.random.key(n), (side, side), dtype.arrays) / side**0.5 for n in (0, 1))
        with jax.default_matmul_precision(dtype.matmul_precision):
            gemm[name] = 2 * side**3 / fastest(jnp.matmul, (a, b))
    x = jnp.zeros(COPIED_BYTES // 4, jnp.float32)
    return {"gemm_flops_per_s": gemm, "copy_bytes_per_s": 2 * COPIED_BYTES / fastest(lambda x: x + 1, (x,))}
