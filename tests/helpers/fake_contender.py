"""A contender that behaves as it is told, for the tests of peers: in place of peers/contenders/serve.py."""

import os
import signal
import sys
import time
from dataclasses import replace

from lengthscale.bench.peers import crew
from lengthscale.bench.peers.messages import Prepare, Ready, Sampled
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done

TARGET = "tests.helpers.fake_contender:serve"
CALL_S = {"fast": 0.01, "slow": 0.03, "hopeless": 0.2}
READY = Ready(prepare_s=0.0, first_s=0.01, calls=1, work=8.0, temp_bytes=1000, peak_bytes=None, differences={"y": 1e-6})
DIFFERENCES = {
    "wrong": {"y": 1e-6, "d w_h": 0.25},
    "a percent off": {"y": 0.01},
    "nan": {"y": float("nan")},
    "silent": {},
}


def starting(log, **behaviours):
    """In place of crew.start_contender: children that behave as told (default: fast) and write to the log."""

    def start(name, cores):
        behaviour = behaviours.get(name.replace("-", "_"), "fast")
        return crew.start_contender(name, cores, TARGET, (behaviour, str(log)))

    return start


def serve(connection, name, cores, behaviour, log):
    samples = 0
    while (message := connection.recv()) is not None:
        kind = "prepare" if isinstance(message, Prepare) else "sample"
        samples += kind == "sample"
        with open(log, "a") as file:
            file.write(f"{kind} {name} {os.getpid()}\n")
        seconds = CALL_S.get(behaviour, 0.01)
        if kind == "prepare":
            answer = replace(READY, first_s=seconds, differences=DIFFERENCES.get(behaviour, READY.differences))
        else:
            # Not slept: a busy machine sleeps longer.
            answer = Sampled(seconds, 0.009 if behaviour == "has a clock" else None)
        if behaviour == "fails":
            answer = Done(Status.UNSUPPORTED, "not this one")
        elif behaviour == "hangs" or (behaviour == "hangs in its second sample" and samples == 2):
            time.sleep(600)
        elif behaviour == "babbles":
            answer = "Hello! I am a library."
        elif behaviour == "prints":
            print("Hello! I am a library." * 10_000, flush=True)
        elif behaviour == "dies":
            print("the last words", file=sys.stderr, flush=True)
            sys.exit(7)
        elif behaviour == "is killed in its second sample" and samples == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        elif behaviour == "grows":
            held = bytearray(300 << 20)
            held[::4096] = b"x" * len(held[::4096])
            time.sleep(600)
        connection.send(answer)
