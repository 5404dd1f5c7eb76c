"""Where the project is, and how another Python finds it."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(*more: Path | str, **variables: str) -> dict[str, str]:
    """Of a Python that imports this checkout, whatever is installed, its tests, and the folders `more`."""
    paths = os.pathsep.join(map(str, (ROOT / ".python", ROOT, *more)))
    return {**os.environ, "PYTHONPATH": paths, **variables}
