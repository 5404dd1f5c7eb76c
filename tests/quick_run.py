"""`python -m bench`, its children replaced by a target of tests/children.py: python -m tests.quick_run TARGET ARGS.

So a run of dozens of cells takes a second and can be struck at any moment of it.
"""

import os
import resource
import sys

import bench.__main__
import bench.sweep
from bench.runner import Runner
from tests import children

FACTS = {"backend": "cpu", "device_kind": "cpu", "n_devices": 1, "device_memory_bytes": None, "native_kernels": "none"}


class QuickRunner(Runner):
    def __init__(self, settings):
        super().__init__(settings, target=getattr(children, sys.argv[1]))
        self._context.set_forkserver_preload(["tests.children", "bench.__main__"])

    def probe(self):
        return FACTS

    def peaks(self):
        return {}

    def check(self, cell):
        return {"status": "ok", "message": "", "rows": [{}]}


if __name__ == "__main__":
    if size := os.environ.get("LARGEST_FILE"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))
    bench.sweep.Runner = QuickRunner
    bench.__main__._show = lambda *arguments: None  # pictures take longer than the run
    sys.exit(bench.__main__.main(sys.argv[2:]))
