"""The tables of docs/accelerators.md, made of the CSV files in docs/plans: python -m tests.helpers.accelerator_tables.

tests/test_docs.py looks for each of them in the document, which names the commands that write the files.
"""

import csv
from collections.abc import Iterable

from lengthscale.bench.plan.devices import DEVICES
from tests.helpers.paths import ROOT

PLANS = ROOT / "docs/plans"
STEPS = {"forward": "prefill", "train": "training", "decode": "one token", "generate": "prompt and 64 tokens"}


def rows_of(*names: str) -> list[dict[str, str]]:
    found = []
    for name in names:
        with open(PLANS / f"{name}.csv") as file:
            found += csv.DictReader(file)
    return found


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    lines = [list(heads), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return [f"| {' | '.join(line)} |" for line in lines]


def number(text: str, scale: float = 1.0) -> str:
    """Three significant digits; "" for a blank."""
    if not text:
        return ""
    value = float(text) * scale
    digits = 3 - len(str(int(value))) if value >= 1 else 3
    return f"{value:,.{max(0, digits)}f}" if value < 1e6 else f"{value:.2g}"


def whole(text: str) -> str:
    return f"{float(text):,.0f}"


def programs(*names: str, with_times: bool = True) -> list[str]:
    """Every program: what it calls, its memory and FLOPs, its kernels and least time."""
    heads = (
        "model",
        "step",
        "tokens",
        "calls",
        "planned GB",
        "GFLOP",
        *(("kernels", "least ms") if with_times else ()),
    )
    return table(heads, (_program(row)[: len(heads)] for row in rows_of(*names)))


def _program(row):
    known = row["model"], STEPS[row["measure"]], whole(row["length"])
    if row["status"] != "ok":
        return *known, row["status"], "", "", "", ""
    calls = sorted({_library(name) for name in row["calls"].split()} - {""})
    numbers = number(row["mem_planned_bytes"], 1e-9), number(row["flops"], 1e-9), whole(row["kernels"])
    return *known, ", ".join(calls), *numbers, number(row["step_ms"])


def _library(name: str) -> str:
    names = {"triton": "Triton", "cudnn": "cuDNN", "cublas": "cuBLAS", "tpu_custom_call": "Mosaic"}
    return next((known for part, known in names.items() if part in name), "")


def remat() -> list[str]:
    """Memory of a training step with each rematerialisation, and its FLOPs compared with none."""
    plans = {name: {row["model"]: row for row in rows_of(f"h200-remat-{name}")} for name in ("none", "block", "full")}

    def cell(name, model):
        row, plain = plans[name][model], plans["none"][model]
        memory = number(row["mem_planned_bytes"], 1e-9)
        return memory if name == "none" else f"{memory} ({float(row['flops']) / float(plain['flops']):.2f}x)"

    return table(("model", *plans), ((model, *(cell(name, model) for name in plans)) for model in plans["none"]))


def million() -> list[str]:
    """Memory for a million tokens."""
    at_once = {row["model"]: row for row in rows_of("h200-million-whole")}
    pieces = {(row["measure"], row["model"]): row for row in rows_of("h200-million-chunks")}
    heads = ("model", "prefill, whole", "prefill, in chunks", "training step, in chunks")

    def memory(row):
        return number(row["mem_planned_bytes"], 1e-9) if row["status"] == "ok" else row["status"]

    return table(
        heads,
        (
            (model, memory(at_once[model]), memory(pieces["forward", model]), memory(pieces["train", model]))
            for model in at_once
        ),
    )


def predictions() -> list[str]:
    """The least time of today's code, and the time that 17edc39 took on an H200."""
    measured = {(row["measure"], row["model"], row["length"]): row["ms"] for row in rows_of("h200-17edc39")}
    lines = []
    for row in rows_of("h200-90m"):
        ms = measured.get((row["measure"], row["model"], row["length"]))
        if ms:
            known = row["model"], STEPS[row["measure"]], whole(row["length"])
            lines.append((*known, number(ms), number(row["step_ms"])))
    return table(("model", "step", "tokens", "measured at 17edc39", "predicted today, at least"), lines)


def shares() -> list[str]:
    """A training step on 4,096 tokens, of batch 1 and 8: the least time, and the share of the matrix rate."""
    rate = DEVICES["h200"].rate("bfloat16")
    lines: dict[str, list[str]] = {}
    for row in (*rows_of("h200-90m"), *rows_of("h200-batch8")):
        if (row["measure"], row["length"]) == ("train", "4096"):
            share = float(row["flops"]) / (float(row["step_ms"]) * 1e-3) / rate
            lines.setdefault(row["model"], [row["model"]]).extend((number(row["step_ms"]), f"{share:.0%}"))
    return table(("model", "ms, batch 1", "share", "ms, batch 8", "share"), lines.values())


def ops() -> list[str]:
    """Milliseconds of our ops."""
    plans: dict[tuple, dict] = {}
    for row in rows_of("h200-ops"):
        plans.setdefault((row["op"], row["dtype"], row["length"]), {})[row["pass"]] = row
    lines = []
    for (op, dtype, tokens), passes in plans.items():
        kernels, least = (
            " / ".join(show(passes[which][column]) for which in ("forward", "gradient") if which in passes)
            for column, show in (("kernels", whole), ("least_ms", number))
        )
        lines.append((op, dtype, whole(tokens), kernels, least))
    return table(("op", "dtype", "tokens", "kernels, forward / with gradient", "least ms"), lines)


TABLES = {
    "programs on an H200": lambda: programs("h200-130m", "h200-generate", "h200-others"),
    "programs on a TPU v5e": lambda: programs("v5e-130m", with_times=False),
    "rematerialisation": remat,
    "a million tokens": million,
    "predictions": predictions,
    "shares of the matrix rate": shares,
    "ops": ops,
}

if __name__ == "__main__":
    for title, make in TABLES.items():
        print(title, *make(), "", sep="\n")
