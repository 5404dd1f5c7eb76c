"""What is timed once: a row's measure at a length, a batch and a number of cores."""

from __future__ import annotations

from dataclasses import asdict, dataclass

# What a sample is: one call of
MEASURES = {
    "forward": "the op or block on a whole sequence",
    "train": "the same, and the gradients of sum(y * w) by inputs and parameters, w being random and fixed",
    "decode": "one token at a context of `length`, the state threaded",
    "flat": "as decode, beside the same step at the shortest context",
    "step": "a whole model's training step: forward, backward, AdamW",
    "long": "the same in chunks, the state carried, gradients exact, beside the same on a shorter sequence",
}
D_MODEL, HEADS, HEAD_SIZE = 256, 4, 64
E, N, K, RANK = 512, 16, 4, 16  # of the Mamba block: inner width, states, convolution's width, rank of dt


@dataclass(frozen=True)
class Case:
    row: str
    measure: str
    length: int
    batch: int
    cores: int

    @property
    def tokens(self) -> int:
        """That one call handles."""
        return self.batch * (1 if self.measure in ("decode", "flat") else self.length)

    def label(self) -> str:
        batch = f" B={self.batch}" if self.batch > 1 else ""
        return f"{self.row} {self.measure} L={self.length}{batch} cores={self.cores}"

    def key(self) -> dict:
        return asdict(self)
