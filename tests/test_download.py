"""Downloads, against a local server that truncates, stalls and lies; archives that attack."""

import hashlib
import io
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections import namedtuple
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.tasks import download
from bench.tasks.download import SOURCES, Patience, Source, fetch
from bench.tasks.download.archives import untar, unzip_file
from bench.tasks.download.cifar10 import TEST, TRAIN, parse_batch, read_cifar10
from bench.tasks.download.transfer import locked
from bench.tasks.errors import DataError

CONTENT = np.random.default_rng(0).bytes(300_000)
QUICK = Patience(timeout_s=0.3, attempts=3, backoff_s=0.01)


# The server: each request takes the next of its answers; the last one stays.

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    server: "Server"

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

    def log_message(self, *_):
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


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.end.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=500)


@pytest.fixture
def get(server, tmp_path, console):
    return lambda **changes: fetch(source(server, **changes), tmp_path, console, QUICK)


def source(server: Server, content: bytes = CONTENT, **changes) -> Source:
    facts = {"url": server.url, "size": len(content), "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}"}
    return Source("sample", **{**facts, **changes})


def left(folder: Path) -> dict[str, int]:
    """What the folder holds besides the lock, with its sizes."""
    return {path.name: path.stat().st_size for path in folder.iterdir() if path.suffix != ".lock"}


# What goes well.


def test_a_download_is_the_file_and_is_not_repeated(server, get, tmp_path, console):
    path = get()
    assert path == tmp_path / "data.bin"
    assert path.read_bytes() == CONTENT
    assert get() == path
    assert server.asked == [None]
    assert left(tmp_path) == {"data.bin": len(CONTENT)}
    assert "data.bin" in console.file.getvalue()
    assert "100%" in console.file.getvalue() or "300.0/300.0 kB" in console.file.getvalue()


def test_md5_does_too(get):
    assert get(checksum=f"md5:{hashlib.md5(CONTENT).hexdigest()}").read_bytes() == CONTENT


def test_a_cache_that_is_not_there_is_made(server, tmp_path, console):
    assert fetch(source(server), tmp_path / "a" / "b", console, QUICK).read_bytes() == CONTENT


def test_the_default_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LENGTHSCALE_CACHE", str(tmp_path))
    assert download.default_cache() == tmp_path
    for unset in (lambda: monkeypatch.setenv("LENGTHSCALE_CACHE", ""), lambda: monkeypatch.delenv("LENGTHSCALE_CACHE")):
        unset()
        assert download.default_cache() == Path.home() / ".cache" / "lengthscale"


def test_a_part_is_resumed(server, get, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:100_001])
    assert get().read_bytes() == CONTENT
    assert server.asked == ["bytes=100001-"]
    assert left(tmp_path) == {"data.bin": len(CONTENT)}


