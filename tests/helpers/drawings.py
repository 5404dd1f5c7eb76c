"""A folder of CSVs for the pictures: curves that lie close, failures, fits that may be followed or not, a crossing."""

import json
from pathlib import Path

import numpy as np

from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.results.codec import csv_of
from lengthscale.bench.results.record import Row
from lengthscale.bench.results.result import results_of
from tests.helpers.runs import FACTS, made

LENGTHS = [512 * 2**i for i in range(8)]
CLOSE = ("rnn", "lstm", "gru", "mamba")  # within a percent of each other


def record(measure, model, length, rows=(), status="ok", batch=1, data="text"):
    cell = Cell(measure, model, "small", "auto", length, batch, "float32", 0, data, 0)
    return made(cell, status, rows=tuple(Row(**{"n_params": 7, **row}) for row in rows) if status == "ok" else ())


def timed(ms, tokens, **row):
    times = {f"time_{name}_ms": ms * factor for name, factor in BANDS.items()}
    memory = {"mem_peak_bytes": 3_000_000 * tokens, "mem_planned_bytes": 2_000_000 * tokens}
    return (
        {**times, "tokens_per_s": 1e3 * tokens / ms, "compile_s": 0.5, "flops": 1000, "gemm_share": 0.25} | memory | row
    )


BANDS = {"median": 1.0, "p10": 0.8, "p90": 1.5, "low": 0.9, "high": 1.25}


def step_ms(model, length):
    return 0.05 * length + 2e-5 * length**2 if model == "transformer" else 0.1 * length * (1 + CLOSE.index(model) / 400)


def training():
    for model in (*CLOSE, "transformer"):
        for length in LENGTHS:
            bad = {16384: "timeout", 32768: "oom", 65536: "oom"} if model == "transformer" else {}
            yield record("train", model, length, [timed(step_ms(model, length), length)], bad.get(length, "ok"))
    for length in LENGTHS:
        yield record("train", "vit", length, status="unsupported")


def decoding():
    for batch in (1, 32):
        for model in ("mamba", "transformer"):
            for length in (1024, 16384):
                ms = 1.0 if model == "mamba" else 1.0 + length * batch / 1e5
                status = "oom" if model == "transformer" and length * batch > 5e5 else "ok"
                state = {"state_bytes": batch * (1000 if model == "mamba" else 1000 * length)}
                yield record("decode", model, length, [timed(ms, batch, **state)], status, batch)


def generation():
    for model in ("mamba", "transformer"):
        for length in (1024, 4096, 16384):
            row = {"ttft_ms": step_ms(model, length), "tpot_ms": 0.5 if model == "mamba" else 1 + length / 1e4}
            parts = {"new_tokens": 64, "weights_bytes": 14_000_000, "state_bytes": 1000, "activation_bytes": 2_000_000}
            status = "oom" if (model, length) == ("transformer", 16384) else "ok"
            yield record("generate", model, length, [timed(row["ttft_ms"] + 63, 64, **row, **parts)], status)


def quality():
    for number, model in enumerate(("rnn", "gru", "transformer")):
        rows = []
        for context in (1, 16, 256):
            loss = 2.5 - 0.1 * number - 0.01 * np.log(context)
            between = {"loss_low": loss - 0.2, "loss_high": loss + 0.2, "accuracy": 0.3, "steps": 100}
            rows.append(timed(5.0 + number, 256, context=context, loss=loss, **between))
        for eval_length in (256, 1024):
            accuracy = {"accuracy": 0.5 - 0.1 * number, "accuracy_low": 0.1, "accuracy_high": 0.6, "loss": 9.0}
            rows.append(timed(5.0 + number, 256, eval_length=eval_length, steps=100, **accuracy))
        yield record("quality", model, 256, rows)
    yield record("quality", "lstm", 256, status="nan")


def gradients():
    for model in ("rnn", "gru"):
        norms = [(trained, lag, 0.5**lag) for trained in (0, 1) for lag in (0, 1, 2, 4)]
        rows = [{"trained": t, "distance": lag, **dict.fromkeys(("grad_norm", *NORMS), norm)} for t, lag, norm in norms]
        yield record("gradients", model, 64, rows)


NORMS = ("grad_norm_p10", "grad_norm_p90")
FIT = "train,time_ms,{},small,auto,1,float32,text,0,65536,0,0.1,0,{},131072,{},ok\n"
FITS = (
    "measure,quantity,model,size,method,batch,dtype,data,seed,length_max,a,b,c,left_out_error,predicted_length,"
    "predicted,status\n" + FIT.format("rnn", 0.02, 13107.2) + FIT.format("gru", -0.2, "")
)
CROSSINGS = (
    "quantity,measure,size,batch,dtype,seed,model_short,model_long,length,length_low,length_high,status,range_min,"
    "range_max\n"
    "time_ms,train,small,1,float32,0,transformer,mamba,2515.6,2000,,crosses,512,65536\n"
    "time_ms,train,small,1,float32,0,rnn,gru,600,500,700,crosses,512,65536\n"
)


def write_folder(home: Path) -> Path:
    named = {"train": training, "decode": decoding, "generate": generation, "quality": quality, "gradients": gradients}
    for name, make in named.items():
        (home / f"{name}.csv").write_text(csv_of(results_of(make())))
    (home / "environment.json").write_text(json.dumps(FACTS))
    (home / "fits.csv").write_text(FITS)
    (home / "crossovers.csv").write_text(CROSSINGS)
    return home
