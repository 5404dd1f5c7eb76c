"""Compiling programs that are not measured: once in a run, not once in each cell.

The worker turns jax's compilation cache off, or compile times would be those of reading a cache. The parent gives a
folder for the cache that exists as long as the run (bench/host/runner.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

LITTLE_EFFORT: dict[str, Any] = {"xla_backend_optimization_level": 1}


def make_shared(make: Callable[[Any], Any], seed: int) -> Any:
    """make(key of the seed), compiled with little optimisation, since it runs once, and shared by the cells of a run.

    The key is an argument, or XLA would compute all random numbers as constants when it compiles.
    """
    key = jax.random.key(seed)
    with shared_compilation():
        return jax.jit(make).lower(key).compile(compiler_options=LITTLE_EFFORT)(key)


@contextmanager
def shared_compilation() -> Iterator[None]:
    """Within this context, compile with the run's cache, which cells share. Do not use it where compiling is timed."""
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()
