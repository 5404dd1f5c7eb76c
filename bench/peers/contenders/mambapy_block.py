"""mambapy's Mamba block: its parallel scan on a sequence, and its step for decoding."""

from __future__ import annotations

from mambapy.mamba import MambaBlock, MambaConfig

from lengthscale.bench.peers.case import D_MODEL, RANK, Case, E, K, N
from lengthscale.bench.peers.contenders.prepared import Given, Prepared
from lengthscale.bench.peers.contenders.torch_calls import sequence, tensor, without_gradients
from lengthscale.bench.peers.contenders.torch_mamba import fill_mamba


def _mamba(case: Case, given: Given) -> Prepared:
    config = MambaConfig(D_MODEL, 1, dt_rank=RANK, d_state=N, expand_factor=E // D_MODEL, d_conv=K)
    block = MambaBlock(config)
    parameters = fill_mamba(block, given)
    x = parameters["x"][0]
    if case.measure != "decode":
        return sequence(lambda: block(x), parameters, case, given)
    state = (
        tensor(given.state["h"].swapaxes(1, 2)),
        tensor(given.state["conv"].swapaxes(1, 2)),
    )  # (B, E, N), (B, E, K-1)

    def one():
        nonlocal state
        y, state = block.step(x[:, 0], state)
        return y[:, None]

    return Prepared(without_gradients(one), lambda y: {"y": y.numpy()})


BUILDERS = {"mambapy": {"mamba": _mamba}}
