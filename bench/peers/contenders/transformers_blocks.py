"""The Mamba mixer and the RWKV-4 attention of transformers, with their implementations in torch."""

from __future__ import annotations

import torch
from transformers import DynamicCache, MambaConfig, RwkvConfig
from transformers.models.mamba.modeling_mamba import MambaMixer
from transformers.models.rwkv.modeling_rwkv import RwkvSelfAttention

from lengthscale.bench.peers.case import D_MODEL, RANK, Case, E, K, N
from lengthscale.bench.peers.contenders.prepared import Given, Prepared
from lengthscale.bench.peers.contenders.torch_calls import (
    Parameters,
    fill,
    linear,
    same,
    sequence,
    tensor,
    without_gradients,
)
from lengthscale.bench.peers.contenders.torch_mamba import fill_mamba


def _mamba(case: Case, given: Given) -> Prepared:
    config = MambaConfig(
        hidden_size=D_MODEL, state_size=N, conv_kernel=K, expand=E // D_MODEL, time_step_rank=RANK, num_hidden_layers=1
    )
    mixer = MambaMixer(config, layer_idx=0)
    parameters = fill_mamba(mixer, given)
    x = parameters["x"][0]
    if case.measure != "decode":
        return sequence(lambda: mixer(x), parameters, case, given)
    cache = DynamicCache(config=config)
    # Their state holds the last K inputs, of which the oldest one is no longer used.
    conv = torch.nn.functional.pad(tensor(given.state["conv"]).transpose(1, 2), (1, 0))
    cache.update_conv_state(conv, 0, conv_kernel_size=K)
    cache.update_recurrent_state(tensor(given.state["h"]).transpose(1, 2), 0)
    # The mixer changes the cache in place.
    return Prepared(without_gradients(lambda: mixer(x, cache_params=cache)), lambda y: {"y": y.numpy()})


def _rwkv4(case: Case, given: Given) -> Prepared:
    config = RwkvConfig(hidden_size=D_MODEL, attention_hidden_size=D_MODEL, num_hidden_layers=1)
    attention = RwkvSelfAttention(config)
    arrays = given.arrays
    parameters: Parameters = {"x": (tensor(arrays["x"]), same)}
    for name in ("key", "value", "receptance", "output"):
        linear(parameters, name, getattr(attention, name), arrays)
    for name, theirs in (
        ("decay", "time_decay"),
        ("first", "time_first"),
        ("mix_k", "time_mix_key"),
        ("mix_v", "time_mix_value"),
        ("mix_r", "time_mix_receptance"),
    ):
        parameters[name] = (fill(getattr(attention, theirs), tensor(arrays[name])), torch.flatten)
    x = parameters["x"][0]
    if case.measure != "decode":
        return sequence(lambda: attention(x)[0], parameters, case, given)
    # (the last input of channel mixing, that of time mixing, and the sums), each (B, D, layers)
    state = [tensor(given.state[name])[:, :, None].clone() for name in ("last", "last", "aa", "bb", "p")]

    def one():
        y, _ = attention(x, state=state, use_cache=True)  # changes the state in place
        return y

    return Prepared(without_gradients(one), lambda y: {"y": y.numpy()})


BUILDERS = {"transformers": {"mamba": _mamba, "rwkv4": _rwkv4}}
