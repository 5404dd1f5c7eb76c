"""The data: what is embedded, what this machine has, what a user names; how it is split; and every mistake in it.

WAV and images have files of their own.
"""

import hashlib
import os
import tracemalloc

import numpy as np
import pytest

from lengthscale.bench.data import DATA, audio, genome, images, load, streams
from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.synthetic import parse_task
from tests.helpers.loading import image_set, refused, stream, zipped

# What is embedded


def test_embedded_files_are_what_their_provenance_says():
    provenance = (streams.EMBEDDED / "PROVENANCE.md").read_text()
    files = [path for path in streams.EMBEDDED.iterdir() if path.name != "PROVENANCE.md"]
    assert len(files) == 4
    for path in files:
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" in provenance
        assert f"| `{path.name}` |" in provenance
    assert "Paul Shuler (Macroform)" in provenance
    assert "https://creativecommons.org/licenses/by-sa/3.0/" in provenance


def test_text():
    data = stream("text")
    assert (len(data.tokens), data.vocab) == (1_115_394, 256)
    assert data.version == hashlib.sha256(data.tokens.tobytes()).hexdigest()[:12] == "86c4e6aa9db7"


def test_code():
    data = stream("code")
    assert len(data.tokens) > 5_000_000
    assert data.version == streams.code().version
    assert b"import" in data.tokens[:100_000].tobytes()


def test_genome():
    data = stream("genome")
    assert (len(data.tokens), data.vocab) == (4_938_920, 5)
    assert np.bincount(data.tokens, minlength=5).tolist() == [1_222_723, 1_251_581, 1_243_439, 1_221_177, 0]
    assert "".join("ACGTN"[base] for base in data.tokens[:20]) == "AGCTTTTCATTCTGACTGCA"


def test_audio():
    data = stream("audio")
    assert (len(data.tokens), data.vocab, data.note) == (1_954_191, 256, "")
    assert data.tokens[:6].tolist() == [0xFF, 0x7E, 0xFF, 0xFF, 0xFF, 0xFF]


def test_mnist():
    data = image_set("mnist")
    assert data.train.shape == (4000, 28, 28, 1)
    assert data.held_out.shape == (1000, 28, 28, 1)
    assert data.classes == tuple("0123456789")
    assert np.bincount(data.train_labels).tolist() == [400] * 10
    assert np.bincount(data.held_out_labels).tolist() == [100] * 10
    assert np.bincount(data.train_labels[:100]).tolist() == [10] * 10  # any first part is balanced
    assert data.train.max() == 255
    # A one is narrower than a nought.
    ink = [(data.train[data.train_labels == digit] > 128).mean() for digit in (0, 1)]
    assert ink[0] > 2 * ink[1]


def test_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    data = image_set("digits")
    assert len(data.train) + len(data.held_out) == 1797
    assert data.train.shape[1:] == (8, 8, 1)
    first = datasets.load_digits().images[0]  # a nought
    np.testing.assert_array_equal(data.train[data.train_labels == 0][0, ..., 0], np.rint(first * 255 / 16))


def test_photos():
    datasets = pytest.importorskip("sklearn.datasets")
    data = image_set("photos")
    assert data.train.shape == (96, 64, 64, 3)
    assert data.held_out.shape == (24, 64, 64, 3)
    assert data.classes == ("china", "flower")
    china, flower = datasets.load_sample_images().images
    np.testing.assert_array_equal(data.train[0], china[:64, :64])
    np.testing.assert_array_equal(data.train[3], flower[64:128, :64])
    np.testing.assert_array_equal(data.held_out[-1], flower[320:384, 576:640])


# Streams


def test_the_split_is_by_position():
    data = stream("text")
    assert len(data.held_out) == len(data.tokens) // 10
    np.testing.assert_array_equal(np.concatenate([data.train, data.held_out]), data.tokens)


@pytest.mark.parametrize("name", ["text", "genome", "audio", "mnist"])
def test_data_is_loaded_once_and_cannot_be_changed(name):
    data = load(name)
    assert load(name) is data
    with pytest.raises(ValueError, match="read-only"):
        (image_set(name).train if name == "mnist" else stream(name).tokens)[0] = 0


