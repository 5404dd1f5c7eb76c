"""Published figures, which stand beside ours as hollow markers; they are of other budgets."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from lengthscale.bench.figures.run import Group
from lengthscale.bench.figures.spec import DrawnCurve


@dataclass(frozen=True)
class Published:
    """A figure from a paper or a repository."""

    data: str  # the task without its parameters, or the stream
    model: str  # ours that it is to be compared with
    y: str  # accuracy, or loss in nats
    value: float
    source: str
    times: float = 0  # over 0: at sequences of so many times the training length
    tokens: float = 0  # over 0: after training on so many tokens ...
    size: str = ""  # ... at this size


_MAMBA = "Mamba, arXiv:2312.00752"
PUBLISHED = (
    Published("induction", "mamba", "accuracy", 1.0, f"{_MAMBA}, table 11: trained at 256, 4,096 times longer", 16),
    Published("induction", "transformer++", "accuracy", 0.313, f"{_MAMBA}, table 11: attention with RoPE", 4),
    Published("selective_copy", "mamba", "accuracy", 0.97, f"{_MAMBA}, table 1: 16 symbols in 4,096", 1),
    Published("selective_copy", "s4d", "accuracy", 0.183, f"{_MAMBA}, table 1: S4, 16 symbols in 4,096", 1),
    Published(
        "text",
        "transformer",
        "loss",
        1.88,
        "nanoGPT's recipe for a CPU (held-out loss)",
        tokens=2_000 * 768,
        size="mini",
    ),
)


def published(
    group: Group, x: str, column: str, trained: int | None, models: Collection[str]
) -> list[tuple[DrawnCurve, str]]:
    """(a curve of one point, its note) for each published figure that belongs to a figure of ours.

    x, column: the columns on its axes. trained: the training length of its curves, if it is one. models: its curves'.
    """
    found = []
    for each in PUBLISHED:
        same = each.data == group.data.partition(":")[0] and each.model in models and each.size in ("", group.size)
        at = each.tokens if x == "seen_tokens" else each.times * (trained or 0) if x == "eval_length" else 0
        if same and at and each.y == column.removeprefix("seen_"):
            name = f"{each.model}, published"
            curve = DrawnCurve(each.model, name, (float(at),), (each.value,), joined=False, hollow=True)
            found.append((curve, f"hollow: {each.source}"))
    return found
