"""Our ops compiled for a device that need not be here: python -m tests.helpers.planned_ops h200 FILE.csv [OP ...].

For docs/accelerators.md: kernels, bytes and the least time (bench/device/roofline.py) of the shapes that were measured
on an H200 (batch 1, D = 768, attention of 12 heads of 64, a scan with E = 1,536 and N = 16, and its convolution of 4
taps, with SiLU). It needs jax's package for the device, as `run --dry-run --on` does. With names of ops, only these are
in the file.
"""

import itertools
import os
import sys
from collections.abc import Iterable
from pathlib import Path

os.environ |= {"JAX_PLATFORMS": "cpu", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1", "TPU_SKIP_MDS_QUERY": "1"}
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0"

import jax
import jax.numpy as jnp

from lengthscale.bench.device import elsewhere
from lengthscale.bench.plan.devices import DEVICES
from lengthscale.bench.plan.dtypes import DTYPES
from lengthscale.bench.results.csv_table import table_of
from lengthscale.models.ops.attention import Cache, attention, attention_with_cache
from lengthscale.models.ops.causal_conv import causal_conv1d
from lengthscale.models.ops.gated import gru, lstm, rnn
from lengthscale.models.ops.selective_scan import Gate, Inputs, gated_selective_scan, selective_scan
from lengthscale.models.ops.wkv import Decay, wkv

COLUMNS = ("device", "op", "dtype", "length", "pass", "kernels", "moved_bytes", "temporary_bytes", "least_ms", "calls")
D, E, N, TAPS, HEADS, K = 768, 1_536, 16, 4, 12, 64
BOTH, LENGTHS = ("float32", "bfloat16"), (4_096, 65_536)


def _scan(length, dtype, method):
    wide, narrow = ((1, length, E), dtype), ((1, length, N), dtype)
    shapes = wide, wide, narrow, narrow, ((E, N), "float32")
    return lambda u, dt, B, C, A: selective_scan(Inputs(u, dt, B, C), A, method=method)[0], shapes


def _gated_scan(length, dtype, method):
    (_, (wide, _, narrow, _, matrix)), row = _scan(length, dtype, method), ((E,), dtype)

    def run(u, delta, B, C, A, z, D, bias):
        h0 = jnp.zeros((1, N, E))
        return gated_selective_scan(Inputs(u, delta, B, C), A, h0, Gate(z, D, bias), method=method)[0]

    return run, (wide, wide, narrow, narrow, matrix, wide, row, row)


def _convolution(length, dtype, method):
    shapes = ((1, length, E), dtype), ((TAPS, E), dtype), ((E,), dtype)

    def run(x, w, bias):
        return causal_conv1d(x, w, bias, jnp.zeros((1, TAPS - 1, E), dtype), silu=True, method=method)[0]

    return run, shapes


def _wkv(length, dtype, method):
    wide, row = ((1, length, D), dtype), ((D,), "float32")
    return lambda w, u, k, v: wkv(Decay(w, u), k, v, method=method)[0], (row, row, wide, wide)


def _attention(length, dtype, method):
    return lambda q, k, v: attention(q, k, v, method=method), [((1, length, HEADS, K), dtype)] * 3


def _token(length, dtype, method):
    one, stacked = ((1, 1, HEADS, K), dtype), ((1, 1, HEADS, length, K), dtype)

    def run(q, k, v, k_cache, v_cache):
        return attention_with_cache(q, k, v, Cache(k_cache, v_cache, 0, length - 1), method=method)

    return run, (one, one, one, stacked, stacked)


def _rnn(length, dtype, method):
    return lambda x, w, h: rnn(x, w, h, method=method), (((1, length, D), dtype), ((D, D), dtype), ((1, D), dtype))


def _lstm(length, dtype, method):
    state = ((1, D), dtype)
    shapes = ((1, length, 4 * D), dtype), ((4 * D, D), dtype), state, state
    return lambda x, w, h, c: lstm(x, w, h, c, method=method)[0], shapes


def _gru(length, dtype, method):
    shapes = ((1, length, 3 * D), dtype), ((3 * D, D), dtype), ((D,), dtype), ((1, D), dtype)
    return lambda x, w, b, h: gru(x, w, b, h, method=method), shapes


# op -> (what makes it, dtypes, lengths, methods, whether its gradient counts)
OPS = {
    "attention": (_attention, tuple(DTYPES), LENGTHS, ("auto", "blocked"), True),
    "attention to a cache": (_token, ("bfloat16",), LENGTHS, ("auto", "reference"), False),  # the latter: in blocks
    "selective scan": (_scan, BOTH, LENGTHS, ("auto",), True),
    "selective scan with its gate": (_gated_scan, BOTH, LENGTHS, ("auto",), True),
    "causal convolution": (_convolution, BOTH, LENGTHS, ("auto", "shifted"), True),
    "wkv": (_wkv, BOTH, LENGTHS, ("auto", "associative"), True),
    "rnn": (_rnn, BOTH, (1_024,), ("auto", "sequential"), True),
    "lstm": (_lstm, BOTH, (1_024,), ("auto", "sequential"), True),
    "gru": (_gru, BOTH, (1_024,), ("auto", "sequential"), True),
}


def rows(device: str, ops: Iterable[str]):
    """The rows of the table, op by op."""
    for op in ops:
        make, dtypes, lengths, methods, has_gradient = OPS[op]
        passes = ("forward", "gradient") if has_gradient else ("forward",)
        for dtype, length, method, which in itertools.product(dtypes, lengths, methods, passes):
            run, shapes = make(length, DTYPES[dtype].arrays, method)
            step = jax.jit(run if which == "forward" else _with_gradients(run))
            args = tuple(jax.ShapeDtypeStruct(*each) for each in shapes)
            with jax.default_matmul_precision(DTYPES[dtype].matmul_precision):
                planned = elsewhere.plan_of(device, step, args, dtype)
            name = op if method == "auto" else f"{op} [{method}]"
            yield {"device": device, "op": name, "dtype": dtype, "length": length, "pass": which, **planned}
            print(name, dtype, length, which, planned["kernels"], planned["least_ms"], flush=True)


def _with_gradients(run):
    """Outputs and the gradients by all arguments, for a gradient of the outputs of ones."""

    def both(*args):
        y, pull_back = jax.vjp(run, *args)
        return y, *pull_back(jnp.ones_like(y))

    return both


if __name__ == "__main__":
    _, name, path, *chosen = sys.argv
    assert name in DEVICES, name
    Path(path).write_text(table_of(COLUMNS, rows(name, chosen or OPS)).text)