def test_windows_hold_what_stands_there():
    tokens = np.arange(100, dtype=np.uint8)
    np.testing.assert_array_equal(streams.windows(tokens, 3, 20)[:, 0], [0, 40, 80])
    for window in streams.random_windows(tokens, 8, 20, np.random.default_rng(0)):
        np.testing.assert_array_equal(window, np.arange(window[0], window[0] + 20))
    np.testing.assert_array_equal(streams.windows(tokens, 1, 100), tokens[None])


def test_windows_longer_than_the_stream():
    tokens = np.arange(10, dtype=np.uint8)
    message = "a window of 11 tokens does not fit into a stream of 10"
    with pytest.raises(DataError, match=message):
        streams.windows(tokens, 2, 11)
    with pytest.raises(DataError, match=message):
        streams.random_windows(tokens, 2, 11, np.random.default_rng(0))


def test_a_file_is_its_bytes(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(bytes(range(256)) * 2)
    data = stream(path)
    np.testing.assert_array_equal(data.tokens, np.tile(np.arange(256), 2))
    assert data.version == hashlib.sha256(path.read_bytes()).hexdigest()[:12]


@pytest.mark.fault("data: binary, compressed, in a wrong encoding")
def test_a_compressed_file_is_named_as_such(tmp_path):
    (tmp_path / "text.gz").write_bytes(zipped(b"to be"))
    assert "compressed" in stream(tmp_path / "text.gz").note


@pytest.mark.fault("data: a file of 10 GB")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.fa", "line 1: no header; expected '>'"),
        ("a.csv", "row 1: it has 1,048,576 characters or more"),
        ("a.wav", "is not a WAV file"),
    ],
)
def test_a_file_of_10_gb_of_something_else_is_refused_at_its_start(tmp_path, monkeypatch, name, message):
    monkeypatch.setattr(images, "_ROW", 1 << 20)
    with (tmp_path / name).open("wb") as file:
        file.truncate(10 << 30)
    tracemalloc.start()
    said = refused(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in said
    assert peak < 64 << 20


@pytest.mark.fault("data: a file of 10 GB")
def test_a_file_of_10_gb_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "MAX_TOKENS", 1 << 20)
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(10 << 30)
    tracemalloc.start()
    data = stream(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(data.tokens) == 1 << 20
    assert data.note == "only the first 1,048,576 of its 10,737,418,240 bytes are used"
    assert peak < 8 << 20


# FASTA

FASTA = b">chr1 of something\nACGTacgt\nNnRYSWKMBDHVryswkmbdhv\nUu-A\n\n>chr2\r\nTT\r\nGG"
BASES = "ACGTACGT" + "N" * 22 + "TTA" + "TTGG"


@pytest.mark.parametrize("name", ["a.fa", "a.fasta", "a.FNA", "a.fa.gz", "anything.gz"])
def test_fasta(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(zipped(FASTA) if name.endswith(".gz") else FASTA)
    data = stream(path)
    assert "".join("ACGTN"[base] for base in data.tokens) == BASES
    assert data.vocab == 5


@pytest.mark.parametrize("block", range(1, 14))
def test_fasta_in_blocks_that_end_anywhere(tmp_path, monkeypatch, block):
    monkeypatch.setattr(genome, "_BLOCK", block)
    # A header is read on in pieces of a block too, so that here it is shorter than one.
    (tmp_path / "a.fa").write_bytes(b"\n>" + b"TTGACA\nGATTACA\n\nACGT\rTT\r\nNN".join([b"\n", b"\n>\n", b"\n"]))
    (tmp_path / "b.fa").write_bytes(b">\nACGT\nAC\nGLT\n")
    tokens = stream(tmp_path / "a.fa").tokens
    assert "".join("ACGTN"[base] for base in tokens) == "TTGACAGATTACAACGTTTNN" * 2
    assert "line 4: 'L'" in refused(tmp_path / "b.fa")


def test_fasta_longer_than_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "MAX_TOKENS", 6)
    (tmp_path / "a.fa").write_bytes(b">r\nACGT\nACGT\n")
    data = stream(tmp_path / "a.fa")
    assert data.tokens.tolist() == [0, 1, 2, 3, 0, 1]
    assert data.note == "only its first 6 bases are used"


@pytest.mark.fault("data: binary, compressed, in a wrong encoding")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b">p1\nACGT\n\n>p2 kinase\nMKTAYIAKQR\n", "record 'p2', line 5: 'I' is not a base"),
        (b">p1\nACGT\nACGT*\n", "record 'p1', line 3: '*' is not a base"),
        (b">p1\nAC>GT\n", "record 'p1', line 2: '>' is not a base"),
        ("\ufeff>p1\nAC\u00c4\n".encode(), "record 'p1', line 2: '\u00c4' is not a base"),
        (b"\n\nACGT\n", "line 3: no header; expected '>', found 'ACGT"),
        (b">p1\n>p2\n\n", "holds no bases"),
        (b"", "is empty"),
        (b"\n\n", "holds no bases"),
        (zipped(FASTA * 100)[:-12], "is truncated: its gzip stream ends before its end mark"),
        (zipped(FASTA)[:-8] + b"12345678", "is corrupt: its gzip stream cannot be unpacked"),
        (zipped(FASTA)[:10] + b"\xff" * 40, "is corrupt: its gzip stream cannot be unpacked"),
    ],
)
def test_fasta_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "wrong.fa"
    path.write_bytes(content)
    assert message in refused(path)
    assert repr(str(path)) in refused(path)


