"""Children that misbehave, for the runner's tests: targets in place of lengthscale.bench.host.child.run_child."""

import ctypes
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time

import psutil

import lengthscale.bench.device
import lengthscale.bench.host.child
from lengthscale.bench.plan.status import Status
from lengthscale.bench.results.messages import Done, Measured, Samples, Stage
from lengthscale.bench.results.record import Row

FINE = Done(Status.OK, content=Measured((Row(),)))


def good(connection, task, cell, settings, output):
    os.setsid()
    connection.send(Stage("sample"))
    connection.send(FINE)


def tells_its_task(connection, task, cell, settings, output):
    """A good one that sends its task as a stage."""
    connection.send(Stage(task))
    connection.send(Done(Status.OK))


def tells_its_origin(connection, task, cell, settings, output):
    """Says whether it was forked by a server that has jaxlib in memory: then it imports nothing again."""
    os.setsid()
    run = multiprocessing.parent_process()
    is_forked = run is not None and run.pid != os.getppid()
    has_jaxlib = any("/jaxlib/" in mapped.path for mapped in psutil.Process(os.getppid()).memory_maps())
    connection.send(Stage(f"forked by a server: {is_forked}, with jaxlib: {has_jaxlib}"))
    connection.send(FINE)


def tells_its_server(connection, task, cell, settings, output):
    """A good one that sends the process id of its forkserver as a stage."""
    connection.send(Stage(str(os.getppid())))
    connection.send(Done(Status.OK))


def quick(connection, task, cell, settings, output):
    """Every cell takes 20 ms, and as many ms a step as its length is long."""
    os.setsid()
    lengthscale.bench.host.child.end_with_parent()
    time.sleep(0.02)
    ms = float(cell.length)
    tokens = cell.batch * (1 if cell.measure == "decode" else cell.length)
    row = Row(time_median_ms=ms, n_samples=5, tokens_per_s=1000.0 * tokens / ms)
    connection.send(Stage("sample"))
    connection.send(Done(Status.OK, content=Measured((row,), Samples((ms,) * 5))))


def quick_until_memory_runs_out(connection, task, cell, settings, output):
    """From length 8 on there is no room."""
    if cell.length < 8:
        quick(connection, task, cell, settings, output)
    else:
        os.setsid()
        connection.send(Stage("allocate"))
        connection.send(Done(Status.OOM, "no room for so many tokens"))


def quick_until_the_eighth(connection, task, cell, settings, output):
    """The cell of length 8 runs for ever, and says where it is."""
    if cell.length == 8:
        os.setsid()
        lengthscale.bench.host.child.end_with_parent()
        with open(os.path.join(os.environ["FAULT_FOLDER"], "pid"), "w") as file:
            file.write(str(os.getpid()))
        time.sleep(600)
    quick(connection, task, cell, settings, output)


def sleeps(connection, task, cell, settings, output):
    os.setsid()
    connection.send(Stage("compile"))
    time.sleep(600)


def samples_after_compiling(connection, task, cell, settings, output):
    os.setsid()
    connection.send(Stage("compile"))
    connection.send(Stage("sample"))
    time.sleep(0.8)
    connection.send(FINE)


def sends_for_ever(connection, task, cell, settings, output):
    os.setsid()
    while True:
        connection.send(Stage("sample"))
        time.sleep(0.01)


def ignores_term(connection, task, cell, settings, output):
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def is_killed(connection, task, cell, settings, output):
    os.setsid()
    connection.send(Stage("sample"))
    os.kill(os.getpid(), signal.SIGKILL)


def reads_where_nothing_is(connection, task, cell, settings, output):
    os.setsid()
    connection.send(Stage("sample"))
    ctypes.string_at(0)


def prints_for_ever(connection, task, cell, settings, output):
    os.setsid()
    _print_for_ever(output)


def _print_for_ever(output):
    lengthscale.bench.host.child.redirect(output)
    while True:
        print("the same again" * 1000, flush=True)
        print("and again" * 1000, file=sys.stderr)


def cannot_import_the_worker(connection, task, cell, settings, output):
    sys.modules["lengthscale.bench.device.worker"] = None  # pyright: ignore[reportArgumentType]
    lengthscale.bench.device.__dict__.pop("worker", None)  # the forkserver has imported it already
    lengthscale.bench.host.child.run_child(connection, task, cell, settings, output)


def has_little_memory(connection, task, cell, settings, output):
    """The real child; what it may map beyond what it has is 1 GiB once the program is to be allocated."""
    send = connection.send

    def and_then_limit(message):
        if message == Stage("allocate"):
            here = psutil.Process().memory_info().vms
            resource.setrlimit(resource.RLIMIT_AS, (here + (1 << 30), here + (1 << 30)))
        send(message)

    connection.send = and_then_limit
    lengthscale.bench.host.child.run_child(connection, task, cell, settings, output)


def exits(connection, task, cell, settings, output):
    os.setsid()
    lengthscale.bench.host.child.redirect(output)
    print("more than a pipe holds" * 10_000, flush=True)
    os.write(2, b"the last words\n")
    os._exit(7)


def leaves_a_grandchild(connection, task, cell, settings, output):
    """The cell's `data` names the file that takes the grandchild's process number."""
    os.setsid()
    grandchild = subprocess.Popen(["sleep", "600"])
    with open(cell.data, "w") as file:
        file.write(str(grandchild.pid))
    connection.send(FINE)


def each_in_its_own_way(connection, task, cell, settings, output):
    """A failure for each model; the others are well."""
    how = {
        "rnn": is_killed,
        "lstm": reads_where_nothing_is,
        "gru": cannot_import_the_worker,
        "transformer": exits,
        "mamba": prints_for_ever_with_a_grandchild,
    }
    how.get(cell.model, quick)(connection, task, cell, settings, output)


def prints_for_ever_with_a_grandchild(connection, task, cell, settings, output):
    os.setsid()
    subprocess.Popen(["sleep", "600"])
    connection.send(Stage("compile"))
    _print_for_ever(output)


def serves(connection, output):
    """Serves tasks; how one goes follows from its cell's model. Its stages are the task and this process's number."""
    lengthscale.bench.host.child.begin(output)
    while True:
        try:
            task, cell, _ = connection.recv()
        except EOFError:
            return
        for stage in (task, str(os.getpid())):
            connection.send(Stage(stage))
        _serve(connection, task, cell.model if cell else "")


def _serve(connection, task, model):
    measuring = task == "measure"
    if measuring and model == "lstm":
        os.kill(os.getpid(), signal.SIGKILL)
    if measuring and model == "mamba":
        time.sleep(600)
    if task == "compile" and model == "rwkv4":
        connection.send(Done(Status.SKIPPED, "planned memory is over the limit"))
    elif task == "check" and model == "s4d":
        connection.send(Done(Status.INCORRECT, "it is off"))
    elif measuring and model in ("gru", "vit"):
        connection.send(Done(Status.OOM if model == "gru" else Status.UNSUPPORTED, "for a reason"))
    else:
        time.sleep(0.3 if task == "compile" else 0.0)
        connection.send(FINE if measuring else Done(Status.OK))
