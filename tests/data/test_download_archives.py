"""Archives that are unpacked, are damaged, or attack; and the data sets as a whole, served from here."""

import re
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from lengthscale.bench.data import download
from lengthscale.bench.data.download import SOURCES, Source
from lengthscale.bench.data.download.archives import untar, unzip_file
from lengthscale.bench.data.download.transfer import locked
from lengthscale.bench.data.errors import DataError
from tests.helpers.archives import cifar_members, make_tar, make_zip, random_batch, special
from tests.helpers.serving import CONTENT, left, part_of, printed, source, wait_for


def test_untar(tmp_path, console):
    folder = special("./yes", tarfile.DIRTYPE)
    archive = make_tar(tmp_path / "a.tar.gz", folder, ("./yes/1.wav", b"one"), ("list.txt", b"two"))
    path = untar(archive, "words", console)
    files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert files == {"yes/1.wav": b"one", "list.txt": b"two"}
    archive.unlink()
    assert untar(archive, "words", console) == path == tmp_path / "words"  # it is there
    assert set(left(tmp_path)) == {"words"}


@pytest.mark.fault("archives: paths that lead outside, links, devices, damage")
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


@pytest.mark.fault("archives: paths that lead outside, links, devices, damage")
def test_a_tar_takes_nothing_but_content(tmp_path, console):
    member = special("run", tarfile.REGTYPE)
    member.mode = 0o4777  # set-uid, and for everyone to write
    path = untar(make_tar(tmp_path / "a.tar.gz", member), "words", console)
    assert (path / "run").stat().st_mode & 0o7111 == 0
    with pytest.raises(DataError, match=r"cannot be unpacked: (Not a directory|File exists)"):
        untar(make_tar(tmp_path / "b.tar.gz", ("a", b"x"), ("a/b", b"y")), "other", console)


@pytest.mark.fault("archives: paths that lead outside, links, devices, damage")
@pytest.mark.parametrize("damage", ["cut", "flip", "other", "empty"])
def test_a_tar_that_is_damaged(tmp_path, console, damage):
    archive = make_tar(tmp_path / "a.tar.gz", ("good", CONTENT))
    raw = archive.read_bytes()
    flipped = raw[:150_000] + bytes([raw[150_000] ^ 255]) + raw[150_001:]
    archive.write_bytes({"cut": raw[:150_000], "flip": flipped, "other": b"<html>", "empty": b""}[damage])
    with pytest.raises(DataError, match=r"a\.tar\.gz (is damaged|cannot be unpacked)"):
        untar(archive, "words", console)
    assert set(left(tmp_path)) == {"a.tar.gz"}


def test_what_a_killed_process_left_is_unpacked_again(tmp_path, console):
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


@pytest.mark.fault("archives: paths that lead outside, links, devices, damage")
@pytest.mark.parametrize(
    "members", [{"data": CONTENT[1:]}, {"other": CONTENT}, {"data": CONTENT, "more": b""}, {"../data": CONTENT}, {}]
)
def test_a_zip_that_holds_something_else(tmp_path, console, members):
    archive = make_zip(tmp_path / "a.zip", **members)
    with pytest.raises(DataError, match="must hold one file, 'data' of 300,000 bytes, but holds"):
        unzip_file(archive, "data", len(CONTENT), console)
    assert set(left(tmp_path)) == {"a.zip"}


@pytest.mark.fault("archives: paths that lead outside, links, devices, damage")
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
        wait_for(lambda: "another process is making" in printed(console))
        assert not (tmp_path / "data").exists()
    thread.join()
    assert (tmp_path / "data").read_bytes() == CONTENT


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
