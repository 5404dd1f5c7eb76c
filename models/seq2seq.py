"""The encoder-decoder RNN (Sutskever et al., arXiv:1409.3215; Cho et al., arXiv:1406.1078), of LSTMs or GRUs.

    layers = encoder(source)'s final states;  logits_t = W decoder(y_{<= t} | layers)

Each decoder layer starts from the final state of the encoder's layer of the same number, as in the first paper (the
second also feeds the last layer's state to every step). The source is not reversed. A bidirectional encoder has half
the width in each direction, and hands over both final states, concatenated.
State: the decoder's h (and c) of each layer, whatever the source's length: (N, B, D).
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from lengthscale.models import Interface, Size
from lengthscale.models.base import EncoderDecoder, State
from lengthscale.models.gru import GRU
from lengthscale.models.lstm import LSTM
from lengthscale.models.recurrent import RecurrentConfig, RecurrentModel, Stack, can_be_tied, matched


class Seq2Seq(RecurrentModel, EncoderDecoder):
    """A RecurrentModel, the decoder, that starts where another stack, the encoder, has ended."""

    def __init__(
        self, cell, config: RecurrentConfig, *, interface: Interface, bidirectional: bool = False, rngs: nnx.Rngs
    ):
        d_embed, width = config.d_embed, config.d_model
        if bidirectional and width % 2:
            raise ValueError(f"a bidirectional encoder needs an even d_model, got {width}")
        super().__init__(cell, config, interface=interface, rngs=rngs)
        if not config.tied and not interface.features:
            self.source_embedding = nnx.Param(jax.random.normal(rngs.params(), (interface.vocab, d_embed)))
        features, width = interface.features or d_embed, width // 2 if bidirectional else width
        self.encoder = Stack(cell, features, width, config.n_layers, bidirectional=bidirectional, rngs=rngs)
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
    """An LSTM encoder and decoder with the size's parameters."""
    return matched_seq2seq(LSTM, method, size, interface, rngs)


def build_gru(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> Seq2Seq:
    """A GRU encoder and decoder with the size's parameters."""
    return matched_seq2seq(GRU, method, size, interface, rngs)


def matched_seq2seq(cell, method: str, size: Size, interface: Interface, rngs: nnx.Rngs) -> Seq2Seq:
    """As many layers in the encoder as in the decoder, half of the size's, behind embeddings of the size's width D.

    Their own width, a multiple of D / 32, brings the parameters, with a tied head.
    """
    step, n_layers = max(1, size.d_model // 32), max(1, size.n_layers // 2)
    config = matched(Seq2Seq, cell, RecurrentConfig(step, n_layers, d_embed=size.d_model), size)
    config = replace(config, tied=can_be_tied(interface))
    return Seq2Seq(partial(cell, method=method), config, interface=interface, rngs=rngs)
