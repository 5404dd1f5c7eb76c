"""Compiling once in a run what several processes run.

The replicates of a cell run one compiled program: a process of its own compiles it, which is timed, and stores it; they
load it. In a process that has compiled, whatever it was, short calls take up to 1.5 times as long, so it measures
nothing. Programs that make a model's parameters are shared in the same way. Others are compiled with jax's compilation
cache, which the worker turns off otherwise, or compile times would be those of reading it. The parent gives a folder
for all of them that exists as long as the run (bench/host/runner.py).
"""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache

from lengthscale.models.ops import native
from lengthscale.models.ops.platform import platform

LITTLE_EFFORT: dict[str, Any] = {"xla_backend_optimization_level": 1}


def stored(name: str) -> tuple[Any, Any] | None:
    """(a compiled program, its facts) as `store` has stored them under this name in this run; None where it has not."""
    path = _path(name)
    if path is None or not path.exists():
        return None
    native.missing()  # registers the kernels, which a program that was not traced here calls, too
    executable, facts = pickle.loads(path.read_bytes())
    return serialize_executable.deserialize_and_load(*executable), facts


def store(name: str, compiled: Any, facts: Any) -> None:
    """Store a compiled program for later processes of this run. A program that cannot be stored is compiled again."""
    path = _path(name)
    if path is None:
        return
    try:
        content = pickle.dumps((serialize_executable.serialize(compiled), facts))
    except Exception as error:  # what a backend or a tree of arguments cannot do
        print(f"cannot store the compiled program: {type(error).__name__}: {error}", file=sys.stderr)
        return
    written = path.with_suffix(".new")
    written.write_bytes(content)
    written.rename(path)


def stored_choice(name: str) -> tuple[int, str] | None:
    """(which form of a program a process of this run has chosen, why), as `store_choice` has stored it, or None."""
    path = _path(name)
    if path is None or not path.with_suffix(".choice").exists():
        return None
    number, why = json.loads(path.with_suffix(".choice").read_text())
    return number, why


def store_choice(name: str, number: int, why: str) -> None:
    """Store which form of the program called `name` this run takes, and why."""
    path = _path(name)
    if path is not None:
        path.with_suffix(".choice").write_text(json.dumps([number, why]))


def _link(stored_as: str, name: str) -> None:
    """Let a stored program be found under this name, too."""
    path, link = _path(stored_as), _path(name)
    if path and link and path.exists():
        with suppress(OSError):  # there is one, or the file system has no links: then it is found by its text
            link.hardlink_to(path)


def _path(name: str) -> Path | None:
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if not folder or not name:
        return None
    return Path(folder) / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.program"


def tuning() -> dict[str, Any]:
    """Options of a compilation on CUDA: what XLA tries on the device for one program, a run's other programs reuse.

    So the time of a compilation is that of compiling, and each kernel is tried once. The folder belongs to the run, as
    XLA executes what is in it.
    """
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    if platform() != "cuda" or not folder:
        return {}
    path = Path(folder) / "autotuning"
    path.mkdir(exist_ok=True)
    return {"xla_gpu_per_fusion_autotune_cache_dir": str(path)}


def make_shared(make: Callable[[Any], Any], seed: int, name: str = "") -> Any:
    """make(key of the seed), by the program of `shared_program`."""
    return shared_program(make, seed, name)(jax.random.key(seed))


def shared_program(make: Callable[[Any], Any], seed: int, name: str = "") -> Any:
    """The compiled program make(key), which the cells of a run share, stored or compiled now.

    It is compiled with little optimisation, since it runs once. name: under which later processes find it without
    tracing it again; otherwise it is found by its text.

    The key is an argument, or XLA would compute all random numbers as constants when it compiles. jax's cache is not
    used, since XLA cannot store again, on a CPU, what that has given.
    """
    if name and (found := stored(name)):
        return found[0]
    lowered = jax.jit(make).lower(jax.random.key(seed))
    text = lowered.as_text()
    if found := stored(text):
        compiled, _ = found
    else:
        compiled = lowered.compile(compiler_options=LITTLE_EFFORT)
        store(text, compiled, None)
    _link(text, name)
    return compiled


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
