"""What is written of a case: a line of the journal of `peers`."""

from __future__ import annotations

from typing import Any

import msgspec

from lengthscale.bench.peers.case import Case


class PeerRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The outcome of one case. rows: one for each contender."""

    schema: int = 1
    cell: Case
    status: str  # ours'
    message: str = ""
    rows: list[dict[str, Any]]
    wall_s: float | None = None
    environment: dict[str, Any] = {}
