"""The request of `tune`: which budgets of which models are to be searched."""

from __future__ import annotations

from typing import Any

from lengthscale.bench.analysis.learned import LEARNED
from lengthscale.bench.data import load
from lengthscale.bench.host.request import make_request
from lengthscale.bench.plan.errors import RequestError
from lengthscale.bench.plan.options import Given
from lengthscale.bench.plan.suites import SUITES
from lengthscale.bench.plan.workloads import kind_of
from lengthscale.bench.search.targets import Budget, budgets_of


def searched(given: Given) -> tuple[dict[Budget, list[str]], dict[str, type]]:
    """(the models of each budget, the class of each data). given: options of `run`.

    Raises RequestError with all mistakes.
    """
    asked: dict[str, Any] = dict(given)
    if not asked.get("measures"):
        suite = SUITES.get(asked.get("suite") or "default", SUITES["default"])
        asked["measures"] = ",".join(name for name in suite.measures if name in LEARNED)
    request = make_request(asked)
    wrong = sorted({cell.measure for cell in request.cells} - set(LEARNED))
    if wrong:
        raise RequestError([f"--measures: {', '.join(wrong)} has no loss to choose by; expected {', '.join(LEARNED)}"])
    cells = [cell for cell in request.cells if cell not in request.unsupported]
    kinds = {name: kind_of(load(name)) for name in dict.fromkeys(cell.data for cell in cells)}
    if not cells:
        raise RequestError(["no model can read these data", *sorted(set(request.unsupported.values()))])
    return budgets_of(cells, request.settings), kinds
