"""The stages of the cells of `quick` in one process that holds the device, played on a CPU, for docs/accelerators.md:
python -m tests.helpers.held_stages FOLDER.
"""

import sys
from unittest import mock

from lengthscale.bench.analysis.stages import table
from lengthscale.bench.host import sweep
from lengthscale.bench.plan.request import read_request
from tests.helpers.serving import paper


def main(folder: str) -> None:
    """Measure `quick` into the folder as on an accelerator, and print the table."""
    describe = sweep.machine.describe
    request, mistakes = read_request({"suite": "quick", "out": folder})
    assert not mistakes, mistakes
    with mock.patch.object(sweep.machine, "describe", lambda probe: {**describe(probe), "backend": "gpu"}):
        _, results, _ = sweep.run_sweep(request, paper())
    print(table(results))


if __name__ == "__main__":
    main(sys.argv[1])
