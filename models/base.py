"""The contracts: a SequenceModel is what the harness runs, a Mixer is what a backbone stacks.

Axes: B batch, T time, F input features, D model width, V outputs (the vocabulary), N blocks.
"""

from typing import Any, NamedTuple

import jax
from flax import nnx
from jax import Array
from jaxtyping import Float, Int

PyTree = Any
Inputs = Int[Array, "B T"] | Float[Array, "B T F"]


class State(NamedTuple):
    """All that a sequence so far leaves behind. Its leaves keep shape and dtype from step to step."""

    position: Int[Array, ""]  # tokens seen
    layers: PyTree  # the mixers' states, stacked over the blocks


class SequenceModel(nnx.Module):
    """`outputs, state = model(inputs, state)`: cutting a sequence anywhere and carrying the state changes nothing.

    Inputs are tokens (B, T), or real features (B, T, F) for a model built with features=F. Outputs are logits of the
    next token, or whatever the model was built to give at each step (outputs=V: classes, or numbers).
    """

    remat = ""  # what the gradient keeps of its blocks (remat.py), which may be set; "": it offers no choice

    def __call__(self, inputs: Inputs, state: State | None = None) -> tuple[Float[Array, "B T V"], State | None]:
        """Outputs of every position, and the state after the last.

        With state=None the sequence starts here and nobody continues it (training): a model with a cache builds none
        and returns None for its state.
        """
        x, state = self.features(inputs, state)
        return self.logits(x), state

    def features(self, inputs: Inputs, state: State | None = None) -> tuple[Float[Array, "B T D"], State | None]:
        """As __call__, before the head."""
        return self.mix(self.embed(inputs, 0 if state is None else state.position), state)

    def embed(self, inputs: Inputs, position: Int[Array, ""] | int = 0) -> Float[Array, "B T D"]:
        """What goes into the first block, `position` being that of the first input."""
        raise NotImplementedError

    def mix(self, x: Float[Array, "B T D"], state: State | None) -> tuple[Float[Array, "B T D"], State | None]:
        """The blocks on embedded inputs: all of `features` but `embed`."""
        raise NotImplementedError

    def logits(self, x: Float[Array, "... D"]) -> Float[Array, "... V"]:
        """The head on features."""
        raise NotImplementedError

    def prefill(self, inputs: Inputs, capacity: int) -> tuple[Float[Array, "B V"], State]:
        """The last position's outputs, and a state that can be continued to `capacity` positions.

        Equal to `self(inputs, self.init_state(B, capacity))`, and faster where knowing that nothing came before helps.
        """
        raise NotImplementedError

    def init_state(self, batch: int, capacity: int) -> State:
        """The state of an empty sequence. A recurrent state does not depend on capacity; a cache is linear in it."""
        raise NotImplementedError


class Mixer(nnx.Module):
    """What carries a state over time: (B, T, D) -> (B, T, D). A whole block is one too.

    A recurrent mixer's new state replaces the old one. A cache is not copied through the layers: its mixer reads the
    stacked cache where it lies (`layer_state`), returns only what it adds, and `commit` writes that once for all.
    """

    has_cache = False

    def __call__(self, x: Float[Array, "B T D"], state: PyTree, position) -> tuple[Float[Array, "B T D"], PyTree]:
        """The mixed sequence and the new state (or what it adds). state=None: see SequenceModel."""
        raise NotImplementedError

    def prefill(self, x: Float[Array, "B T D"]) -> tuple[Float[Array, "B T D"], PyTree]:
        """As __call__ on the state of an empty sequence."""
        return self(x, self.init_state(x.shape[0], x.shape[1], x.dtype), 0)

    def init_state(self, batch: int, capacity: int, dtype) -> PyTree:
        """One block's state of an empty sequence; dtype is the activations'."""
        raise NotImplementedError

    def layer_state(self, stacked: PyTree, layer) -> PyTree:
        """What one block gets to see of the stacked states."""
        return jax.tree.map(lambda x: x[layer], stacked)

    def commit(self, stacked: PyTree, new: PyTree, position) -> PyTree:
        """The stacked states after all blocks have run."""
        return new


class EncoderDecoder(SequenceModel):
    """Reads a source, then decodes as a SequenceModel does: `outputs, state = model(targets, model.encode(source))`.

    Of the target's part all that a SequenceModel promises holds; `init_state` is the state after an empty source.
    """

    def encode(self, source: Int[Array, "B S"], lengths: Int[Array, " B"] | None = None, capacity: int = 0) -> State:
        """The state that decoding up to `capacity` tokens starts from.

        lengths: how much of each source counts, the rest being padding (None: all of it).
        """
        raise NotImplementedError

    def teach(
        self, source: Int[Array, "B S"], targets: Int[Array, "B T"], lengths: Int[Array, " B"] | None = None
    ) -> Float[Array, "B T V"]:
        """Logits after each of `targets`, all given (teacher forcing): what training runs."""
        raise NotImplementedError

    def prefill_after(
        self, source: Int[Array, "B S"], targets: Int[Array, "B T"], capacity: int
    ) -> tuple[Float[Array, "B V"], State]:
        """As `prefill`, of the targets after a source: equal to `self(targets, self.encode(source, None, capacity))`.

        capacity: of the state, in tokens of the target.
        """
        x, state = self.features(targets, self.encode(source, capacity=capacity))
        assert state is not None
        return self.logits(x[:, -1]), state


class ImageClassifier(nnx.Module):
    """`logits = model(images)`: one sequence of patches, or one picture, and no decoding.

    `train=True` uses the batch's own statistics where there are such (batch normalisation), and updates the running
    ones, which are the module's nnx.BatchStat. Inside a gradient, merge the module with copy=True: nnx refuses to
    change variables that were made outside.
    """

    remat = ""  # as SequenceModel's

    def __call__(self, images: Float[Array, "B Y X C"], *, train: bool = False) -> Float[Array, "B V"]:
        raise NotImplementedError
