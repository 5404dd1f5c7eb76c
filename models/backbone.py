"""Embed -> N x [norm -> mixer -> residual (-> norm -> MLP -> residual)] -> norm -> head.

The N blocks are one module whose parameters have a leading axis N; `lax.scan` runs them, so that neither the program
nor its compile time grows with depth; a few blocks are unrolled. Axes: see models/base.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import jax
import jax.numpy as jnp
from flax import nnx

from lengthscale.models import Interface, Size
from lengthscale.models.base import Mixer, SequenceModel, State
from lengthscale.models.budget import closest_width, count_params
from lengthscale.models.layers import (
    INIT_STD,
    MLP,
    Linear,
    init_std,
    kernel_init,
    layer_norm,
    project,
    sinusoidal_positions,
    stacked,
)
from lengthscale.models.ops.platform import platform
from lengthscale.models.remat import MOST_UNROLLED, scan_blocks

OWN_LOGIT = 2.5  # the most that a tied head may give a token for itself before training

MakeMixer = Callable[..., Mixer]  # of rngs=...
Norm = Callable[[int, nnx.Rngs], Callable]


class Block(Mixer):
    """Pre-norm residual block: x + mixer(norm(x)), then x + MLP(norm(x)) if there is an MLP.

    make_mixer, make_mlp: functions of rngs=..., such as a class with all of its other arguments given (`partial`).
    """

    def __init__(self, d_model: int, make_mixer: MakeMixer, make_mlp: Callable | None, norm: Norm, rngs: nnx.Rngs):
        self.norm = norm(d_model, rngs)
        self.mixer = make_mixer(rngs=rngs)
        if make_mlp is not None:
            self.mlp_norm = norm(d_model, rngs)
            self.mlp = make_mlp(rngs=rngs)
        self.has_mlp = make_mlp is not None
        self.has_cache = self.mixer.has_cache

    def __call__(self, x, state, position):
        y, new = self.mixer(self.norm(x), state, position)
        return self._add(x, y), new

    def prefill(self, x):
        y, new = self.mixer.prefill(self.norm(x))
        return self._add(x, y), new

    def _add(self, x, y):
        x = x + y
        return x + self.mlp(self.mlp_norm(x)) if self.has_mlp else x

    def init_state(self, batch, capacity, dtype):
        return self.mixer.init_state(batch, capacity, dtype)

    def layer_state(self, stacked, layer):
        return self.mixer.layer_state(stacked, layer)

    def commit(self, stacked, new, position):
        return self.mixer.commit(stacked, new, position)


@dataclass(frozen=True)
class BackboneConfig:
    """What stands around the blocks of a backbone.

    positions: None; "sinusoidal": fixed ones, added to the embedding; or a number: a learned table for so many
    positions (GPT-2). scaled: the embedding is multiplied by sqrt(D) (Vaswani et al., arXiv:1706.03762, section 3.4).
    """

    d_model: int
    n_blocks: int
    norm: Norm = layer_norm  # the last one, before the head
    embed_norm: Norm | None = None  # one after the embedding (RWKV's ln0)
    tied: bool = True  # the head is the embedding, transposed, where both are of the vocabulary
    positions: str | int | None = None
    scaled: bool = False
    embed_std: float | None = None  # of the initial embedding; None: see `initial_std`

    @property
    def initial_std(self) -> float:
        """The standard deviation of the initial embedding, and of a table of positions.

        By default that of the other matrices (1 / sqrt(D) where it is scaled), or less in a wide model with a tied
        head: as long as the blocks add little, the head gives each token the logit D x std for following itself, 15 at
        D = 768. At most OWN_LOGIT leaves the initial loss at ln(vocabulary).
        """
        if self.embed_std is not None:
            return self.embed_std
        usual = self.d_model**-0.5 if self.scaled else init_std(self.d_model)
        return min(usual, OWN_LOGIT / self.d_model) if self.tied else usual


def check_capacity(capacity: int, length: int) -> None:
    """Raise ValueError where a state of this capacity cannot hold so many tokens."""
    if capacity < length:
        raise ValueError(f"capacity must hold the tokens, got capacity={capacity}, {length} tokens")


def gpt2_embed_std(d_model: int) -> float:
    """The standard deviation of GPT-2's initial tables: 0.02, or in a narrow model as for other tied heads."""
    return max(INIT_STD, BackboneConfig(d_model, n_blocks=1).initial_std)


