"""The share of the machine's peak rate that a program reached (bench/device/peaks.py measures the peak).

gemm_share = flops_per_s / the rate of a product of two large matrices in the cell's dtype
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from lengthscale.bench.results.record import Record


def with_shares(record: Record, peaks: dict[str, Any]) -> Record:
    """The record with the gemm_share of its rows; blank where the rate or the peak is missing.

    peaks: what device/peaks.py gives.
    """
    peak = peaks.get("gemm_flops_per_s", {}).get(record.cell.dtype)
    shares = (row.flops_per_s / peak if row.flops_per_s and peak else None for row in record.rows)
    rows = (replace(row, gemm_share=share) for row, share in zip(record.rows, shares, strict=True))
    return replace(record, rows=tuple(rows))
