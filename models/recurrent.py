"""Plain stacks of recurrent layers, as torch.nn's RNN, LSTM and GRU: no residuals, no norms, no MLPs.

    x^0 = embed(inputs);  x^l = layer^l(x^{l-1});  outputs = W x^L + b

The first layer may have inputs of another width; the others are one module with a leading axis, run by `lax.scan`.
Both directions of a bidirectional layer lie side by side in its output, (B, T, 2 D) (Schuster and Paliwal 1997), and
its state is a pair. Input weights have variance 1 / inputs: with the 0.02 that suits a normed residual stream, a deep
plain stack would fall silent. Axes: see models/base.py.

`rnn-plain`, `lstm-plain` and `gru-plain` are one such layer: what is said of recurrent networks is said of these.
"""

from dataclasses import dataclass, replace
from functools import cache, partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jaxtyping import Float, Int

from lengthscale.models import TOKENS, Interface, Size
from lengthscale.models.base import Mixer, PyTree, SequenceModel, State
from lengthscale.models.budget import closest_width
from lengthscale.models.gru import GRU
from lengthscale.models.layers import Linear, stacked, torch_init
from lengthscale.models.lstm import LSTM
from lengthscale.models.ops.packed import reverse
from lengthscale.models.rnn import RNN

_input_init = nnx.initializers.lecun_normal()


class Bidirectional(Mixer):
    """Two layers, the second reading each sequence from its end. Its state is both layers'; it cannot stream."""

    def __init__(self, cell, d_model: int, *, features: int, input_init, rngs: nnx.Rngs):
        self.forward = cell(d_model, features=features, input_init=input_init, rngs=rngs)
        self.backward = cell(d_model, features=features, input_init=input_init, rngs=rngs)

    def __call__(self, x, state, position, lengths=None):
        ahead, back = (None, None) if state is None else state
        y, ahead = self.forward(x, ahead, position, lengths)
        z, back = self.backward(reverse(x, lengths), back, position, lengths)
        return jnp.concatenate([y, reverse(z, lengths)], axis=-1), (ahead, back)

    def init_state(self, batch, capacity, dtype):
        return tuple(cell.init_state(batch, capacity, dtype) for cell in (self.forward, self.backward))


class Stack(nnx.Module):
    """n_layers of one kind of cell (RNN, LSTM or GRU), each reading the outputs of the one before."""

    def __init__(
        self, cell, features: int, d_model: int, n_layers: int, *, bidirectional: bool = False, rngs: nnx.Rngs
    ):
        if n_layers < 1:
            raise ValueError(f"n_layers must be at least 1, got {n_layers}")
        kind = partial(Bidirectional, cell) if bidirectional else cell
        self.first = kind(d_model, features=features, input_init=_input_init, rngs=rngs)
        if n_layers > 1:
            width = 2 * d_model if bidirectional else d_model
            make = partial(kind, d_model, features=width, input_init=_input_init)
            self.rest = stacked(make, n_layers - 1, rngs)
        self.n_layers = n_layers

    def __call__(
        self, x: Float[Array, "B T F"], state: PyTree = None, lengths: Int[Array, " B"] | None = None
    ) -> tuple[Float[Array, "B T D"], PyTree]:
        """The last layer's outputs, and all layers' final states, their leaves (n_layers, B, D).

        lengths: how much of each sequence counts (None: all). Outputs past it are zero, the final states are those at
        the last step that counts, and a reverse direction starts there.
        """
        if lengths is not None and lengths.shape != x.shape[:1]:
            raise ValueError(f"lengths must hold one number a sequence, shape {x.shape[:1]}, got {lengths.shape}")
        state = self.init_state(x.shape[0], x.dtype) if state is None else state
        x, first = self.first(x, jax.tree.map(lambda s: s[0], state), 0, lengths)
        first = jax.tree.map(lambda s: s[None], first)
        if self.n_layers == 1:
            return x, first
        graph, params = nnx.split(self.rest)

        def body(x, xs):
            params, state = xs
            return nnx.merge(graph, params)(x, state, 0, lengths)

        x, rest = lax.scan(body, x, (params, jax.tree.map(lambda s: s[1:], state)))
        return x, jax.tree.map(lambda *parts: jnp.concatenate(parts), first, rest)

    def init_state(self, batch: int, dtype) -> PyTree:
        one = self.first.init_state(batch, 0, dtype)
        return jax.tree.map(lambda s: jnp.broadcast_to(s, (self.n_layers, *s.shape)), one)


