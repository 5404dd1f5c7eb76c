"""How much of what the machine can do at most (bench/device/peaks.py) a program reached.

flops_per_s = flops / time            gemm_share = flops_per_s / the rate of a product of two large matrices
bytes_per_s = (arguments + outputs) / time: what a step must move at least, whatever it keeps in its caches
"""

from __future__ import annotations


def add_rates(record: dict, peaks: dict) -> dict:
    """The record with its rows' rates; blank where a figure is missing. moved_bytes becomes bytes_per_s."""
    peak = peaks.get("gemm_flops_per_s", {}).get(record["cell"]["dtype"])
    rows = []
    for row in record["rows"]:
        row = dict(row)
        moved = row.pop("moved_bytes", None)
        if row.get("time_median_ms"):
            seconds = row["time_median_ms"] / 1e3
            rate = row["flops"] / seconds if row.get("flops") else None
            row["flops_per_s"], row["bytes_per_s"] = rate, moved / seconds if moved else None
            row["gemm_share"] = rate / peak if rate and peak else None
        rows.append(row)
    return {**record, "rows": rows}
