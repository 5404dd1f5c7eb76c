"""The inputs: the same numbers for every contender, from a seed. Names are those of our modules' parameters.

A width that is not given is in the shapes of the arrays, from which the builders take it, and so is the precision.

Axes: B batch, T time, D width, G gates, H heads, K head size, S slots of a cache, E inner width, N states, R rank.
"""

from __future__ import annotations

import zlib

import ml_dtypes  # noqa: F401, of jax; with it numpy knows bfloat16
import numpy as np

from lengthscale.bench.peers.case import D_MODEL, HEAD_SIZE, RANK, Case, K, N
from lengthscale.bench.peers.contenders.prepared import Arrays
from lengthscale.bench.plan.dtypes import DTYPES

IN_FLOAT32 = ("A",)  # at any precision: the decays are exponentials of it
GATES = {"rnn": 1, "lstm": 4, "gru": 3}


def make(case: Case, d_model: int = D_MODEL, dtype: str = "float32") -> tuple[Arrays, Arrays, np.ndarray | None]:
    """(arrays by which gradients are taken, the state of decoding, the weights w of the sum or None).

    d_model, dtype: as a Row's. The case's row is an op.
    """
    name = "mamba" if case.row == "mamba-associative" else case.row
    if name not in _MAKERS:  # a whole model, whose measure makes its own inputs
        return {}, {}, None
    rng = np.random.default_rng(zlib.crc32(repr((name, case.measure, case.length, case.batch)).encode()))
    arrays, state, shape = _MAKERS[name](case, d_model, rng)
    w = _normal(rng, *shape) if case.measure == "train" else None
    if dtype != "float32":
        kind = np.dtype(DTYPES[dtype].arrays)
        arrays = {name: x if name in IN_FLOAT32 else x.astype(kind) for name, x in arrays.items()}
        w = None if w is None else w.astype(kind)
    return arrays, state, w


def _normal(rng, *shape: int, scale: float = 1.0) -> np.ndarray:
    x = rng.standard_normal(shape, np.float32)
    if scale != 1:
        x *= np.float32(scale)
    return x


def _uniform(rng, low: float, high: float, *shape: int) -> np.ndarray:
    return rng.uniform(low, high, shape).astype(np.float32)


def _length(case: Case) -> int:
    return 1 if case.measure == "decode" else case.length


def _recurrent(case: Case, D: int, rng):
    """The inputs of a recurrent layer. Its recurrent weights contract, or rounding errors would grow over 32k steps."""
    gates = GATES[case.row]
    arrays = {
        "x": _normal(rng, case.batch, _length(case), D),
        "w_x.kernel": _normal(rng, D, gates * D, scale=D**-0.5),
        "w_x.bias": _normal(rng, gates * D, scale=0.1),
        "w_h": _normal(rng, gates * D, D, scale=0.5 * D**-0.5),
    }
    if case.row == "gru":
        arrays["b_n"] = np.zeros(D, np.float32)  # flax's cell has none
    state = {}
    if case.measure == "decode":
        state = {name: _normal(rng, case.batch, D, scale=0.3) for name in (("h", "c") if case.row == "lstm" else "h")}
    return arrays, state, (case.batch, case.length, D)


def _selective_scan(case: Case, D: int, rng):
    B, T, E = case.batch, case.length, 2 * D
    arrays = {
        "u": _normal(rng, B, T, E),
        "dt": _softplus(_normal(rng, B, T, E) - 4),
        "A": -np.tile(np.arange(1, N + 1, dtype=np.float32), (E, 1)),
        "B": _normal(rng, B, T, N),
        "C": _normal(rng, B, T, N),
    }
    return arrays, {}, (B, T, E)


def _softplus(x):
    """log(1 + e^x), in the memory of x: it may have gigabytes."""
    return np.log1p(np.exp(x, out=x), out=x)


def _mamba(case: Case, D: int, rng):
    E = 2 * D
    arrays = {
        "x": _normal(rng, case.batch, _length(case), D),
        "in_proj.kernel": _normal(rng, D, 2 * E, scale=D**-0.5),
        "conv_w": _uniform(rng, -(K**-0.5), K**-0.5, K, E),
        "conv_b": _normal(rng, E, scale=0.1),
        "x_proj.kernel": _normal(rng, E, RANK + 2 * N, scale=E**-0.5),
        "dt_proj.kernel": _uniform(rng, -(RANK**-0.5), RANK**-0.5, RANK, E),
        "dt_proj.bias": _uniform(rng, -6.9, -2.3, E),  # its softplus is from 1e-3 to 1e-1
        "A_log": np.tile(np.log(np.arange(1, N + 1, dtype=np.float32)), (E, 1)),
        "D": np.ones(E, np.float32),
        "out_proj.kernel": _normal(rng, E, D, scale=E**-0.5),
    }
    state = {}
    if case.measure == "decode":
        state = {"conv": _normal(rng, case.batch, K - 1, E), "h": _normal(rng, case.batch, N, E, scale=0.1)}
    return arrays, state, (case.batch, case.length, D)


def _attention(case: Case, D: int, rng):
    heads = D // HEAD_SIZE
    shape = (case.batch, _length(case), heads, HEAD_SIZE)
    arrays = {name: _normal(rng, *shape) for name in "qkv"}
    state = {}
    if case.measure == "decode":
        cache = (case.batch, heads, case.length, HEAD_SIZE)
        state = {name: _normal(rng, *cache) for name in ("k_cache", "v_cache")}
    return arrays, state, shape


def _wkv(case: Case, D: int, rng):
    shape = (case.batch, case.length, D)
    return _decay(D, rng) | {name: _normal(rng, *shape) for name in "kv"}, {}, shape


def _decay(D: int, rng) -> Arrays:
    return {"decay": np.linspace(-5, 3, D, dtype=np.float32), "first": _normal(rng, D, scale=0.5)}


def _rwkv4(case: Case, D: int, rng):
    arrays = {"x": _normal(rng, case.batch, _length(case), D)} | _decay(D, rng)
    arrays |= {f"mix_{name}": _uniform(rng, 0, 1, D) for name in "kvr"}
    for name in ("key", "value", "receptance", "output"):
        arrays[f"{name}.kernel"] = _normal(rng, D, D, scale=D**-0.5)
    state = {}
    if case.measure == "decode":
        state = {name: _normal(rng, case.batch, D) for name in ("last", "aa", "p")}
        state["bb"] = _uniform(rng, 0.5, 2, case.batch, D)
    return arrays, state, (case.batch, case.length, D)


_MAKERS = {
    **dict.fromkeys(GATES, _recurrent),
    "selective-scan": _selective_scan,
    "mamba": _mamba,
    "attention": _attention,
    "wkv": _wkv,
    "rwkv4": _rwkv4,
}