class Backbone(SequenceModel):
    """A stack of one kind of block, of which make_block(rngs=...) makes one, between an embedding and a head."""

    remat = "none"

    def __init__(self, config: BackboneConfig, make_block: MakeMixer, *, interface: Interface, rngs: nnx.Rngs):
        d_model, positions = config.d_model, config.positions
        normal = nnx.initializers.normal
        embed_init = normal(INIT_STD if interface.features else config.initial_std)
        rows = interface.features or interface.vocab
        self.embedding = nnx.Param(embed_init(rngs.params(), (rows, d_model)))
        if isinstance(positions, int):
            self.position_table = nnx.Param(normal(config.initial_std)(rngs.params(), (positions, d_model)))
        if config.embed_norm is not None:
            self.embed_norm = config.embed_norm(d_model, rngs)
        self.blocks = stacked(make_block, config.n_blocks, rngs)
        self.norm = config.norm(d_model, rngs)
        self.tied = config.tied and not interface.features and interface.outputs is None
        if not self.tied:
            outputs = interface.outputs or interface.vocab
            self.head = Linear(d_model, outputs, use_bias=False, kernel_init=kernel_init, rngs=rngs)
        self.interface = interface
        self.n_blocks = config.n_blocks
        self.positions = positions
        self.scaled = config.scaled
        self.has_embed_norm = config.embed_norm is not None

    def embed(self, inputs, position=0):
        table = self.embedding[...]
        x = project(inputs.astype(table.dtype), table) if self.interface.features else table[inputs]
        x = x * x.shape[-1] ** 0.5 if self.scaled else x
        at = position + jnp.arange(inputs.shape[1])
        if self.positions == "sinusoidal":
            x = x + self._fixed_positions(at, x)
        elif self.positions is not None:
            x = x + self._learned_positions(at)
        return self.embed_norm(x) if self.has_embed_norm else x

    def _fixed_positions(self, at, x):
        """Sinusoids: of amplitude 1 next to a scaled embedding, else of the size at which GPT-2's table starts."""
        sinusoids = sinusoidal_positions(at, x.shape[-1], x.dtype)
        return sinusoids if self.scaled else sinusoids * (gpt2_embed_std(x.shape[-1]) * 2**0.5)

    def _learned_positions(self, at):
        n_positions = self.position_table.shape[0]
        if at.size > n_positions:
            raise ValueError(f"the model has {n_positions} learned positions, got {at.size} inputs")
        return self.position_table[...][at]

    def mix(self, x, state):
        if state is None:
            x, new = self._run_blocks(x, lambda block, x, layer: block(x, None, 0))
            return x, None if new is None else State(jnp.int32(x.shape[1]), new)

        def run(block, x, layer):
            return block(x, block.layer_state(state.layers, layer), state.position)

        # With a cache not one by one: XLA would copy it for each. Nor, even on CUDA, more than MOST_UNROLLED: a piece
        # of a sequence then takes several times the memory (Mamba of 130m on 65,536 tokens 6 GB, not 1.4, planned).
        unrolled = not self._a_block.has_cache and self.n_blocks <= MOST_UNROLLED
        x, new = self._run_blocks(x, run, unrolled)
        layers = self._a_block.commit(state.layers, new, state.position)
        return x, State(state.position + x.shape[1], layers)

    def prefill(self, inputs, capacity):
        length = inputs.shape[1]
        check_capacity(capacity, length)
        # Without a gradient nothing is kept of a block: the loop is as fast as the blocks one by one, and smaller.
        x, new = self._run_blocks(self.embed(inputs), lambda block, x, layer: block.prefill(x), unrolled=False)
        empty = self.init_state(inputs.shape[0], capacity)
        layers = self._a_block.commit(empty.layers, new, 0)
        return self.logits(x[:, -1]), State(jnp.int32(length), layers)

    def init_state(self, batch, capacity):
        if isinstance(self.positions, int) and capacity > self.positions:
            raise ValueError(f"the model has {self.positions} learned positions, got capacity={capacity}")
        one = self._a_block.init_state(batch, capacity, self.embedding.dtype)
        return State(jnp.int32(0), jax.tree.map(lambda x: jnp.broadcast_to(x, (self.n_blocks, *x.shape)), one))

    def logits(self, x):
        x = self.norm(x)
        return project(x, self.embedding[...].T) if self.tied else self.head(x)

    def apart(self) -> "Backbone":
        """The same model with its blocks one by one, for decoding.

        A token's step reads every weight once. Out of the stack, `lax.scan` first copies each block's: 2x slower,
        measured on a CPU. The program then grows with depth. Blocks with a cache stay together where XLA would copy the
        cache; on CUDA a kernel reads it where it lies.
        """
        if self._a_block.has_cache and platform() != "cuda":
            return self
        model = nnx.clone(self)
        graph, params = nnx.split(self.blocks)
        model.blocks = nnx.List(
            nnx.merge(graph, jax.tree.map(lambda x, i=i: x[i], params)) for i in range(self.n_blocks)
        )
        return model

    @property
    def _a_block(self) -> Mixer:
        """For what does not depend on parameters."""
        return self.blocks[0] if isinstance(self.blocks, nnx.List) else self.blocks

    def _run_blocks(self, x, run, unrolled: bool = True):
        """x through all blocks, and the blocks' new states stacked; run(block, x, layer) -> x, new."""
        if isinstance(self.blocks, nnx.List):
            states = []
            for layer, block in enumerate(self.blocks):
                x, new = run(block, x, layer)
                states.append(new)
            return x, jax.tree.map(lambda *new: jnp.stack(new), *states)
        graph, params = nnx.split(self.blocks)

        def body(x, xs):
            params, layer = xs
            return run(nnx.merge(graph, params), x, layer)

        return scan_blocks(self.remat, body, x, (params, jnp.arange(self.n_blocks)), unrolled)


