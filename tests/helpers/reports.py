"""Folders for the tests of the report: curves whose laws are known, failures, and a message that means harm."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from lengthscale.bench.claims import CLAIMS, table
from lengthscale.bench.claims.claim import Finding
from lengthscale.bench.figures.html import read_folders, write_report
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.results.estimate import Estimate
from lengthscale.bench.results.record import Row
from tests.helpers.runs import FACTS, changed, made, written_run

LENGTHS = [256 * 2**i for i in range(6)]
PLANTED = '</script><script>alert(1)</script><img src=x onerror=alert(2)> "quoted", <!-- & \u2028 done'
MODELS = ("gru", "transformer", "mamba")
SECOND = {**FACTS, "cpu_model": "Another <b>CPU</b>", "n_cpus": 4, "git_sha": "def", "code": "other"}


QUIET, NOISY = (0.99, 1.0, 1.01), (0.9, 1.0, 1.1)  # times of the replicates, of their median
SPREAD = (0.95, 1.0, 1.0, 1.0, 1.1)  # of the samples of a replicate


def record(measure, model, length, rows=(), status="ok", ms=None, message=""):
    """The records of a cell: 3 replicates, if it is one that has replicates."""
    cell = Cell(measure, model, "small", "auto", length, 1, "float32", 0, "text", 0)
    if status != "ok":
        return [made(cell, status, stage="compile", message=message)]
    known = tuple(Row(**{"n_params": 7, **row}) for row in rows)
    if ms is None or MEASURES[measure].trains:
        return [made(cell, rows=known, samples_ms=() if ms is None else (ms,) * 5)]
    factors = NOISY if (measure, model) == ("decode", "mamba") else QUIET
    turn = MODELS.index(model)  # or all models would have the same errors, which cancel
    return [
        made(
            cell,
            replicate=number,
            rows=tuple(_slower(row, factor) for row in known),
            samples_ms=tuple(factor * ms * spread for spread in SPREAD),
        )
        for number, factor in enumerate((*factors[turn:], *factors[:turn]))
    ]


def _slower(row, factor):
    rates = {name: getattr(row, name) / factor for name in ("tokens_per_s", "gemm_share")}
    return changed(row, time_median_ms=factor * row.time_median_ms, **rates)


def timed(ms, tokens, **row):
    times = {"time_median_ms": ms}
    memory = {"mem_peak_bytes": 3_000_000 * tokens, "mem_planned_bytes": 2_000_000 * tokens, "mem_source": "VmHWM"}
    more = {"tokens_per_s": 1e3 * tokens / ms, "n_samples": 5, "compile_s": 0.5, "gemm_share": 0.25, "flops": 10}
    return {**times, **memory, **more, **row}


def step_ms(model, length):
    """They cross at 2,500 tokens."""
    return 0.05 * length + 2e-5 * length**2 if model == "transformer" else 0.1 * length


def records(factor=1.0):
    """factor: how much slower than another run."""
    for length in LENGTHS:
        for model in MODELS:
            oom = model == "transformer" and length == LENGTHS[-1]
            ms = factor * step_ms(model, length)
            status, message = ("oom", PLANTED) if oom else ("ok", "")
            yield from record("train", model, length, [timed(ms, length, loss=5.5)], status, ms, message)
    for length in LENGTHS[:4]:
        for model in MODELS[1:]:
            ms = factor * (1 + length / 1e3 if model == "transformer" else 0.5)
            state = 1000 * length if model == "transformer" else 5000
            yield from record("decode", model, length, [timed(ms, 1, state_bytes=state)], ms=ms)
    for number, model in enumerate(MODELS):
        rows = []
        for context in (1, 16, 256):
            loss = 2.5 - 0.1 * number - 0.01 * np.log(context)
            held_out = {"context": context, "loss": loss, "loss_low": loss - 0.2, "loss_high": loss + 0.2}
            rows.append(timed(5.0 + number, 256, steps=100, accuracy=0.3, **held_out))
        yield from record("quality", model, 256, rows, ms=5.0 + number)


def first_run(folder: Path) -> Path:
    return written_run(folder, list(records()), suite="default", arguments=["--models", "gru,transformer,mamba"])


def second_run(folder: Path) -> Path:
    """Twice as slow, on another device."""
    return written_run(folder, list(records(2.0)), SECOND, suite="default")


class Page(HTMLParser):
    """A page as a browser reads it: its text, its scripts, its attributes."""

    def __init__(self, text):
        super().__init__()
        self.scripts, self.attributes, self.texts, self._tags = [], [], [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.texts).split())
        self.data = json.loads(self.scripts[0])

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag in ("script", "style"):
            self._tags.append(tag)
            self.scripts += [""] if tag == "script" else []

    def handle_endtag(self, tag):
        if self._tags and tag == self._tags[-1]:
            self._tags.pop()

    def handle_data(self, data):
        if not self._tags:
            self.texts.append(data)
        elif self._tags[-1] == "script":
            self.scripts[-1] += data

    def figure(self, name):
        [figure] = [figure for figure in self.data["figures"] if figure["name"] == name]
        return figure

    def curve(self, figure, name):
        [curve] = [curve for curve in self.figure(figure)["curves"] if curve["name"] == name]
        return curve

    def table(self, name):
        [found] = [each for each in self.data["tables"] if each["name"] == name]
        return found


def report_of(*folders: Path, out: Path | None = None) -> Path:
    """As the command `report` writes it."""
    return write_report(*read_folders(*folders), out=out)


def page_of(path: Path) -> Page:
    return Page(path.read_text())


def flowing(text):
    """Without the spaces that a tag leaves between words and signs."""
    return re.sub(r"\s+", "", text)


def verdicts(home, verdict, device="some-cpu-2cpu"):
    home.mkdir(exist_ok=True)
    claim = next(iter(CLAIMS.values()))
    finding = Finding("a <ratio>", Estimate(4.9, 4.7, 5.2), "x", verdict, "over 4", (256, 4096), "took long")
    table.update(home, table.rows_of_claim(claim, [finding], device=device, git_sha="fed", command="c"))
    return claim
