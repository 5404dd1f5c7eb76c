"""The encoder-decoder RNN (Sutskever et al., arXiv:1409.3215; Cho et al., arXiv:1406.1078), of LSTMs or GRUs.

    layers = encoder(source)'s final states;  logits_t = W decoder(y_{<= t} | layers)

Each decoder layer starts from the final state of the encoder's layer beside it, as in the first paper (the second feeds
the last layer's to every step, too). The source is read as it comes, not reversed. A bidirectional encoder has half
the width in each direction, and hands over both final states side by side.
State: the decoder's h (and c) of each layer, whatever the source's length: (N, B, D).
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
from flax import nnx

from lengthscale.models import TOKENS, Interface, Size
from lengthscale.models.base import EncoderDecoder, State
from lengthscale.models.budget import closest_width
from lengthscale.models.gru import GRU
from lengthscale.models.lstm import LSTM
from lengthscale.models.recurrent import RecurrentModel, Stack, counted


class Seq2Seq(RecurrentModel, EncoderDecoder):
    """A RecurrentModel, the decoder, that starts where another stack, the encoder, has ended."""

    def __init__(
        self,
        cell,
        *,
        interface: Interface,
        d_model: int,
        n_layers: int,
        d_embed: int = 0,
        tied: bool = False,
        bidirectional: bool = False,
        rngs: nnx.Rngs,
    ):
        if bidirectional and d_model % 2:
            raise ValueError(f"a bidirectional encoder needs an even d_model, got {d_model}")
        super().__init__(
            cell, interface=interface, d_model=d_model, n_layers=n_layers, d_embed=d_embed, tied=tied, rngs=rngs
        )
        if not tied and not interface.features:
            self.source_embedding = nnx.Param(jax.random.normal(rngs.params(), (interface.vocab, d_embed)))
        features, width = interface.features or d_embed, d_model // 2 if bidirectional else d_model
        self.encoder = Stack(cell, features, width, n_layers, bidirectional=bidirectional, rngs=rngs)
        self.bidirectional = bidirectional

    def encode(self, source, lengths=None, capacity=0):
        _, layers = self.encoder(self.embed_source(source), None, lengths)
        if self.bidirectional:
            layers = jax.tree.map(lambda ahead, back: jnp.concatenate([ahead, back], axis=-1), *layers)
        return State(jnp.int32(0), layers)

    def embed_source(self, source):
        if self.tied or self.interface.features:
            return self.embed(source)
        return self.source_embedding[...][source]

    def teach(self, source, targets, lengths=None):
        return self(targets, self.encode(source, lengths))[0]


def build_lstm(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> Seq2Seq:
    return matched_seq2seq(LSTM, method, size, interface, rngs)


def build_gru(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> Seq2Seq:
    return matched_seq2seq(GRU, method, size, interface, rngs)


def matched_seq2seq(cell, method: str, size: Size, interface: Interface, rngs: nnx.Rngs) -> Seq2Seq:
    """As many layers in the encoder as in the decoder, half of the size's, behind embeddings of the size's width D.

    Their own width, a multiple of D / 32, brings both stacks and the projection to a tied head to the size's
    n_layers x layer_params.
    """
    return Seq2Seq(
        partial(cell, method=method),
        interface=interface,
        d_model=_width(cell, size),
        n_layers=_n_layers(size),
        d_embed=size.d_model,
        tied=not interface.features and interface.outputs is None,
        rngs=rngs,
    )


def _n_layers(size: Size) -> int:
    return max(1, size.n_layers // 2)


@cache
def _width(cell, size: Size) -> int:
    def params(width):
        rest = {"n_layers": _n_layers(size), "d_embed": size.d_model, "tied": True}
        return counted(Seq2Seq(cell, interface=TOKENS, d_model=width, **rest, rngs=nnx.Rngs(0)))

    return closest_width(params, size.n_layers * size.layer_params, max(1, size.d_model // 32))
