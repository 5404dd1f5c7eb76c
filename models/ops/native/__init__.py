"""Kernels in C++ for a CPU, where XLA's own loops are the limit; compiled on this machine when they are first needed.

They are called through XLA's foreign function interface (jax.ffi), inside `jit` like any operation, and share the cores
of XLA's own thread pool. Where there is no compiler (or LENGTHSCALE_NATIVE=0), `missing()` says why, and the ops use
their forms in JAX, against which a test checks every kernel. The library is kept in $LENGTHSCALE_CACHE or
~/.cache/lengthscale, under a name that is a hash of all that it depends on.
"""

import ctypes
import hashlib
import importlib.metadata
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

SOURCES = ("attention.cc", "attention_step.cc", "causal_conv.cc", "gated.cc", "selective_scan.cc")
HEADERS = ("common.h", "gemm.h", "recurrence.h")
OPS = ("attention", "causal_conv", "rnn", "lstm", "gru", "selective_scan", "gated_selective_scan")
HANDLERS = (*(f"{op}_{way}" for op in OPS for way in ("forward", "backward")), "attention_step")
FLAGS = ("-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fPIC", "-shared", "-w")
COMPILE_SECONDS = 300  # about 50 on an idle machine, several times as many on a busy one


@cache
def missing() -> str | None:
    """Why the kernels are not available on this machine, or None if they are compiled and registered with XLA."""
    if os.environ.get("LENGTHSCALE_NATIVE") == "0":
        return "LENGTHSCALE_NATIVE=0"
    compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        return "no C++ compiler"
    try:
        library = ctypes.CDLL(str(_library(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        output = (getattr(error, "stderr", None) or "").strip().splitlines()
        return f"{compiler} failed: {next((line for line in output if 'error' in line), error)}"
    for name in HANDLERS:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    return None


def differentiable(forward: Callable, backward: Callable) -> Callable:
    """A function whose outputs come from one kernel and whose gradient comes from another.

    forward: called as (*args, keep=, **sizes), returns the outputs, and what the gradient needs of them and of args.
    keep: whether there will be a gradient; if not, a kernel need not write what only the gradient reads. backward:
    called as (kept, cotangents of the outputs, **sizes), returns a gradient for each of args. The returned function is
    called as (*args, **sizes): args are trees of arrays, sizes are numbers that are known when it is traced.
    """

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    def function(sizes, *args):
        return forward(*args, keep=False, **dict(sizes))[0]

    def forward_rule(sizes, *args):
        return forward(*args, keep=True, **dict(sizes))

    def backward_rule(sizes, kept, cotangents):
        return tuple(backward(kept, cotangents, **dict(sizes)))

    function.defvjp(forward_rule, backward_rule)
    return lambda *args, **sizes: function(tuple(sizes.items()), *args)


def call(name: str, results: Any, *args: Any, in_place: dict[int, int] | None = None, **sizes: int) -> Any:
    """The results of the handler called `name`, as a tree like `results`, which describes their shapes and types.

    args: trees whose arrays are the handler's arguments, in its order. sizes: its attributes. in_place: arguments, by
    number, that the handler may overwrite with a result, by number; XLA copies those that are used later.
    """
    assert name in HANDLERS
    shapes, tree = jax.tree.flatten(results)
    attributes = {key: np.int64(value) for key, value in sizes.items()}
    options = {"vmap_method": "sequential", "input_output_aliases": in_place}
    return tree.unflatten(jax.ffi.ffi_call(name, shapes, **options)(*jax.tree.leaves(args), **attributes))


def like(tree: Any) -> Any:
    """The descriptions of results that have the shapes and types of the arrays in this tree."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def floats(*shape: int) -> jax.ShapeDtypeStruct:
    """The description of a result of this shape, in float32."""
    return jax.ShapeDtypeStruct(shape, np.float32)


def flops(name: str, *shapes: tuple[int, ...], **sizes: int) -> int:
    """The FLOPs of the handler called `name`, for arguments of these shapes and with these attributes (sizes).

    They are counted as in bench/device/flops.py. Raises KeyError for an unknown name.
    """
    return _FLOPS[name](*shapes, **sizes)


def pairs_seen(q: tuple[int, ...], k: tuple[int, ...], *, causal: int, window: int) -> int:
    """The number of pairs of a query and a key that it sees, in all heads, of arrays of these shapes.

    causal, window: attributes of attention's handlers; the window is 0 where there is none.
    """
    batch, length, heads, _ = q
    pairs = length * k[1]
    if causal:
        pairs -= length * (length - 1) // 2
    if window and window < length:  # the keys that lie too far back
        pairs -= (length - window) * (length - window + 1) // 2
    return batch * heads * pairs


def _scan_flops(for_each_state: int, for_each_channel: int) -> Callable[..., int]:
    def count(u, dt, A, *_others, chunk):
        batch, length, width = u
        return batch * length * width * (for_each_state * A[0] + for_each_channel)

    return count


def _attention_flops(for_each_number: int, for_each_pair: int, for_each_output: int) -> Callable[..., int]:
    """For each pair of a query and a key that it sees, of K numbers a head; and for each number of the outputs."""

    def count(q, k, *_others, causal, window):
        pairs = pairs_seen(q, k, causal=causal, window=window)
        return pairs * (for_each_number * q[3] + for_each_pair) + math.prod(q) * for_each_output

    return count


def _step_flops(q, k, v, k_cache, *_others, window):
    """As of a full cache, of which the window's part is read, and the token's own key."""
    batch, _, heads, size = q
    seen = min(k_cache[3] + 1, window or k_cache[3] + 1)
    return batch * heads * (seen * (4 * size + 4) + 2 * size)


def _conv_flops(for_each_tap: int, for_each_channel: int, silu_tap: int, silu_channel: int) -> Callable[..., int]:
    def count(x, w, *_others, silu):
        n_taps = w[0]
        return math.prod(x) * (for_each_tap * n_taps + for_each_channel + silu * (silu_tap * n_taps + silu_channel))

    return count


def _gated_flops(for_each_channel: int) -> Callable[..., int]:
    def count(x, w_h, *_others):
        return x[0] * x[1] * w_h[1] * (2 * w_h[0] + for_each_channel)

    return count


_FLOPS = {
    # q . k, p v; the maximum, its difference, exp, their sum; q scaled, y divided
    "attention_forward": _attention_flops(2 + 2, 4, 2),
    # q . k, dy . v, dv, dk, dq; s - lse, exp, dp - delta, its product; delta, k scaled, dq scaled
    "attention_backward": _attention_flops(5 * 2, 4, 4),
    "attention_step": _step_flops,  # the same of one query
    # w x, its sum with the bias; sigmoid, product
    "causal_conv_forward": _conv_flops(2, 0, 0, 2),
    # dx, dw; dbias; the sum again; its sigmoid, the derivative, product
    "causal_conv_backward": _conv_flops(2 + 2, 1, 2, 1 + 4 + 1),
    # exp(dt A), a h + (dt u) B, C . h; dt u
    "selective_scan_forward": _scan_flops(2 + 3 + 2, 1),
    # the states again, dC; dh, dB, d(dt u), dh a, dz, ddt, dA; dt u, du, ddt
    "selective_scan_backward": _scan_flops(5 + 2 + 2 + 2 + 2 + 1 + 1 + 2 + 2, 1 + 1 + 2),
    # in addition: softplus of a sum (4); the skip (2), sigmoid of z and two products
    "gated_selective_scan_forward": _scan_flops(2 + 3 + 2, 1 + 4 + 2 + 3),
    # in addition: y again; softplus and its slope; dy, dz; du, ddelta, dD, dbias
    "gated_selective_scan_backward": _scan_flops(5 + 2 + 2 + 2 + 2 + 1 + 1 + 2 + 2 + 2, 1 + 1 + 2 + 5 + 3 + 8 + 6),
    # the product with W_h, and each channel's share of the equation and its gradient (models/ops/gated/)
    "rnn_forward": _gated_flops(3),
    "rnn_backward": _gated_flops(4),
    "lstm_forward": _gated_flops(17),
    "lstm_backward": _gated_flops(24),
    "gru_forward": _gated_flops(15),
    "gru_backward": _gated_flops(18),
}


def _library(compiler: str) -> Path:
    """The path of the library, compiled if it is not in the cache. If two processes compile it, the last one stays."""
    folder = Path(__file__).parent
    sources = [folder / name for name in SOURCES]
    command = [*compiler.split(), *FLAGS, f"-I{jax.ffi.include_dir()}"]
    texts = ((folder / name).read_text() for name in (*HEADERS, *SOURCES))
    depends = (*command, *texts, importlib.metadata.version("jaxlib"), _machine())
    name = hashlib.sha256("\0".join(depends).encode()).hexdigest()[:16]
    kept = Path(os.environ.get("LENGTHSCALE_CACHE") or Path.home() / ".cache" / "lengthscale") / "native"
    path = kept / f"{name}.so"
    if path.exists():
        return path
    try:
        kept.mkdir(parents=True, exist_ok=True)
        file, made = tempfile.mkstemp(suffix=".so", dir=kept)
    except OSError:  # no home, or one that is read-only: for this process only
        file, made = tempfile.mkstemp(suffix=".so")
    os.close(file)
    try:
        command += [*map(str, sources), "-o", made]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_SECONDS)
    except BaseException:
        os.unlink(made)
        raise
    if Path(made).parent != kept:
        return Path(made)
    os.replace(made, path)
    return path


def _machine() -> str:
    """What -march=native depends on: a home may be shared by several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine() + platform.processor()
    return sys.platform + next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
