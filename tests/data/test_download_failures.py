"""Downloads that fail: the error says what, where, expected and found; nothing has the final name."""

import hashlib
import ssl
from collections import namedtuple
from pathlib import Path
from urllib.error import URLError

import pytest

from lengthscale.bench.data.download import fetch, transfer
from lengthscale.bench.data.errors import DataError
from tests.helpers.serving import CONTENT, QUICK, cut, left, part_of, source, stall, status, whole


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
    fails(
        get,
        tmp_path,
        server.url,
        f"the sha256 of the received file is {digests[0]}, expected {digests[1]}",
        "data.bin.bad",
    )
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
    fails(get, tmp_path, server.url, f"the server answers {code}")
    assert len(server.asked) == 1


def test_a_server_that_stays_down(server, get, tmp_path):
    server.answers = [status(503)]
    fails(get, tmp_path, "failed 3 times", "the server answers 503 Service Unavailable", "0 of 300,000 bytes")
    assert len(server.asked) == 3


def test_stalled_for_good(server, get, tmp_path):
    server.answers = [stall(10)]
    fails(get, tmp_path, "failed 3 times", "nothing was received for 0.3 s", "30 of 300,000 bytes")


def test_a_server_that_never_answers(server, get, tmp_path):
    server.answers = [lambda handler: handler.server.end.wait(20) and None]
    fails(get, tmp_path, "failed 3 times", "nothing was received for 0.3 s")


def test_no_server(server, get, tmp_path):
    server.server_close()
    fails(get, tmp_path, server.url, "failed 3 times", "refused")


def test_no_address(get, tmp_path):
    fails(get, tmp_path, "'data.bin' is not an address", url="data.bin")


def test_a_certificate_that_is_not_to_be_trusted_is_not_asked_again(get, tmp_path, monkeypatch):
    calls = []

    def urlopen(*_, **__):
        calls.append(1)
        raise URLError(ssl.SSLCertVerificationError("self-signed certificate"))

    monkeypatch.setattr(transfer, "urlopen", urlopen)
    fails(get, tmp_path, "cannot be trusted", "self-signed certificate")
    assert calls == [1]


def test_the_final_name_is_taken_by_another_file(get, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"data\.bin has 4 bytes, expected 300,000: remove it to fetch sample again"):
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
