"""Settings: how cells are measured. A suite has its own, and options of `run` replace some of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Settings:
    """How cells are measured; a child receives the settings together with its cell."""

    timeout_s: float = 120  # a cell's absolute deadline; also that of preparing it
    compile_timeout_s: float = 120  # the most of it that tracing, lowering and compiling may take
    replicates: int = 3  # independent processes in which a cell is measured; more where calls are short (schedule.py)
    min_samples: int = 5  # in a replicate ...
    min_seconds: float = 0.4  # ... which together take at least this long ...
    max_seconds: float = 4.0  # ... and at most this long: a longer step is sampled less often, at least once
    max_samples: int = 400
    mem_limit_share: float = 0.8  # of the memory that is free when a cell starts
    mem_limit_bytes: int | None = None  # instead of that share
    remat: str = "auto"  # of training: one of models/remat.py, or "auto", the first of them that fits into the memory
    train_tokens: int = 131_072  # quality: tokens to train on, at every length
    step_tokens: int = 1_024  # quality: tokens of one step
    learning_rate: float | None = None  # its peak, after a warm-up, then cosine; None: the recipe's (plan/recipes.py)
    warmup: float | None = None  # share of the steps over which the rate rises; None: the recipe's
    contexts: tuple[int, ...] = (1, 4, 16, 64, 256, 1024)  # quality: tokens before the targets
    targets: int = 2_048  # quality on a stream: held-out targets, the same at every context; bench/data/targets.py
    windows: int = (
        32  # held-out sequences of the training length: quality on a stream, gradients, agreement, resampling
    )
    context_tokens: int | None = None  # quality on a stream: the most tokens read at one context, at fewer places
    shuffle_beyond: tuple[int, ...] | None = None  # quality on a stream: controls; see bench/device/workloads/text.py
    eval_lengths: tuple[int, ...] = ()  # quality on a task; none: the training length times the factors
    eval_factors: tuple[int, ...] = (1, 2, 4)
    eval_tokens: int = 65_536  # quality on a task or on pixels: held-out tokens, which give the number of sequences
    least_sequences: int = 4  # but at least this many sequences
    on: str = ""  # a device of plan/devices.py for which a run is planned; "": this machine's
    new_tokens: int = 64  # generate: tokens after the prompt, 2 or more
    # For some measures, or measures at one size, other values of the settings above, by their names:
    # {"recall": {"train_tokens": 2**21}, "quality mini": {"step_tokens": 768}}.
    by_measure: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, measure: str, size: str) -> Settings:
        """The settings of one measure at one size."""
        own = {**self.by_measure.get(measure, {}), **self.by_measure.get(f"{measure} {size}", {})}
        return replace(self, by_measure={}, **own)

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """The settings with these values, for all measures."""
        kept = {
            measure: {name: value for name, value in own.items() if name not in changes}
            for measure, own in self.by_measure.items()
        }
        return replace(self, by_measure=kept, **changes)

    def room(self, measure: str) -> int:
        """The number of positions that a measure needs beyond a cell's length."""
        return self.new_tokens if measure == "generate" else 0

    def samples(self, step_s: float) -> int:
        """The number of samples that a step of step_s seconds gets in a replicate, if nothing disturbs them."""
        wanted = max(self.min_samples, math.ceil(self.min_seconds / step_s))
        return max(1, min(wanted, self.max_samples, int(self.max_seconds / step_s)))

    @property
    def places(self) -> int:
        """The number of places at which the targets of a stream lie."""
        from lengthscale.bench.data.targets import places_of  # not above: it loads numpy, which --help does not need

        return places_of(self.targets)

    def places_at(self, context: int) -> int:
        """The number of places of a stream whose targets are read at a context of this many tokens."""
        places = self.places
        if self.context_tokens is None:
            return places
        return min(places, max(self.least_sequences, self.context_tokens // context))

    @property
    def shuffled_context(self) -> int:
        """The context of the controls: the longest one at which all places are read, or the shortest if there is none.

        With fewer places a gain could not be told from no gain.
        """
        whole = [context for context in self.contexts if self.places_at(context) == self.places]
        return max(whole, default=min(self.contexts))