# Names and places


def test_every_name_has_its_line():
    here = ["text", "code", "genome", "audio", "mnist", "images", "digits", "photos"]
    assert list(DATA) == [*here, "planted", "keyed", "enwik8", "hg38", "speech_commands", "cifar10"]
    assert all(line and "\n" not in line for line in DATA.values())


def test_synthetic_tasks_have_names_too():
    assert load("copy") == parse_task("copy")
    assert "did you mean 'induction'?" in refused("inducton")


def test_unknown_names():
    assert "unknown data 'genom'; did you mean 'genome'? (known: text, code" in refused("genom")
    assert "there is no file or folder of this name" in refused("/no/such/file.fa")
    assert "unknown data ''" in refused("")
    assert "unknown data" in refused("a\0b")


@pytest.mark.fault("data: pipes, devices, link loops, unreadable files")
def test_places_that_hold_no_file(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "cannot be read: Too many levels of symbolic links" in refused(loop)
    (tmp_path / "away").symlink_to(tmp_path / "gone")
    assert "is a link to a file that does not exist" in refused(tmp_path / "away")
    os.mkfifo(tmp_path / "pipe")
    assert "is a pipe or a device; a file was expected" in refused(tmp_path / "pipe")
    assert "is a pipe or a device; a file was expected" in refused("/dev/zero")
    (tmp_path / "file").write_text("x")
    assert "cannot be read: Not a directory" in refused(tmp_path / "file" / "below")
    for loader in (audio.load, genome.load, images.from_csv, streams.from_bytes):
        with pytest.raises(DataError, match="is a folder; a file was expected"):
            loader("name", str(tmp_path))


@pytest.mark.fault("data: pipes, devices, link loops, unreadable files")
@pytest.mark.parametrize("name", ["data", "a.fa", "a.csv", "a.wav", "a.gz", "folder"])
def test_what_must_not_be_read(tmp_path, monkeypatch, name):
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"content")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(path))

    path.chmod(0)
    if os.access(path, os.R_OK):  # as root: nothing is refused, so it is played
        monkeypatch.setattr("pathlib.Path.open", refuse)
        monkeypatch.setattr("os.listdir", refuse)
    assert f"data {str(path)!r} cannot be read: Permission denied" in refused(path)
    path.chmod(0o700)


def test_a_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.txt").write_bytes(b"abc")
    assert stream("~/mine.txt").tokens.tolist() == [97, 98, 99]
    assert load("~/mine.txt").name == "~/mine.txt"
