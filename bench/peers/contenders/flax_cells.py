"""flax's own recurrent layers: nnx.RNN over SimpleCell, OptimizedLSTMCell, LSTMCell and GRUCell."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
from flax import nnx

from lengthscale.bench.peers.case import D_MODEL, Case
from lengthscale.bench.peers.contenders.inputs import GATES
from lengthscale.bench.peers.contenders.jax_calls import sequence, step
from lengthscale.bench.peers.contenders.prepared import Given, Prepared

_CELLS = {"rnn": nnx.SimpleCell, "lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell}
_BIAS_AT = {"rnn": "dense_i", "lstm": "dense_h", "gru": "dense_i"}


def _fused(cell, arrays: dict, kind: str):
    """A cell with all gates in one matrix, filled with our parameters."""
    cell.dense_i.kernel[...] = arrays["w_x.kernel"]
    cell.dense_h.kernel[...] = arrays["w_h"].T
    getattr(cell, _BIAS_AT[kind]).bias[...] = arrays["w_x.bias"]
    return cell


def _gate_by_gate(cell, arrays: dict, kind: str):
    """LSTMCell, which has two matrices for each gate, filled with our parameters."""
    kernel, bias = jnp.split(arrays["w_x.kernel"], 4, axis=1), jnp.split(arrays["w_x.bias"], 4)
    recurrent = jnp.split(arrays["w_h"], 4)
    for i, gate in enumerate("ifgo"):
        name = {"f": "if_"}.get(gate, f"i{gate}")
        getattr(cell, name).kernel[...] = kernel[i]
        getattr(cell, f"h{gate}").kernel[...] = recurrent[i].T
        getattr(cell, f"h{gate}").bias[...] = bias[i]
    return cell


def _layer(make, fill, case: Case, given: Given) -> Prepared:
    graph, rest = nnx.split(make(D_MODEL, D_MODEL, rngs=nnx.Rngs(0)))

    def cell(arrays):
        return fill(nnx.merge(graph, rest, copy=True), arrays, case.row)

    if case.measure == "decode":
        names = tuple(reversed(given.state))  # flax's carry is (c, h)

        def one(arrays, state):
            carry = tuple(state[name] for name in names)
            after, y = cell(arrays)(carry if len(names) > 1 else carry[0], arrays["x"][:, 0])
            return y[:, None], dict(zip(names, after if len(names) > 1 else (after,), strict=True))

        return step(one, given)

    def run(arrays):
        zeros = jnp.zeros((case.batch, D_MODEL))
        carry = (zeros, zeros) if case.row == "lstm" else zeros
        return nnx.RNN(cell(arrays))(arrays["x"], initial_carry=carry)

    return sequence(run, case, given)


def _standard(case: Case, given: Given) -> Prepared:
    arrays = {name: value for name, value in given.arrays.items() if name != "b_n"}  # flax has no such bias
    given = replace(given, arrays=arrays)
    return _layer(_CELLS[case.row], _fused, case, given)


def _lstmcell(case: Case, given: Given) -> Prepared:
    return _layer(nnx.LSTMCell, _gate_by_gate, case, given)


BUILDERS = {"flax": dict.fromkeys(GATES, _standard), "flax-lstmcell": {"lstm": _lstmcell}}
