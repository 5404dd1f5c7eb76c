"""A contender that behaves as it is told, for the tests of peers: fake_contender.py NAME BEHAVIOUR LOG."""

import json
import os
import signal
import sys
import time

CALL_S = {"fast": 0.01, "slow": 0.03, "hopeless": 0.2}
FACTS = {"prepare_s": 0.0, "first_s": 0.01, "calls": 1, "work": 8.0, "temp_bytes": 1000}
DIFFERENCES = {"wrong": {"y": 1e-6, "d w_h": 0.25}, "nan": {"y": float("nan")}, "silent": {}}


def main(name, behaviour, log):
    samples = 0
    for line in sys.stdin:
        message = json.loads(line)
        kind = "prepare" if "prepare" in message else "sample"
        samples += kind == "sample"
        with open(log, "a") as file:
            file.write(f"{kind} {name} {os.getpid()}\n")
        seconds = CALL_S.get(behaviour, 0.01)
        if kind == "prepare":
            answer = {"ready": {**FACTS, "first_s": seconds, "differences": DIFFERENCES.get(behaviour, {"y": 1e-6})}}
        else:
            start = time.perf_counter()
            time.sleep(seconds)
            answer = {"seconds": time.perf_counter() - start}
        if behaviour == "fails":
            answer = {"failed": "unsupported", "reason": "not this one"}
        elif behaviour == "hangs" or (behaviour == "hangs in its second sample" and samples == 2):
            time.sleep(600)
        elif behaviour == "babbles":
            print("Hello! I am a library.", flush=True)
            continue
        elif behaviour == "dies":
            print("the last words", file=sys.stderr, flush=True)
            sys.exit(7)
        elif behaviour == "is killed in its second sample" and samples == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        elif behaviour == "grows":
            held = bytearray(300 << 20)
            held[::4096] = b"x" * len(held[::4096])
            time.sleep(600)
        print(json.dumps(answer), flush=True)


main(*sys.argv[1:])
