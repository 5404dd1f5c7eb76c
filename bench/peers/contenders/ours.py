"""Ours: the ops and mixers of models/, and whole models by the measures of bench/device/measures/."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp
from flax import nnx
from jax import lax

from lengthscale.bench.peers.case import D_MODEL, HEAD_SIZE, HEADS, Case
from lengthscale.bench.peers.contenders import ours_models
from lengthscale.bench.peers.contenders.inputs import GATES
from lengthscale.bench.peers.contenders.jax_calls import sequence, step
from lengthscale.bench.peers.contenders.prepared import Given, Prepared, nothing
from lengthscale.models.gru import GRU
from lengthscale.models.lstm import LSTM
from lengthscale.models.mamba import Mamba, MambaConfig, MambaState
from lengthscale.models.ops.attention import Cache, attention, attention_with_cache
from lengthscale.models.ops.selective_scan import Inputs, selective_scan
from lengthscale.models.ops.wkv import Decay, WKVState, empty_state, wkv
from lengthscale.models.rnn import RNN
from lengthscale.models.rwkv4 import TimeMix

_CELLS = {"rnn": RNN, "lstm": LSTM, "gru": GRU}


def _with_weights(make: Callable[[nnx.Rngs], nnx.Module]) -> Callable[[dict], nnx.Module]:
    """The function from arrays, by the names of parameters, to the module with these parameters."""
    graph, params = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))), nnx.Param)
    flat = nnx.to_flat_state(params)

    def fill(arrays: dict):
        filled = [(path, variable.replace(arrays[".".join(map(str, path))])) for path, variable in flat]
        return nnx.merge(graph, nnx.from_flat_state(filled))

    return fill


def _recurrent(case: Case, given: Given) -> Prepared:
    width = given.arrays["w_h"].shape[1]
    fill = _with_weights(lambda rngs: _CELLS[case.row](width, rngs=rngs))
    if case.measure != "decode":
        return sequence(lambda arrays: fill(arrays)(arrays["x"], None, 0)[0], case, given)
    names = tuple(given.state)

    def one(arrays, state):
        before = tuple(state[name] for name in names)
        y, after = fill(arrays)(arrays["x"], before if len(names) > 1 else before[0], 0)
        return y, dict(zip(names, after if len(names) > 1 else (after,), strict=True))

    return step(one, given)


def _selective_scan(case: Case, given: Given) -> Prepared:
    return sequence(lambda a: selective_scan(Inputs(a["u"], a["dt"], a["B"], a["C"]), a["A"])[0], case, given)


def _wkv(case: Case, given: Given) -> Prepared:
    return sequence(lambda a: wkv(Decay(-jnp.exp(a["decay"]), a["first"]), a["k"], a["v"])[0], case, given)


def _mamba(case: Case, given: Given, method: str = "auto") -> Prepared:
    fill = _with_weights(lambda rngs: Mamba(MambaConfig(D_MODEL, n_blocks=1), method=method, rngs=rngs))
    if case.measure != "decode":
        return sequence(lambda arrays: fill(arrays)(arrays["x"], None, 0)[0], case, given)

    def one(arrays, state):
        y, after = fill(arrays)(arrays["x"], MambaState(**state), 0)
        return y, after._asdict()

    return step(one, given)


def _mamba_associative(case: Case, given: Given) -> Prepared:
    return _mamba(case, given, "associative")


def attention_work(case: Case, heads: int = HEADS) -> float:
    """The FLOPs of causal attention: T (T + 1) / 2 pairs, with 2 products forward and 5 backward (one is repeated)."""
    pairs = case.length * (case.length + 1) / 2
    return case.batch * heads * pairs * 2 * HEAD_SIZE * (7 if case.measure == "train" else 2)


def _attention(case: Case, given: Given) -> Prepared:
    if case.measure != "decode":
        work = attention_work(case, given.arrays["q"].shape[2])
        return sequence(lambda a: attention(a["q"], a["k"], a["v"]), case, given, work)
    last = case.length - 1

    def one(a, state):
        cache = Cache(state["k_cache"][None], state["v_cache"][None], 0, last)
        y = attention_with_cache(a["q"], a["k"], a["v"], cache)  # pyright: ignore[reportArgumentType]
        # With 0 * y the cache is updated after it is read, as in a model; otherwise XLA would copy the cache.
        new = {name: (a[name] + 0 * y).swapaxes(1, 2) for name in "kv"}
        caches = {f"{name}_cache": state[f"{name}_cache"] for name in "kv"}
        at = (0, 0, last, 0)
        return y, {name: lax.dynamic_update_slice(cache, new[name[0]], at) for name, cache in caches.items()}

    return step(one, given)


def _rwkv4(case: Case, given: Given) -> Prepared:
    fill = _with_weights(lambda rngs: TimeMix(D_MODEL, D_MODEL, rngs=rngs))
    if case.measure == "decode":

        def one(arrays, state):
            sums = WKVState(state["aa"], state["bb"], state["p"])
            y, sums = fill(arrays)(arrays["x"], state["last"], sums)
            return y, {"last": arrays["x"][:, -1], **sums._asdict()}

        return step(one, given)

    def run(arrays):
        x = arrays["x"]
        return fill(arrays)(x, jnp.zeros_like(x[:, 0]), empty_state(case.batch, D_MODEL, x.dtype))[0]

    return sequence(run, case, given)


def _forward(builder: Callable) -> Callable:
    """The builder of the forward pass alone, for any measure of the case."""

    def build(case: Case, given: Given) -> Prepared:
        return replace(builder(replace(case, measure="forward"), given), outputs=nothing)

    return build


_OPS = {
    **dict.fromkeys(GATES, _recurrent),
    "selective-scan": _selective_scan,
    "mamba": _mamba,
    "mamba-associative": _mamba,
    "attention": _attention,
    "wkv": _wkv,
    "rwkv4": _rwkv4,
}
BUILDERS = {
    "ours": {**_OPS, **ours_models.BUILDERS},
    "ours-forward": {name: _forward(builder) for name, builder in _OPS.items()},
    "ours-associative": {"mamba-associative": _mamba_associative},
    "ours-shortest": ours_models.SHORTEST,
    "ours-64k": ours_models.AT_64K,
}
