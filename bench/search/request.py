"""The request of `tune`: which budgets of which models are to be searched."""

from __future__ import annotations

from typing import Any

from lengthscale.bench.data import Images, Stream, load
from lengthscale.bench.host.request import make_request
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.options import Given
from lengthscale.bench.plan.suites import SUITES
from lengthscale.bench.plan.workloads import Data
from lengthscale.bench.search.targets import Budget, budgets_of

SHARED = ("suite", "models", "measures", "lengths", "size", "data", "train_tokens", "step_tokens")
SCORED = ("quality", "recall", "tracking")  # the measures whose rows have a loss at the training length


def searched(given: Given) -> tuple[dict[Budget, list[str]], frozenset[str]]:
    """(the models of each budget, the data that are streams). Raises RequestError with all mistakes."""
    asked: dict[str, Any] = {name: given.get(name) for name in SHARED}
    if not asked["measures"]:
        suite = SUITES.get(asked["suite"] or "default", SUITES["default"])
        known = [name for name in SCORED if name in MEASURES]
        asked["measures"] = ",".join([name for name in suite.measures if name in known] or known[:1])
    request = make_request(asked)
    wrong = sorted({cell.measure for cell in request.cells} - set(SCORED))
    if wrong:
        raise RequestError([f"--measures: {', '.join(wrong)} has no loss to choose by; expected {', '.join(SCORED)}"])
    cells = [cell for cell in request.cells if cell not in request.unsupported]
    data: dict[str, Data] = {cell.data: load(cell.data) for cell in cells}
    if images := sorted(name for name, each in data.items() if isinstance(each, Images)):
        raise RequestError([f"--data: {', '.join(images)} has no part to choose by; expected a stream or a task"])
    if not cells:
        raise RequestError(["no model can read these data", *sorted(set(request.unsupported.values()))])
    streams = frozenset(name for name, each in data.items() if isinstance(each, Stream))
    return budgets_of(cells, request.settings), streams