def test_a_part_that_is_whole_needs_no_server(server, get, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    assert get().read_bytes() == CONTENT
    assert server.asked == []


def test_a_part_that_is_too_long_is_thrown_away(server, get, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT + b"x")
    assert get().read_bytes() == CONTENT
    assert server.asked == [None]


def test_a_server_that_ignores_ranges_starts_anew(server, get, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(b"other bytes")
    server.answers = [no_ranges]
    assert get().read_bytes() == CONTENT
    assert server.asked == ["bytes=11-"]


def test_a_server_that_dies_half_way_is_resumed(server, get, console):
    server.answers = [cut(70_000), cut(50_000), whole]
    assert get().read_bytes() == CONTENT
    assert server.asked == [None, "bytes=70000-", "bytes=120000-"]
    assert "the connection was closed after 70,000 of 300,000 bytes; trying again" in console.file.getvalue()


def test_a_server_that_stalls_is_left_and_resumed(server, get, console):
    server.answers = [stall(60_000), whole]
    assert get().read_bytes() == CONTENT
    assert server.asked == [None, "bytes=60000-"]
    assert "nothing came for 0.3 s" in console.file.getvalue()


@pytest.mark.parametrize("answer", [hang_up, status(503), status(429), status(500)])
def test_a_passing_failure_passes(server, get, answer):
    server.answers = [answer, answer, whole]
    assert get().read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_a_range_beyond_the_servers_file(server, get, tmp_path):
    """416: what lies here cannot be a beginning of what lies there."""
    (tmp_path / "data.bin.part").write_bytes(b"x" * 200_000)
    server.answers = [status(416), whole]
    assert get().read_bytes() == CONTENT
    assert server.asked == ["bytes=200000-", None]


@pytest.mark.parametrize("given", [f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}", "bytes */300000", "whatever", None])
def test_another_range_than_asked_for(server, get, tmp_path, given):
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    server.answers = [lambda handler: handler.reply(206, CONTENT[5:], Content_Range=given), whole]
    assert get().read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


def test_a_range_of_unknown_total(server, get, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    server.answers = [lambda handler: handler.reply(206, CONTENT[1000:], Content_Range="bytes 1000-299999/*")]
    assert get().read_bytes() == CONTENT


def test_pieces_that_do_not_fit_are_fetched_once_more_in_one(server, get, tmp_path, console):
    """The file changed there between two calls, or an older part was never right."""
    (tmp_path / "data.bin.part").write_bytes(b"x" * 1000)
    assert get().read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]
    assert "put together from several pieces" in console.file.getvalue()


def test_no_content_length(server, get):
    server.answers = [lambda handler: handler.reply(200, CONTENT, Content_Length=None)]
    assert get().read_bytes() == CONTENT


def test_chunked(server, get):
    def chunked(handler):
        handler.protocol_version = "HTTP/1.1"
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (CONTENT[:1], CONTENT[1:200_000], CONTENT[200_000:]))
        handler.reply(200, chunks + b"0\r\n\r\n", Content_Length=None, Transfer_Encoding="chunked")

    server.answers = [chunked]
    assert get().read_bytes() == CONTENT


def test_a_redirect_keeps_the_range(server, get, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    server.answers = [lambda handler: handler.reply(302, b"", Location="/elsewhere"), whole]
    assert get().read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", "bytes=1000-"]


# What goes wrong: the error says what, where, expected and found; nothing has the final name.


def fails(get, tmp_path, *said: str, **changes) -> None:
    with pytest.raises(DataError) as error:
        get(**changes)
    for each in ("sample", *said):
        assert each in str(error.value)
    assert not (tmp_path / "data.bin").exists()


def test_wrong_bytes_are_kept_aside(server, get, tmp_path):
    wrong = bytes(len(CONTENT))
    server.answers = [lambda handler: part_of(wrong, handler)]
    digests = hashlib.sha256(wrong).hexdigest(), hashlib.sha256(CONTENT).hexdigest()
    fails(get, tmp_path, server.url, f"the sha256 of what came is {digests[0]}, expected {digests[1]}", "data.bin.bad")
    assert server.asked == [None]
    assert left(tmp_path) == {"data.bin.bad": len(CONTENT)}
    server.answers = [whole]  # and are not in the way of the right ones
    assert get().read_bytes() == CONTENT


def test_wrong_bytes_in_pieces(server, get, tmp_path):
    wrong = bytes(len(CONTENT))
    server.answers = [lambda handler: part_of(wrong, handler, 1000), lambda handler: part_of(wrong, handler)]
    fails(get, tmp_path, "expected", "data.bin.bad")
    assert server.asked == [None, "bytes=1000-", None]


def test_a_file_that_stays_short(server, get, tmp_path):
    server.answers = [cut(1000), cut(0)]
    fails(get, tmp_path, server.url, "failed 3 times", "closed after 1,000 of 300,000 bytes", "data.bin.part")
    assert left(tmp_path) == {"data.bin.part": 1000}


@pytest.mark.parametrize(("size", "body"), [(299_999, CONTENT[:-1]), (300_001, CONTENT + b"x"), (2, b"no")])
def test_a_length_that_is_not_the_expected_one(server, get, tmp_path, size, body):
    server.answers = [lambda handler: handler.reply(200, body, Content_Length=size)]
    fails(get, tmp_path, server.url, f"{size:,} bytes, expected 300,000")
    assert server.asked == [None]
    assert left(tmp_path) == {}


def test_the_file_there_has_grown(server, get, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    server.answers = [lambda handler: part_of(CONTENT + b"more", handler)]
    fails(get, tmp_path, "300,004 bytes, expected 300,000")


def test_more_comes_than_expected_with_no_length(server, get, tmp_path):
    server.answers = [lambda handler: handler.reply(200, CONTENT + b"x", Content_Length=None)]
    fails(get, tmp_path, "sends more than the 300,000 bytes expected")
    assert left(tmp_path) == {}


@pytest.mark.parametrize("code", [404, 403, 410])
def test_a_lasting_refusal_is_not_repeated(server, get, tmp_path, code):
    server.answers = [status(code)]
    fails(get, tmp_path, server.url, f"the server says {code}")
    assert len(server.asked) == 1


def test_a_server_that_stays_down(server, get, tmp_path):
    server.answers = [status(503)]
    fails(get, tmp_path, "failed 3 times", "the server says 503 Service Unavailable", "0 of 300,000 bytes")
    assert len(server.asked) == 3


def test_stalled_for_good(server, get, tmp_path):
    server.answers = [stall(10)]
    fails(get, tmp_path, "failed 3 times", "nothing came for 0.3 s", "30 of 300,000 bytes")


def test_a_server_that_never_answers(server, get, tmp_path):
    server.answers = [lambda handler: handler.server.end.wait(20) and None]
    fails(get, tmp_path, "failed 3 times", "nothing came for 0.3 s")


def test_no_server(server, get, tmp_path):
    server.server_close()
    fails(get, tmp_path, server.url, "failed 3 times", "refused")


def test_no_address(get, tmp_path):
    fails(get, tmp_path, "'data.bin' is no address", url="data.bin")


def test_a_certificate_that_is_not_to_be_trusted_is_not_asked_again(get, tmp_path, monkeypatch):
    import ssl
    from urllib.error import URLError

    from bench.tasks.download import transfer

    calls = []

    def urlopen(*_, **__):
        calls.append(1)
        raise URLError(ssl.SSLCertVerificationError("self-signed certificate"))

    monkeypatch.setattr(transfer, "urlopen", urlopen)
    fails(get, tmp_path, "is not to be trusted", "self-signed certificate")
    assert calls == [1]


def test_the_final_name_is_taken_by_another_file(get, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"data\.bin has 4 bytes, expected 300,000: remove it to fetch sample anew"):
        get()
    assert (tmp_path / "data.bin").read_bytes() == b"mine"


def test_no_space_beforehand(server, get, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(1000))
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    fails(get, tmp_path, "needs 299,000 more bytes", str(tmp_path), "1,000 are free")
    assert server.asked == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_no_space_on_the_way(server, get, tmp_path):
    (tmp_path / "data.bin.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"data\.bin\.part cannot be written: No space left on device"):
        get()
    assert not (tmp_path / "data.bin").exists()


def test_a_cache_that_is_a_file(server, tmp_path, console):
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(DataError, match=r"the cache .*cache cannot be written"):
        fetch(source(server), tmp_path / "cache", console, QUICK)


def test_an_unknown_name():
    with pytest.raises(DataError, match="unknown download 'enwik9'; did you mean 'enwik8'"):
        fetch("enwik9")


# Several processes.

FETCH = """
import sys
from pathlib import Path
from bench.tasks.download import Source, fetch
url, size, checksum, cache = sys.argv[1:]
print(fetch(Source("sample", url, int(size), checksum), Path(cache)))
"""


def start_process(server, tmp_path) -> subprocess.Popen:
    wanted = source(server)
    arguments = [wanted.url, str(wanted.size), wanted.checksum, str(tmp_path)]
    root = Path(__file__).parent.parent
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, *arguments],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_second_process_waits_for_the_first(server, tmp_path):
    def slow(handler):
        wait_for(lambda: go.is_set())
        whole(handler)

    go, server.answers = threading.Event(), [slow]
    first = start_process(server, tmp_path)
    wait_for(lambda: server.asked)
    notes = io.StringIO()
    paths = []
    second = threading.Thread(
        target=lambda: paths.append(fetch(source(server), tmp_path, Console(file=notes, width=500), QUICK))
    )
    second.start()
    wait_for(lambda: "another process is making" in notes.getvalue())
    assert not paths
    go.set()
    second.join()
    assert first.communicate()[0].strip() == str(paths[0]) == str(tmp_path / "data.bin")
    assert paths[0].read_bytes() == CONTENT
    assert server.asked == [None]  # the second found what the first had fetched


def test_a_process_that_is_killed_leaves_what_it_has_and_no_lock(server, get, tmp_path):
    server.answers = [stall(123_456), whole]
    process = start_process(server, tmp_path)
    wait_for(lambda: left(tmp_path).get("data.bin.part") == 123_456)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert get().read_bytes() == CONTENT
    assert server.asked == [None, "bytes=123456-"]


# Archives.


def make_tar(path: Path, *members: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def make_zip(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_untar(tmp_path, console):
    folder = special("./yes", tarfile.DIRTYPE)
    archive = make_tar(tmp_path / "a.tar.gz", folder, ("./yes/1.wav", b"one"), ("list.txt", b"two"))
    path = untar(archive, "words", console)
    files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert files == {"yes/1.wav": b"one", "list.txt": b"two"}
    archive.unlink()
    assert untar(archive, "words", console) == path == tmp_path / "words"  # it is there
    assert set(left(tmp_path)) == {"words"}


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (("../evil", b"x"), "outside"),
        (("a/../../evil", b"x"), "outside"),
        (("/tmp/evil-of-lengthscale", b"x"), "outside"),
        (("..\\evil", b"x"), "outside"),
        (special("link", tarfile.SYMTYPE, "../evil"), "neither a file nor a folder"),
        (special("link", tarfile.SYMTYPE, "good"), "neither a file nor a folder"),
        (special("link", tarfile.LNKTYPE, "good"), "neither a file nor a folder"),
        (special("pipe", tarfile.FIFOTYPE), "neither a file nor a folder"),
        (special("disk", tarfile.BLKTYPE), "neither a file nor a folder"),
        (special("tty", tarfile.CHRTYPE), "neither a file nor a folder"),
    ],
)
def test_a_tar_that_attacks(tmp_path, console, member, said):
    folder = tmp_path / "cache"
    folder.mkdir()
    archive = make_tar(folder / "a.tar.gz", ("good", b"x"), member)
    with pytest.raises(DataError, match=said) as error:
        untar(archive, "words", console)
    assert "refused" in str(error.value)
    assert str(archive) in str(error.value)
    assert set(left(folder)) == {"a.tar.gz"}
    assert set(left(tmp_path)) == {"cache"}
    assert not Path("/tmp/evil-of-lengthscale").exists()


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "empty"])
def test_a_tar_that_is_damaged(tmp_path, console, damage):
    archive = make_tar(tmp_path / "a.tar.gz", ("good", CONTENT))
    raw = archive.read_bytes()
    flipped = raw[:150_000] + bytes([raw[150_000] ^ 255]) + raw[150_001:]
    archive.write_bytes({"cut": raw[:150_000], "flip": flipped, "other": b"<html>", "empty": b""}[damage])
    with pytest.raises(DataError, match=r"a\.tar\.gz (is damaged|cannot be unpacked)"):
        untar(archive, "words", console)
    assert set(left(tmp_path)) == {"a.tar.gz"}


def test_what_a_killed_process_left_is_unpacked_anew(tmp_path, console):
    archive = make_tar(tmp_path / "a.tar.gz", ("good", b"x"))
    (tmp_path / "words.new").mkdir()
    (tmp_path / "words.new" / "old").write_bytes(b"x")
    assert set(left(untar(archive, "words", console))) == {"good"}
    assert set(left(tmp_path)) == {"a.tar.gz", "words"}


def test_unzip(tmp_path, console):
    archive = make_zip(tmp_path / "a.zip", data=CONTENT)
    path = unzip_file(archive, "data", len(CONTENT), console)
    assert path == tmp_path / "data"
    assert path.read_bytes() == CONTENT
    archive.unlink()
    assert unzip_file(archive, "data", len(CONTENT), console) == path


@pytest.mark.parametrize(
    "members", [{"data": CONTENT[1:]}, {"other": CONTENT}, {"data": CONTENT, "more": b""}, {"../data": CONTENT}, {}]
)
def test_a_zip_that_holds_something_else(tmp_path, console, members):
    archive = make_zip(tmp_path / "a.zip", **members)
    with pytest.raises(DataError, match="must hold one file, 'data' of 300,000 bytes, and holds"):
        unzip_file(archive, "data", len(CONTENT), console)
    assert set(left(tmp_path)) == {"a.zip"}


@pytest.mark.parametrize("damage", ["cut", "flip", "other"])
def test_a_zip_that_is_damaged(tmp_path, console, damage):
    archive = make_zip(tmp_path / "a.zip", data=CONTENT)
    raw = archive.read_bytes()
    flipped = raw[:1000] + bytes([raw[1000] ^ 255]) + raw[1001:]
    archive.write_bytes({"cut": raw[:-100], "flip": flipped, "other": b"<html>"}[damage])
    with pytest.raises(DataError, match=r"a\.zip is damaged"):
        unzip_file(archive, "data", len(CONTENT), console)
    assert set(left(tmp_path)) == {"a.zip"}


def test_unpacking_waits_for_the_lock(tmp_path, console):
    archive = make_zip(tmp_path / "a.zip", data=CONTENT)
    with locked(tmp_path / "data", console):
        thread = threading.Thread(target=unzip_file, args=(archive, "data", len(CONTENT), console))
        thread.start()
        wait_for(lambda: "another process is making" in console.file.getvalue())
        assert not (tmp_path / "data").exists()
    thread.join()
    assert (tmp_path / "data").read_bytes() == CONTENT


# CIFAR-10.


def string(content: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(content)) + content


def batch_pickle(pixels: np.ndarray, labels: list[int], code: bytes = b"u1") -> bytes:
    """As Python 2 wrote them, in protocol 2: strings are bytes, and numpy's functions have their old names."""
    rows, columns = (b"M" + struct.pack("<H", n) for n in pixels.shape)
    return b"".join([
        b"\x80\x02}(", string(b"batch_label"), string(b"testing batch 1 of 1"), string(b"labels"),
        b"](", *(b"K" + bytes([label]) for label in labels), b"e", string(b"data"),
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85", string(b"b"), b"\x87R",
        b"(K\x01", rows, columns, b"\x86cnumpy\ndtype\n", string(code), b"K\x00K\x01\x87R(K\x03", string(b"|"),
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89", string(pixels.tobytes()), b"tbu.",
    ])  # fmt: skip


def random_batch(seed: int, images: int = 3) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(256, size=(images, 3072), dtype=np.uint8), rng.integers(10, size=images).tolist()


def test_the_sample_is_what_numpy_reads():
    pixels, labels = random_batch(0)
    batch = pickle.loads(batch_pickle(pixels, labels), encoding="bytes")
    np.testing.assert_array_equal(batch[b"data"], pixels)
    assert batch[b"labels"] == labels


def test_a_batch_of_cifar10():
    pixels, labels = random_batch(0, 300)
    images, found = parse_batch(batch_pickle(pixels, labels), "here")
    assert (images.shape, images.dtype, found.dtype) == ((300, 32, 32, 3), np.uint8, np.int32)
    assert images[7, 5, 9, 1] == pixels[7, 1024 + 5 * 32 + 9]  # green, row 5, column 9
    np.testing.assert_array_equal(images.transpose(0, 3, 1, 2).reshape(300, 3072), pixels)
    np.testing.assert_array_equal(found, labels)


def cifar_members() -> list[tuple[str, bytes]]:
    batches = [(name, batch_pickle(*random_batch(seed))) for seed, name in enumerate((*TRAIN, TEST))]
    return [(f"cifar-10-batches-py/{name}", content) for name, content in batches]


def test_an_archive_of_cifar10(tmp_path, console):
    members = [("cifar-10-batches-py/batches.meta", b"cos\nsystem\n(S'false'\ntR."), *cifar_members()]
    data = read_cifar10(make_tar(tmp_path / "c.tar.gz", *reversed(members)), console)
    assert data.train_images.shape == (15, 32, 32, 3)
    assert data.test_images.shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(data.train_labels, np.concatenate([random_batch(seed)[1] for seed in range(5)]))
    np.testing.assert_array_equal(data.test_labels, random_batch(5)[1])
    np.testing.assert_array_equal(data.train_images[14, :, :, 2].ravel(), random_batch(4)[0][2, 2048:])
    assert set(left(tmp_path)) == {"c.tar.gz"}


def test_an_archive_without_a_batch(tmp_path, console):
    members = cifar_members()[1:]
    archive = make_tar(
        tmp_path / "c.tar.gz", special(f"cifar-10-batches-py/{TRAIN[0]}", tarfile.SYMTYPE, "x"), *members
    )
    with pytest.raises(DataError, match=r"c\.tar\.gz holds no data_batch_1"):
        read_cifar10(archive, console)


class Attack:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def attacks(path: Path) -> dict[str, bytes]:
    code = f"open({str(path)!r}, 'w')".encode()
    good = batch_pickle(*random_batch(0))
    return {
        **{
            f"reduce {n}": pickle.dumps({b"data": Attack(path)}, protocol=n) for n in range(pickle.HIGHEST_PROTOCOL + 1)
        },
        "eval": b"cbuiltins\neval\n(" + string(code) + b"tR.",
        "python 2's eval": b"\x80\x02c__builtin__\neval\n(" + string(code) + b"tR.",
        "inst": b"(S'touch " + str(path).encode() + b"'\nios\nsystem\n.",
        "getattr": b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'__class__'\ntR.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
        "numpy's own loader": b"cnumpy\nload\n(S'x'\ntR.",
        "array of objects": good.replace(string(b"u1"), string(b"O8")),
        "after a good one": good[:-1] + pickle.dumps(Attack(path), protocol=0),
        "persistent": b"P1\n.",
    }


@pytest.mark.parametrize("name", attacks(Path("x")))
def test_a_pickle_that_attacks_is_refused_and_not_run(tmp_path, name):
    path = tmp_path / "evil"
    with pytest.raises(DataError, match="here is no batch of CIFAR-10: UnpicklingError"):
        parse_batch(attacks(path)[name], "here")
    assert not path.exists()


def test_the_attack_would_work_on_an_unguarded_reader(tmp_path):
    path = tmp_path / "evil"
    pickle.loads(attacks(path)["reduce 2"])
    assert path.exists()


def test_a_pickle_cannot_change_what_stands_in_for_numpy():
    for name in (b"ndarray", b"dtype"):
        for state in (b"}S'__init__'\nK\x01s", b"N}S'__setstate__'\nK\x01s\x86"):
            with pytest.raises(DataError, match="here is no batch"):
                parse_batch(b"\x80\x02cnumpy\n" + name + b"\n" + state + b"b.", "here")
    parse_batch(batch_pickle(*random_batch(0)), "here")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "EOFError"),
        (b"no pickle", "UnpicklingError"),
        (batch_pickle(*random_batch(0))[:-3000], "here is no batch"),
        (pickle.dumps([1, 2], 2), "not rows of 3,072 bytes"),
        (pickle.dumps({}, 2), "not rows of 3,072 bytes"),
        (b"\x80\x02}(" + string(b"data") + b"cnumpy\nndarray\n)Ru.", "not rows of 3,072 bytes"),
        (batch_pickle(np.zeros((2, 3071), np.uint8), [0, 0]), "not rows of 3,072 bytes"),
        (batch_pickle(np.zeros((2, 3072), np.uint8), [0]), "not one for each of 2 images"),
        (batch_pickle(np.zeros((2, 3072), np.uint8), [0, 10]), "not numbers from 0 to 9"),
        (batch_pickle(np.zeros((2, 3072), np.uint8), [0, 0]).replace(b"M\x02\x00", b"M\x03\x00"), "row by row"),
    ],
)
def test_a_pickle_that_is_no_batch(content, said):
    with pytest.raises(DataError, match=said):
        parse_batch(content, "here")