@dataclass(frozen=True)
class RecurrentConfig:
    """A stack of recurrent layers between an embedding and a head.

    tied: source, target and head share one table of vocabulary x d_embed (Press and Wolf, arXiv:1608.05859), the head
    projecting to d_embed; embeddings are then multiplied by sqrt(d_embed).
    """

    d_model: int  # every layer's width
    n_layers: int
    d_embed: int = 0  # the embedding's width; features have none
    tied: bool = False


class RecurrentModel(SequenceModel):
    """Tokens embedded, or real features as they are, through a stack to a linear head. State: the stack's.

    cell: RNN, LSTM or GRU. Raises ValueError for a config that the interface does not go with.
    """

    def __init__(self, cell, config: RecurrentConfig, *, interface: Interface, rngs: nnx.Rngs):
        d_embed, tied = config.d_embed, config.tied
        outputs = interface.outputs or interface.vocab
        if tied and (interface.features or outputs != interface.vocab):
            raise ValueError(
                f"a tied head needs tokens in and out, got features={interface.features}, {outputs} outputs"
            )
        if not interface.features:
            if d_embed < 1:
                raise ValueError(f"tokens need an embedding's width, got d_embed={d_embed}")
            init = nnx.initializers.normal(d_embed**-0.5 if tied else 1.0)  # either way the stack reads variance 1
            self.embedding = nnx.Param(init(rngs.params(), (interface.vocab, d_embed)))
        self.stack = Stack(cell, interface.features or d_embed, config.d_model, config.n_layers, rngs=rngs)
        self.head = Linear(config.d_model, d_embed if tied else outputs, kernel_init=torch_init(), rngs=rngs)
        self.interface = interface
        self.tied = tied

    def embed(self, inputs, position=0):
        if self.interface.features:
            return inputs.astype(self.head.kernel.dtype)
        table = self.embedding[...]
        return table[inputs] * table.shape[1] ** 0.5 if self.tied else table[inputs]

    def mix(self, x, state):
        state = self.init_state(x.shape[0], 0) if state is None else state
        x, layers = self.stack(x, state.layers)
        return x, State(state.position + x.shape[1], layers)

    def logits(self, x):
        y = self.head(x)
        return y @ self.embedding[...].T if self.tied else y

    def prefill(self, inputs, capacity):
        x, state = self.features(inputs)
        assert state is not None
        return self.logits(x[:, -1]), state

    def init_state(self, batch, capacity):
        return State(jnp.int32(0), self.stack.init_state(batch, self.head.kernel.dtype))


def build_rnn(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> RecurrentModel:
    """One RNN layer with the size's parameters."""
    return matched_layer(RNN, method, size, interface, rngs)


def build_lstm(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> RecurrentModel:
    """One LSTM layer with the size's parameters."""
    return matched_layer(LSTM, method, size, interface, rngs)


def build_gru(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> RecurrentModel:
    """One GRU layer with the size's parameters."""
    return matched_layer(GRU, method, size, interface, rngs)


def matched_layer(cell, method: str, size: Size, interface: Interface, rngs: nnx.Rngs) -> RecurrentModel:
    """One layer behind an embedding of the size's width; its own width brings the parameters, with a tied head."""
    config = matched(RecurrentModel, cell, RecurrentConfig(1, 1, d_embed=size.d_model), size)
    config = replace(config, tied=can_be_tied(interface))
    return RecurrentModel(partial(cell, method=method), config, interface=interface, rngs=rngs)


def can_be_tied(interface: Interface) -> bool:
    """Whether tokens go in and out."""
    return not interface.features and interface.outputs is None


@cache
def matched(model: type[RecurrentModel], cell, config: RecurrentConfig, size: Size) -> RecurrentConfig:
    """The config with the width, a multiple of its own, that brings the model to the size's n_layers x layer_params.

    What counts are the cells as their papers have them, and the matrix to a tied head, whatever the interface is. The
    GRU's second bias is cuDNN's, and no other model's head has a bias.
    """
    tied = replace(config, tied=True)

    def params(d_model):
        made = model(cell, replace(tied, d_model=d_model), interface=TOKENS, rngs=nnx.Rngs(0))
        flat = nnx.to_flat_state(nnx.state(made, nnx.Param))
        left_out = ("embedding",), ("head", "bias")
        return [x.get_value() for path, x in flat if path[-1] != "b_n" and path not in left_out]

    return replace(config, d_model=closest_width(params, size.n_layers * size.layer_params, config.d_model))
