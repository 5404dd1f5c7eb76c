"""Downloads that end well, against a local server that truncates and stalls; several processes."""

import hashlib
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lengthscale.bench.data import download
from lengthscale.bench.data.download import fetch
from tests.helpers.serving import (
    CONTENT,
    QUICK,
    cut,
    hang_up,
    left,
    no_ranges,
    paper,
    printed,
    source,
    stall,
    status,
    wait_for,
    whole,
)


def test_a_download_is_the_file_and_is_not_repeated(server, get, tmp_path, console):
    path = get()
    assert path == tmp_path / "data.bin"
    assert path.read_bytes() == CONTENT
    assert get() == path
    assert server.asked == [None]
    assert left(tmp_path) == {"data.bin": len(CONTENT)}
    assert "data.bin" in printed(console)
    assert "100%" in printed(console) or "300.0/300.0 kB" in printed(console)


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


def test_a_server_that_ignores_ranges_starts_again(server, get, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(b"other bytes")
    server.answers = [no_ranges]
    assert get().read_bytes() == CONTENT
    assert server.asked == ["bytes=11-"]


def test_a_server_that_dies_half_way_is_resumed(server, get, console):
    server.answers = [cut(70_000), cut(50_000), whole]
    assert get().read_bytes() == CONTENT
    assert server.asked == [None, "bytes=70000-", "bytes=120000-"]
    assert "the connection was closed after 70,000 of 300,000 bytes; trying again" in printed(console)


def test_a_server_that_stalls_is_left_and_resumed(server, get, console):
    server.answers = [stall(60_000), whole]
    assert get().read_bytes() == CONTENT
    assert server.asked == [None, "bytes=60000-"]
    assert "nothing was received for 0.3 s" in printed(console)


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
    assert "put together from several pieces" in printed(console)


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


# Several processes.

FETCH = """
import sys
from pathlib import Path
from lengthscale.bench.data.download import Source, fetch
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


def test_a_second_process_waits_for_the_first(server, tmp_path):
    def slow(handler):
        wait_for(lambda: go.is_set())
        whole(handler)

    go, server.answers = threading.Event(), [slow]
    first = start_process(server, tmp_path)
    wait_for(lambda: server.asked)
    notes = paper()
    paths = []
    second = threading.Thread(target=lambda: paths.append(fetch(source(server), tmp_path, notes, QUICK)))
    second.start()
    wait_for(lambda: "another process is making" in printed(notes))
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
