"""The machine's peak rates, as measured on it, of a matrix product and of copying memory; and the size of its cache."""

from __future__ import annotations

import time
from pathlib import Path

import jax
import jax.numpy as jnp

from lengthscale.bench.plan.dtypes import DTYPES
from lengthscale.models.ops.platform import platform

SIDE = 2048  # of the matrices
SIDES = {"cuda": 8192, "tpu": 8192}  # 2,048 take an H100 30 us, less than a call itself
COPIED_BYTES = 1 << 28
REPEATS = 5
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def measure_peaks() -> dict:
    """The peak rates, each the best of a few calls: {"gemm_flops_per_s": {dtype: ...}, "copy_bytes_per_s": ...}.

    And "cache_bytes": the size of the last level of a CPU's cache; None where the system does not tell it.
    """

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
    return {
        "gemm_flops_per_s": gemm,
        "copy_bytes_per_s": 2 * COPIED_BYTES / fastest(lambda x: x + 1, (x,)),
        "cache_bytes": cache_bytes() if platform() == "cpu" else None,
    }


def cache_bytes(folder: Path = CACHES) -> int | None:
    """The size of the largest cache of a CPU, as Linux tells it."""
    sizes = [path.read_text().strip() for path in folder.glob("index*/size")]
    units = {"K": 2**10, "M": 2**20, "G": 2**30}
    return max((int(text[:-1]) * units[text[-1]] for text in sizes if text[-1:] in units), default=None)
