"""How a sample is timed: the seconds of one call, the mean over the calls of the sample.

    each     every call is waited for; a first one is dropped. For a CPU, which computes in the call anyway.
    queued   the calls follow each other at once, and the last one is waited for; as many are dropped before. For a
             GPU, which computes in order while its host starts the next call: the time to start a call (39 us by jax
             on an H200) and to wait for it is in no figure, of ours or of a peer. A call that takes less than its
             start still counts as long as that.

All contenders of a row have the same one, that of the row's platform. Where a package reads the device's own clock
(torch's CUDA events), other calls are timed by it too: a call from its first kernel to its last, with the gaps between
them. jax has no such clock, so this time is compared with nothing; it shows whether `queued` is of the device.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from lengthscale.bench.peers.contenders.prepared import Prepared


def each(prepared: Prepared, calls: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """The seconds of one call, where every call is waited for.

    A first call is dropped: others have used the core and its caches, and this process has given its memory back.
    """
    prepared.wait(prepared.call())
    start = clock()
    for _ in range(calls):
        prepared.wait(prepared.call())
    return (clock() - start) / calls


def queued(prepared: Prepared, calls: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """The seconds of one call among calls that are waited for together.

    As many calls are dropped first: a device that was idle has to raise its clocks, and allocates memory again.
    """
    _run(prepared, calls)
    start = clock()
    _run(prepared, calls)
    return (clock() - start) / calls


def _run(prepared: Prepared, calls: int) -> None:
    results = None
    for _ in range(calls):
        results = prepared.call()  # those before are freed meanwhile, in the order of the device's work
    prepared.wait(results)


METERS = {"each": each, "queued": queued}
