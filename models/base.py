"""The contracts: a SequenceModel is what the harness runs, a Mixer is what a backbone stacks.

Axes: B batch, T time, D model width, V vocabulary, N blocks.
"""

from typing import Any, NamedTuple

import jax
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

PyTree = Any


class State(NamedTuple):
    """All that a sequence so far leaves behind. Its leaves keep shape and dtype from step to step."""

    position: Int[Array, ""]  # tokens seen
    layers: PyTree  # the mixers' states, stacked over the blocks


class SequenceModel(nnx.Module):
    """`logits, state = model(tokens, state)`: cutting a sequence anywhere and carrying the state changes nothing."""

    def __call__(
        self, tokens: Int[Array, "B T"], state: State | None = None
    ) -> tuple[Float[Array, "B T V"], State | None]:
        """Logits of every position, and the state after the last token.

        With state=None the sequence starts here and nobody continues it (training): a model with a cache builds none
        and returns None for its state.
        """
        x, state = self.features(tokens, state)
        return self.logits(x), state

    def features(
        self, tokens: Int[Array, "B T"], state: State | None = None
    ) -> tuple[Float[Array, "B T D"], State | None]:
        """As __call__, before the head."""
        raise NotImplementedError

    def logits(self, x: Float[Array, "... D"]) -> Float[Array, "... V"]:
        """The head on features."""
        raise NotImplementedError

    def prefill(self, tokens: Int[Array, "B T"], capacity: int) -> tuple[Float[Array, "B V"], State]:
        """The last token's logits, and a state that can be continued to `capacity` tokens.

        Equal to `self(tokens, self.init_state(B, capacity))`, and faster where knowing that nothing came before helps.
        """
        raise NotImplementedError

    def init_state(self, batch: int, capacity: int) -> State:
        """The state of an empty sequence. A recurrent state does not depend on capacity; a cache is linear in it."""
        raise NotImplementedError


class Mixer(nnx.Module):
    """What mixes tokens over time in one block: (B, T, D) -> (B, T, D).

    A recurrent mixer's new state replaces the old one. A cache is not copied through the layers: its mixer reads the
    stacked cache where it lies (`layer_state`), returns only what it adds, and `commit` writes that once for all.
    """

    def __call__(self, x: Float[Array, "B T D"], state: PyTree, position) -> tuple[Float[Array, "B T D"], PyTree]:
        """The mixed sequence and the new state (or what it adds). state=None: see SequenceModel."""
        raise NotImplementedError

    def prefill(self, x: Float[Array, "B T D"]) -> tuple[Float[Array, "B T D"], PyTree]:
        """As __call__ on the state of an empty sequence."""
        return self(x, self.init_state(x.shape[0], x.shape[1], x.dtype), 0)

    def init_state(self, batch: int, capacity: int, dtype) -> PyTree:
        """One block's state of an empty sequence; dtype is the activations'."""
        raise NotImplementedError

    @staticmethod
    def layer_state(stacked: PyTree, layer) -> PyTree:
        """What one block gets to see of the stacked states."""
        return jax.tree.map(lambda x: x[layer], stacked)

    @staticmethod
    def commit(stacked: PyTree, new: PyTree, position) -> PyTree:
        """The stacked states after all blocks have run."""
        return new
