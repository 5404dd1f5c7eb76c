"""`lengthscale`, its children replaced by a target of children.py: python -m tests.helpers.quick_run TARGET ARGS.

So a run of dozens of cells takes a second and can be struck at any moment of it.
"""

import os
import resource
import sys

from lengthscale.bench import __main__ as main
from lengthscale.bench.commands import finish
from lengthscale.bench.host import machine, sweep
from lengthscale.bench.host.runner import Runner
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done
from tests.helpers import children

FACTS = {"backend": "cpu", "device_kind": "cpu", "n_devices": 1, "device_memory_bytes": None, "native_kernels": "none"}


class QuickRunner(Runner):
    def __init__(self, settings):
        super().__init__(settings, target=getattr(children, sys.argv[1]))
        # All that this module imports: multiprocessing runs it again in each child.
        self._context.set_forkserver_preload([children.__name__, main.__name__, finish.__name__, sweep.__name__])

    def probe(self):
        return FACTS

    def peaks(self):
        return {}

    def check(self, cell):
        return Done(Status.OK)


if __name__ == "__main__":
    if size := os.environ.get("LARGEST_FILE"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
    sweep.Runner = QuickRunner
    finish.STEPS = ()  # pictures take longer than the run
    finish.first_picture = lambda folder, results, console: None
    machine.busy_cores = lambda seconds: (0.0, "")
    sys.exit(main.main(sys.argv[2:]))
