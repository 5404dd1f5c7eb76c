"""Embed -> N x [norm -> mixer -> residual (-> norm -> MLP -> residual)] -> norm -> head.

The N blocks are one module whose parameters have a leading axis N; `lax.scan` runs them, so that neither the program
nor its compile time grows with depth. The head is the embedding, transposed. Axes: see models/base.py.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from models import Size
from models.base import Mixer, SequenceModel, State
from models.layers import MLP, kernel_init, layer_norm, sinusoidal_positions

MakeMixer = Callable[[nnx.Rngs], Mixer]


class Block(nnx.Module):
    """Pre-norm residual block: x + mixer(norm(x)), then x + MLP(norm(x)) if there is an MLP."""

    def __init__(self, d_model: int, make_mixer: MakeMixer, mlp: Callable | None, norm: Callable, rngs: nnx.Rngs):
        self.norm = norm(d_model, rngs)
        self.mixer = make_mixer(rngs)
        if mlp is not None:
            self.mlp_norm = norm(d_model, rngs)
            self.mlp = mlp(rngs)
        self.has_mlp = mlp is not None

    def __call__(self, x, mix):
        y, new = mix(self.mixer, self.norm(x))
        x = x + y
        if self.has_mlp:
            x = x + self.mlp(self.mlp_norm(x))
        return x, new


class Backbone(SequenceModel):
    """A language model of one kind of mixer.

    make_mixer: makes one block's mixer. mlp_width: 0 for blocks without an MLP. norm: (width, rngs) -> module.
    positions: add sinusoidal positions to the embedding, which then is multiplied by sqrt(D), as in the 2017 paper.
    """

    def __init__(
        self,
        *,
        vocab: int,
        d_model: int,
        n_blocks: int,
        make_mixer: MakeMixer,
        mlp_width: int,
        norm: Callable = layer_norm,
        positions: bool = False,
        rngs: nnx.Rngs,
    ):
        def make_mlp(rngs):
            return MLP(d_model, mlp_width, n_residuals=2 * n_blocks, rngs=rngs)

        @nnx.split_rngs(splits=n_blocks)
        @nnx.vmap
        def make_blocks(rngs):
            return Block(d_model, make_mixer, make_mlp if mlp_width else None, norm, rngs)

        embed_init = nnx.initializers.normal(d_model**-0.5) if positions else kernel_init
        self.embedding = nnx.Param(embed_init(rngs.params(), (vocab, d_model)))
        self.blocks = make_blocks(rngs)
        self.norm = norm(d_model, rngs)
        self.n_blocks = n_blocks
        self.positions = positions

    def features(self, tokens, state=None):
        if state is None:
            x, new = self._run_blocks(self._embed(tokens, 0), lambda mixer, x, _: mixer(x, None, 0))
            after = None if new is None else State(jnp.int32(tokens.shape[1]), new)
            return x, after

        position = state.position

        def mix(mixer, x, layer):
            return mixer(x, mixer.layer_state(state.layers, layer), position)

        x, new = self._run_blocks(self._embed(tokens, position), mix)
        layers = self.blocks.mixer.commit(state.layers, new, position)
        return x, State(position + tokens.shape[1], layers)

    def prefill(self, tokens, capacity):
        length = tokens.shape[1]
        if capacity < length:
            raise ValueError(f"capacity must hold the tokens, got capacity={capacity}, {length} tokens")
        x, new = self._run_blocks(self._embed(tokens, 0), lambda mixer, x, _: mixer.prefill(x))
        empty = self.init_state(tokens.shape[0], capacity)
        layers = self.blocks.mixer.commit(empty.layers, new, 0)
        return self.logits(x[:, -1]), State(jnp.int32(length), layers)

    def init_state(self, batch, capacity):
        one = self.blocks.mixer.init_state(batch, capacity, self.embedding.dtype)
        return State(jnp.int32(0), jax.tree.map(lambda x: jnp.broadcast_to(x, (self.n_blocks, *x.shape)), one))

    def logits(self, x):
        return self.norm(x) @ self.embedding[...].T

    def _embed(self, tokens, position):
        x = self.embedding[...][tokens]
        if self.positions:
            at = position + jnp.arange(tokens.shape[1])
            x = x * x.shape[-1] ** 0.5 + sinusoidal_positions(at, x.shape[-1], x.dtype)
        return x

    def _run_blocks(self, x, mix):
        """x through all blocks, and the blocks' new states stacked; mix(mixer, x, layer) -> y, new."""
        graph, params = nnx.split(self.blocks)

        def body(x, xs):
            params, layer = xs
            return nnx.merge(graph, params)(x, lambda mixer, x: mix(mixer, x, layer))

        return lax.scan(body, x, (params, jnp.arange(self.n_blocks)))


def matched_backbone(size: Size, vocab: int, make_mixer: MakeMixer, *, positions: bool = False, rngs) -> Backbone:
    """A backbone whose MLP's width, a multiple of D / 8, brings each block with this mixer to size.layer_params."""
    mixer = nnx.eval_shape(lambda: make_mixer(nnx.Rngs(0)))
    rest = size.layer_params - count_params(mixer) - 5 * size.d_model  # two norms and the MLP's second bias
    step = size.d_model // 8
    mlp_width = max(step, round(rest / (2 * size.d_model + 1) / step) * step)
    return Backbone(
        vocab=vocab,
        d_model=size.d_model,
        n_blocks=size.n_layers,
        make_mixer=make_mixer,
        mlp_width=mlp_width,
        positions=positions,
        rngs=rngs,
    )


def count_params(module: nnx.Module) -> int:
    """Parameters held, of a real or an abstract module."""
    return sum(x.size for x in jax.tree.leaves(nnx.state(module, nnx.Param)))
