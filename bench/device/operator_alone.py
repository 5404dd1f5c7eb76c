"""A model's operator over positions, without its block: what it is applied to, and the call that the block makes.

It is attention, or the recurrence of an RNN, LSTM, GRU, S4D, Mamba or RWKV-4, with the gate if the block's kernel has
one. Its sizes and its parameters are those of the model's first block at initialisation, as is the state of an empty
sequence. What depends on the tokens is drawn from a normal distribution of variance 1, not computed by the block: at
initialisation RWKV's keys, for one, are all zero.

Axes: models/ops; B batch, T time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from lengthscale.models.backbone import Backbone, Block
from lengthscale.models.gru import GRU
from lengthscale.models.lstm import LSTM
from lengthscale.models.mamba import Mamba
from lengthscale.models.ops.attention import Mask, attention
from lengthscale.models.ops.gated import gru, lstm, rnn
from lengthscale.models.ops.s4d import System, s4d
from lengthscale.models.ops.selective_scan import Gate, Inputs, gated_selective_scan
from lengthscale.models.ops.wkv import Decay, wkv
from lengthscale.models.recurrent import RecurrentModel
from lengthscale.models.rnn import RNN
from lengthscale.models.rwkv4 import RWKVBlock
from lengthscale.models.ssm import S4D
from lengthscale.models.transformer import SelfAttention


@dataclass(frozen=True)
class Tokens:
    """The sequences that an operator is applied to. Each array that is drawn is another one."""

    batch: int
    length: int
    dtype: str
    rngs: nnx.Rngs

    def draw(self, *axes: int) -> Float[Array, "B T *axes"]:
        """Random numbers of each token, normal with variance 1."""
        return jax.random.normal(self.rngs.params(), (self.batch, self.length, *axes), self.dtype)


@dataclass(frozen=True)
class Operator:
    """How a kind of layer calls its operator.

    operands: (layer, tokens) -> the arrays that the operator reads. apply: (layer, *operands) -> its outputs, of shape
    (B, T, ...), for which the layer's arrays may be abstract.
    """

    operands: Callable[[Any, Tokens], tuple]
    apply: Callable[..., Array]


def layer_of(model: nnx.Module) -> nnx.Module:
    """The layer with the operator: the first block's mixer, a block that is one itself, or the first recurrent layer.

    Of another model it is the model itself.
    """
    if type(model) is RecurrentModel:  # a seq2seq, which is one too, has two stacks
        return model.stack.first
    if not isinstance(model, Backbone):
        return model
    graph, params = nnx.split(model.blocks)
    block = nnx.merge(graph, jax.tree.map(lambda x: x[0], params))
    return block.mixer if isinstance(block, Block) else block


def _attention_operands(layer: SelfAttention, tokens: Tokens):
    return tuple(tokens.draw(heads, layer.head_size) for heads in (layer.heads, layer.kv_heads, layer.kv_heads))


def _attention(layer: SelfAttention, q, k, v):
    return attention(q, k, v, Mask(layer.causal, layer.window), method=layer.method)


def _selective_scan_operands(layer: Mamba, tokens: Tokens):
    h = layer.init_state(tokens.batch, 0, tokens.dtype).h
    u, delta, z = (tokens.draw(layer.d_inner) for _ in range(3))
    B, C = (tokens.draw(layer.d_state).astype(h.dtype) for _ in range(2))
    A = -jnp.exp(layer.A_log[...].astype(h.dtype))
    assert layer.dt_proj.bias is not None
    return Inputs(u, delta, B, C), A, h, Gate(z, layer.D[...], layer.dt_proj.bias[...])


def _selective_scan(layer: Mamba, x, A, h, gate):
    rule = layer.discretisation
    return gated_selective_scan(x, A, h, gate, discretisation=rule, method=layer.method)[0]


def _wkv_operands(layer: RWKVBlock, tokens: Tokens):
    state = layer.init_state(tokens.batch, 0, tokens.dtype).wkv
    w = -jnp.exp(layer.time_mix.decay[...].astype(state.p.dtype))
    return Decay(w, layer.time_mix.first[...]), tokens.draw(layer.d_time), tokens.draw(layer.d_time), state


def _wkv(layer: RWKVBlock, decay, k, v, state):
    return wkv(decay, k, v, state, method=layer.time_mix.method)[0]


def _s4d_operands(layer: S4D, tokens: Tokens):
    system = System(*layer.discrete())
    return tokens.draw(layer.d_model).astype(system.c.real.dtype), system


def _s4d(layer: S4D, u, system):
    return s4d(u, system, method=layer.method)[0]


def _cell_operands(layer: RNN | LSTM | GRU, tokens: Tokens):
    """The gates of every token, then what the recurrence has of its own: W, the GRU's second bias, the state, b."""
    state = layer.init_state(tokens.batch, 0, tokens.dtype)
    second = (layer.b_n[...],) if isinstance(layer, GRU) else ()
    assert layer.w_x.bias is not None
    w_h = layer.w_h[...]
    return tokens.draw(len(w_h)), w_h, *second, *jax.tree.leaves(state), layer.w_x.bias[...]


def _rnn(layer: RNN, xg, w_h, h, bias):
    return rnn(xg, w_h, h, bias=bias, method=layer.method)


def _lstm(layer: LSTM, xg, w_h, h, c, bias):
    return lstm(xg, w_h, h, c, bias=bias, method=layer.method)[0]


def _gru(layer: GRU, xg, w_h, b_n, h, bias):
    return gru(xg, w_h, b_n, h, bias=bias, method=layer.method)


OPERATORS: dict[type, Operator] = {
    SelfAttention: Operator(_attention_operands, _attention),
    Mamba: Operator(_selective_scan_operands, _selective_scan),
    RWKVBlock: Operator(_wkv_operands, _wkv),
    S4D: Operator(_s4d_operands, _s4d),
    RNN: Operator(_cell_operands, _rnn),
    LSTM: Operator(_cell_operands, _lstm),
    GRU: Operator(_cell_operands, _gru),
}
