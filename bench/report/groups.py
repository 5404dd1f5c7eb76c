"""The page's plots, in groups that share a legend. No jax here."""

from __future__ import annotations

from dataclasses import dataclass

from bench.report import costs, learned
from bench.report.source import Source
from bench.report.trace import Plot


@dataclass(frozen=True)
class Group:
    name: str
    title: str
    plots: list[Plot]

    @property
    def legend(self) -> dict[str, str]:
        """Names, and the model that each looks like."""
        return {n: m for plot in self.plots for n, m in zip(plot.names, plot.models, strict=True)}


COSTS = {
    "train": ("Training step", ("time", "throughput", "memory", "share")),
    "forward": ("Prefill", ("time", "throughput", "memory", "share")),
    "decode": ("Decoding a token", ("time", "state", "share")),
}


def groups(sources: list[Source]) -> list[Group]:
    """Those that the runs have figures for."""
    made = []
    for measure, (title, quantities) in COSTS.items():
        plots = [plot for y in quantities if (plot := costs.plot(sources, measure, y))]
        made.append(Group(measure, title, plots))
    made.append(Group("learned", "What length buys", learned.plots(sources)))
    return [group for group in made if group.plots]
