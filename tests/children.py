"""Children that misbehave, for the runner's tests: targets in place of bench.child.run_child."""

import os
import signal
import subprocess
import time

import bench.child

RECORD = {"status": "ok", "stage": "", "message": "", "rows": [{}]}


def good(connection, task, cell, settings, output):
    os.setsid()
    connection.send(("stage", "sample"))
    connection.send(("done", RECORD))


def sleeps(connection, task, cell, settings, output):
    os.setsid()
    connection.send(("stage", "compile"))
    time.sleep(600)


def talks_for_ever(connection, task, cell, settings, output):
    os.setsid()
    while True:
        connection.send(("stage", "sample"))
        time.sleep(0.01)


def ignores_term(connection, task, cell, settings, output):
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def is_killed(connection, task, cell, settings, output):
    os.setsid()
    connection.send(("stage", "sample"))
    os.kill(os.getpid(), signal.SIGKILL)


def exits(connection, task, cell, settings, output):
    os.setsid()
    bench.child._redirect(output)
    os.write(2, b"the last words\n")
    os._exit(7)


def leaves_a_grandchild(connection, task, cell, settings, output):
    """The cell's `data` names the file that takes the grandchild's process number."""
    os.setsid()
    grandchild = subprocess.Popen(["sleep", "600"])
    with open(cell.data, "w") as file:
        file.write(str(grandchild.pid))
    connection.send(("done", RECORD))
