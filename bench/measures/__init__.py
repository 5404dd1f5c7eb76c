"""The measures: name -> where it runs and the columns it adds to its CSV. No jax here: the parent reads this file.

Adding a measure: one file with `run(cell, settings, report)`, one line here. Units are in the names; a blank means
"not measured".
"""

from __future__ import annotations

from dataclasses import dataclass

TIME = (
    "time_median_ms",
    "time_p10_ms",
    "time_p90_ms",
    "time_low_ms",  # bootstrap 95% interval of the median
    "time_high_ms",
    "n_samples",
    "tokens_per_s",
)
COMPILE = ("trace_s", "lower_s", "compile_s", "flops")
MEMORY = ("mem_planned_bytes", "mem_peak_bytes", "mem_source")
LOSS = (
    "context",
    "loss",
    "loss_low",
    "loss_high",
    "loss_at_length",
    "train_loss",
    "train_tokens",
    "steps",
    "learning_rate",
)


@dataclass(frozen=True)
class Measure:
    module: str
    about: str
    columns: tuple[str, ...]
    rounds: int = 1  # over 1: the cells of a curve are sampled in turns, so that a drifting machine cannot bend it


MEASURES = {
    "forward": Measure(
        "bench.measures.forward",
        "prefill: L tokens to the last one's logits and the state",
        TIME + COMPILE + MEMORY + ("state_bytes",),
        rounds=3,
    ),
    "train": Measure(
        "bench.measures.train",
        "one step on L tokens: forward, backward, AdamW",
        TIME + COMPILE + MEMORY + ("loss",),
        rounds=3,
    ),
    "decode": Measure(
        "bench.measures.decode",
        "one token at a context of L",
        TIME + COMPILE + MEMORY + ("state_bytes",),
        rounds=12,  # a step of milliseconds drifts most
    ),
    "quality": Measure(
        "bench.measures.quality", "loss on held-out text after training at length L", LOSS + TIME + COMPILE + MEMORY
    ),
}
