"""A local server that truncates, stalls and lies, and what the tests of downloads share."""

import hashlib
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from rich.console import Console

from lengthscale.bench.data.download import Patience, Source

CONTENT = np.random.default_rng(0).bytes(300_000)
QUICK = Patience(timeout_s=0.3, attempts=3, backoff_s=0.01)


# The server: each request takes the next of its answers; the last one stays.

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    server: "Server"  # pyright: ignore[reportIncompatibleVariableOverride] - the only class that makes one

    def do_GET(self):
        with self.server.turn:
            self.server.asked.append(self.headers.get("Range"))
            answer = self.server.answers[min(len(self.server.asked), len(self.server.answers)) - 1]
        answer(self)

    def start(self) -> int:
        """Where the client wants to go on."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(asked[1]) if asked else 0

    def reply(self, status: int, body: bytes, **headers) -> None:
        self.send_response(status)
        for name, value in {"Content_Length": len(body), **headers}.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = [whole]
        self.asked: list[str | None] = []  # the Range of each request
        self.turn = threading.Lock()
        self.end = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/some/data.bin"

    def handle_error(self, request, client_address):
        """The client has gone, as it should where it was stalled."""


def part_of(content: bytes, handler: Handler, most: int | None = None) -> None:
    """What a good server says, though it may hang up after `most` bytes."""
    start = handler.start()
    body = content[start:]
    headers: dict = {"Content_Length": len(body)}
    if start:
        headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
    handler.reply(206 if start else 200, body[:most], **headers)


def whole(handler: Handler) -> None:
    part_of(CONTENT, handler)


def no_ranges(handler: Handler) -> None:
    handler.reply(200, CONTENT)


def cut(most: int) -> Answer:
    return lambda handler: part_of(CONTENT, handler, most)


def stall(most: int) -> Answer:
    def answer(handler: Handler) -> None:
        part_of(CONTENT, handler, most)
        handler.server.end.wait(20)

    return answer


def status(code: int) -> Answer:
    return lambda handler: handler.reply(code, b"no")


def hang_up(handler: Handler) -> None:
    handler.close_connection = True


@contextmanager
def serving() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.end.set()
            server.shutdown()
            thread.join()


def source(server: Server, content: bytes = CONTENT, **changes) -> Source:
    facts = {"url": server.url, "size": len(content), "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}"}
    return Source("sample", **{**facts, **changes})


def left(folder: Path) -> dict[str, int]:
    """What the folder holds besides the lock, with its sizes."""
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.suffix != ".lock"}


def paper() -> Console:
    """A console that keeps what is printed: `printed(console)`."""
    return Console(file=io.StringIO(), width=500)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
