"""What is compared at once: a row's measure at a length, a batch and a number of cores."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# What a sample is: one call of
MEASURES = {
    "forward": "the op or block on a whole sequence",
    "train": "the same, and the gradients of sum(y * w) by inputs and parameters, w being random and fixed",
    "decode": "one token at a context of `length`, the state threaded",
    "flat": "as decode, compared with the same step at the shortest context",
    "step": "a whole model's training step: forward, backward, AdamW",
    "long": "the same in chunks, the state carried, gradients exact, compared with the same on a shorter sequence",
}
CONTEXT_MEASURES = ("decode", "flat")  # one token at a context of `length`
D_MODEL, HEADS, HEAD_SIZE = 256, 4, 64
E, N, K, RANK = 512, 16, 4, 16  # of the Mamba block: inner width, states, convolution's width, rank of dt


@dataclass(frozen=True)
class Case:
    """What is compared; two equal cases are the same comparison."""

    row: str
    measure: str
    length: int
    batch: int
    cores: int

    @property
    def tokens(self) -> int:
        """The tokens that one call handles."""
        return self.batch * (1 if self.measure in CONTEXT_MEASURES else self.length)

    def label(self) -> str:
        """Such as "lstm train L=2048 B=8 cores=1"."""
        batch = f" B={self.batch}" if self.batch > 1 else ""
        return f"{self.row} {self.measure} L={self.length}{batch} cores={self.cores}"

    def key(self) -> dict[str, Any]:
        """Its columns, by their names."""
        return asdict(self)