# The data sets, each served from here.


def test_the_sources_are_whole():
    assert set(SOURCES) == set(download.DOWNLOADS) == {"enwik8", "hg38", "speech_commands", "cifar10"}
    for name, each in SOURCES.items():
        assert each.name == name
        assert each.url.startswith("https://")
        assert re.fullmatch(r"sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", each.checksum)
    assert len({each.file for each in SOURCES.values()}) == len(SOURCES)


@pytest.fixture
def serve(server, tmp_path, console, monkeypatch):
    """Puts content behind a name, and gets what that name opens."""

    def get(name: str, content: bytes):
        server.answers = [lambda handler: part_of(content, handler)]
        url = server.url.replace("data.bin", SOURCES[name].file)
        monkeypatch.setitem(SOURCES, name, Source(name, url, len(content), source(server, content).checksum))
        return download.DOWNLOADS[name](tmp_path / "cache", console)

    return get


def test_enwik8(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ENWIK8_BYTES", len(CONTENT))
    path = serve("enwik8", make_zip(tmp_path / "z", enwik8=CONTENT).read_bytes())
    assert path == tmp_path / "cache" / "enwik8"
    assert path.read_bytes() == CONTENT


def test_hg38(serve, tmp_path):
    path = serve("hg38", CONTENT)
    assert path == tmp_path / "cache" / "hg38.fa.gz"
    assert path.read_bytes() == CONTENT


def test_speech_commands(serve, tmp_path):
    archive = make_tar(tmp_path / "t", ("./yes/0.wav", b"RIFF"), ("./testing_list.txt", b"yes/0.wav\n"))
    path = serve("speech_commands", archive.read_bytes())
    assert path == tmp_path / "cache" / "speech_commands_v0.02"
    assert (path / "yes" / "0.wav").read_bytes() == b"RIFF"


def test_cifar10(serve, tmp_path):
    data = serve("cifar10", make_tar(tmp_path / "t", *cifar_members()).read_bytes())
    np.testing.assert_array_equal(data.test_labels, random_batch(5)[1])
