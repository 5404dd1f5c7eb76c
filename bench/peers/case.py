"""A case: what contenders are compared in, a row's measure at a length, a batch and a number of cores."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# A measure -> what one call does.
MEASURES = {
    "forward": "the op or block on a whole sequence",
    # Eager torch would take up to a tenth of a GPU's row for the sum, so there w is given as the gradient of y.
    "train": "the same, and the gradients of sum(y * w) by inputs and parameters, where w is random and fixed",
    "decode": "one token at a context of `length`; the new state goes into the next call",
    "flat": "the same, compared with this step at the shortest context",
    "step": "a whole model's training step: forward, backward, AdamW",
    "long": "the same in chunks with the state carried and exact gradients, compared with a shorter sequence",
}
CONTEXT_MEASURES = ("decode", "flat")  # one token at a context of `length`
D_MODEL, HEADS, HEAD_SIZE = 256, 4, 64
E, N, K, RANK = 512, 16, 4, 16  # of the Mamba block: inner width, states, convolution's width, rank of dt


@dataclass(frozen=True)
class Case:
    """The identity of one comparison."""

    row: str
    measure: str
    length: int
    batch: int
    cores: int

    @property
    def tokens(self) -> int:
        """The number of tokens that one call handles."""
        return self.batch * (1 if self.measure in CONTEXT_MEASURES else self.length)

    def label(self) -> str:
        """The case in a few words, such as "lstm train L=2048 B=8 cores=1"."""
        batch = f" B={self.batch}" if self.batch > 1 else ""
        return f"{self.row} {self.measure} L={self.length}{batch} cores={self.cores}"

    def key(self) -> dict[str, Any]:
        """The columns of the case, by their names."""
        return asdict(self)
