"""Compiling what is not measured: once a run, not once a cell.

The worker turns jax's compilation cache off, or compile times would be a cache's; the parent names a folder for it that
lives as long as the run (bench/host/runner.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

LITTLE_EFFORT: dict[str, Any] = {"xla_backend_optimization_level": 1}


def make_once(make: Callable[[Any], Any], seed: int) -> Any:
    """make(key of the seed), compiled with little effort, for it runs once, and by the first cell of a run alone.

    The key is an argument, or XLA would fold all of the random numbers into constants when it compiles.
    """
    key = jax.random.key(seed)
    with shared_compilation():
        return jax.jit(make).lower(key).compile(compiler_options=LITTLE_EFFORT)(key)


@contextmanager
def shared_compilation() -> Iterator[None]:
    """Compile with the run's own cache: what one cell has compiled, the others read. Not where compiling is timed."""
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()