def residual_backbone(
    config: BackboneConfig, make_mixer: MakeMixer, make_mlp: Callable | None, *, interface: Interface, rngs: nnx.Rngs
) -> Backbone:
    """A backbone of `Block`s whose norms are of the same kind as its last one. The makers are as Block has them."""
    make_block = partial(Block, config.d_model, make_mixer, make_mlp, config.norm)
    return Backbone(config, make_block, interface=interface, rngs=rngs)


def matched_backbone(
    size: Size, interface: Interface, make_mixer: MakeMixer, *, around: BackboneConfig | None = None, rngs: nnx.Rngs
) -> Backbone:
    """A backbone of blocks with the mixer that make_mixer(rngs=...) makes and an MLP of the matched width.

    around: what stands around the blocks (None: the defaults of this size). A table of positions does not count.
    """
    make_mlp = partial(MLP, size.d_model, matched_mlp_width(size, make_mixer), n_residuals=2 * size.n_layers)
    config = around or BackboneConfig(size.d_model, size.n_layers)
    return residual_backbone(config, make_mixer, make_mlp, interface=interface, rngs=rngs)


def matched_mlp_width(size: Size, make_mixer: MakeMixer) -> int:
    """The MLP's width that brings a block with this mixer closest to size.layer_params."""
    mixer = nnx.eval_shape(lambda: make_mixer(rngs=nnx.Rngs(0)))
    return _mlp_width(size, size.layer_params - count_params(mixer))


@cache
def _mlp_width(size: Size, budget: int) -> int:
    """Of an MLP and two norms. Apart from the mixer, so that mixers with as many parameters share the search."""

    def params(width):
        rngs, d_model = nnx.Rngs(0), size.d_model
        return nnx.state(
            (MLP(d_model, width, rngs=rngs), layer_norm(d_model, rngs), layer_norm(d_model, rngs)), nnx.Param
        )

    return closest_width(params, budget, size.mlp_step)
