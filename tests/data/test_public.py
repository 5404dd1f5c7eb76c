"""The public sets as data: fetched from a server here, split as they should be, used by a run, offline from then on."""

import io
import itertools
import subprocess
import sys
import wave

import numpy as np
import pytest

from lengthscale.bench import data as tasks
from lengthscale.bench.__main__ import main
from lengthscale.bench.data import download, genome, images, public, streams
from lengthscale.bench.data.audio import mu_law_encode
from lengthscale.bench.data.download import SOURCES, Source
from lengthscale.bench.data.errors import DataError
from tests.helpers.archives import cifar_members, make_tar, make_zip, random_batch
from tests.helpers.loading import image_set, refused, stream, zipped
from tests.helpers.paths import environment
from tests.helpers.serving import CONTENT, left, paper, part_of, source, status

KERNELS = download.default_cache() / "native"  # the real one: the tests set another
QUICK = ["run", "--suite", "quick", "--replicates", "1", "--models", "rnn", "--measures", "forward", "--lengths", "16"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty one, and nothing loaded before."""
    monkeypatch.setenv("LENGTHSCALE_CACHE", str(tmp_path / "cache"))
    tasks.load.cache_clear()
    yield tmp_path / "cache"
    tasks.load.cache_clear()


@pytest.fixture
def offer(server, cache, monkeypatch):
    """Puts content behind the name of a public set."""

    def put(name: str, content: bytes) -> None:
        server.answers = [lambda handler: part_of(content, handler)]
        url = server.url.replace("data.bin", SOURCES[name].file)
        monkeypatch.setitem(SOURCES, name, Source(name, url, len(content), source(server, content).checksum))

    return put


def test_what_is_not_in_the_cache_says_how_it_gets_there(cache):
    for name, size in (("enwik8", "36"), ("hg38", "984"), ("speech_commands", "2,429"), ("cifar10", "170")):
        assert f"data {name!r} is not in {cache}: --download {name} fetches it ({size} MB)" in refused(name)
    assert not cache.exists()


def test_there_is_a_set_for_every_source():
    assert set(public.PUBLIC) == set(SOURCES) == set(download.DOWNLOADS)


@pytest.fixture
def enwik8(tmp_path, monkeypatch) -> bytes:
    """A small one's archive."""
    monkeypatch.setattr(download, "ENWIK8_BYTES", len(CONTENT))
    monkeypatch.setattr(download, "ENWIK8_SPLIT", (270_000, 285_000))
    return make_zip(tmp_path / "z", enwik8=CONTENT).read_bytes()


def test_the_split_of_enwik8_is_its_literatures():
    assert download.ENWIK8_SPLIT == (90_000_000, 95_000_000)
    assert download.ENWIK8_BYTES == 100_000_000


def test_enwik8(offer, enwik8, server, cache):
    offer("enwik8", enwik8)
    public.fetch("enwik8", paper())
    data = stream("enwik8")
    assert data.tokens.tobytes() == CONTENT
    assert data.train.tobytes() == CONTENT[:270_000]
    assert data.held_out.tobytes() == CONTENT[285_000:]
    assert data.vocab == 256
    assert data.version == streams.version(np.frombuffer(CONTENT, np.uint8))
    assert "validation" in data.note
    (cache / "enwik8.zip").unlink()  # what is prepared is enough
    public.fetch("enwik8", paper())
    assert server.asked == [None]


HG38 = b">chr1\nAAAA\n>chr20_alt\nCCCC\n>chr20 the one\nNNac\r\ngtAC\n\nRY\n>chr2\nno bases here: not read\n"


def test_hg38(offer, cache):
    offer("hg38", zipped(HG38))
    public.fetch("hg38", paper())
    data = stream("hg38")
    assert "".join(genome.ALPHABET[base] for base in data.tokens) == "NNACGTACNN"
    assert (data.vocab, len(data.train), len(data.held_out)) == (5, 9, 1)
    assert data.note == "chr20 alone, 10 bases of the genome's 3.1 billion"
    assert set(left(cache)) == {"hg38.fa.gz", "hg38.chr20"}


@pytest.mark.parametrize(
    ("fasta", "said"),
    [
        (b">chr1\nACGT\n>chr2\n", "there is no FASTA record 'chr20' in 3 lines"),
        (b">chr20\nACGT\nMKTAYI\n", "FASTA record 'chr20', line 3: b'MKTAYI\\n' holds letters that are not bases"),
    ],
)
def test_another_genome(offer, cache, fasta, said):
    offer("hg38", zipped(fasta))
    with pytest.raises(DataError) as caught:
        public.fetch("hg38", paper())
    assert said in str(caught.value)
    assert set(left(cache)) == {"hg38.fa.gz"}
    assert "--download hg38" in refused("hg38")


def test_a_record_is_read_to_its_end_and_no_further():
    lines = itertools.chain([b">a\n", b"AC\n", b"GT\n"], itertools.repeat(b">b\n"))
    assert b"".join(genome.record_bases(lines, "a")) == bytes([0, 1, 2, 3])
    assert b"".join(genome.record_bases([b">a\n", b"T"], "a")) == bytes([3])


def clip(samples: np.ndarray) -> bytes:
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()


def test_speech_commands(offer, tmp_path):
    rng = np.random.default_rng(0)
    words = ("two/b_nohash_0.wav", "zero/b_nohash_0.wav", "one/a_nohash_0.wav", "one/c_nohash_0.wav")
    others = ("nine/d_nohash_0.wav", "bed/a_nohash_0.wav", "_background_noise_/noise.wav")
    samples = {name: rng.integers(-(2**15), 2**15, rng.integers(5, 9)) for name in (*words, *others)}
    members = [(f"./{name}", clip(each)) for name, each in samples.items()]
    lists = (("./testing_list.txt", b"one/c_nohash_0.wav\n"), ("./validation_list.txt", b"nine/d_nohash_0.wav\n"))
    offer("speech_commands", make_tar(tmp_path / "t", *members, *lists).read_bytes())
    public.fetch("speech_commands", paper())
    data = stream("speech_commands")

    def joined(*names):
        return np.concatenate([mu_law_encode(samples[name].astype(np.int16)) for name in names])

    train = joined("one/a_nohash_0.wav", "zero/b_nohash_0.wav", "two/b_nohash_0.wav")  # speaker by speaker
    np.testing.assert_array_equal(data.train, train)
    np.testing.assert_array_equal(data.held_out, joined("one/c_nohash_0.wav"))
    assert len(data.tokens) == len(data.train) + len(data.held_out)
    assert data.vocab == 256
    assert "testing_list.txt" in data.note


def test_speech_commands_without_a_test_part(offer, tmp_path, cache):
    members = ("one/a.wav", clip(np.zeros(5))), ("testing_list.txt", b""), ("validation_list.txt", b"")
    offer("speech_commands", make_tar(tmp_path / "t", *members).read_bytes())
    with pytest.raises(DataError, match="holds 1 clips of digits to train on and 0 to test on"):
        public.fetch("speech_commands", paper())
    assert set(left(cache)) == {"speech_commands_v0.02.tar.gz", "speech_commands_v0.02"}


def test_cifar10(offer, tmp_path):
    offer("cifar10", make_tar(tmp_path / "t", *cifar_members()).read_bytes())
    public.fetch("cifar10", paper())
    data = image_set("cifar10")
    assert data.classes[3] == "cat"
    held_out, labels = random_batch(5)
    expected = {
        pixels.reshape(3, 32, 32)[:, 1, 2].tobytes(): label for pixels, label in zip(held_out, labels, strict=True)
    }
    assert {image[1, 2].tobytes(): label for image, label in zip(data.held_out, data.held_out_labels, strict=True)} == (
        expected
    )
    train_labels = np.concatenate([random_batch(seed)[1] for seed in range(5)])
    assert np.bincount(data.train_labels).tolist() == np.bincount(train_labels).tolist()
    assert data.train.shape == (15, 32, 32, 3)


def test_a_set_that_comes_split_is_mixed_in_its_parts():
    labels = np.array([0] * 6 + [1] * 3, np.int32)
    pixels = np.arange(9, dtype=np.uint8).reshape(-1, 1, 1, 1)
    data = images.from_parts("set", pixels, labels, pixels[:2] + 100, labels[5:7], ("a", "b"))
    assert np.bincount(data.train_labels[:3]).tolist() == [2, 1]
    np.testing.assert_array_equal(labels[data.train.ravel()], data.train_labels)
    assert data.held_out.ravel().tolist() == [100, 101]
    assert data.held_out_labels.tolist() == [0, 1]


# The command line


def errors_of(capsys, *arguments) -> str:
    assert main([*QUICK, *arguments]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_options_that_do_not_fit_together_fetch_nothing(offer, enwik8, server, capsys):
    offer("enwik8", enwik8)
    both = errors_of(capsys, "--download", "enwik8", "--data", "text", "--size", "smal")
    assert "--download chooses the data, too: give it or --data text, not both" in both
    assert "did you mean 'small'?" in both
    assert "unknown download 'enwik9'; did you mean 'enwik8'?" in errors_of(capsys, "--download", "enwik9")
    assert "unknown download ''" in errors_of(capsys, "--download", "")
    assert "unknown download 'text'" in errors_of(capsys, "--download", "text", "--suite", "quik")
    assert "--download enwik8 fetches it" in errors_of(capsys, "--data", "enwik8")
    assert server.asked == []


def test_a_download_that_fails_loses_nothing(offer, enwik8, server, cache, capsys, tmp_path):
    offer("enwik8", enwik8)
    good = server.answers
    cache.mkdir()
    (cache / "enwik8.zip.part").write_bytes(enwik8[:1000])
    server.answers = [status(404)]
    said = errors_of(capsys, "--download", "enwik8", "--out", str(tmp_path / "new"))
    assert "enwik8.zip: the server answers 404" in said
    assert not (tmp_path / "new").exists()
    assert left(cache) == {"enwik8.zip.part": 1000}
    server.asked.clear()
    server.answers = good
    assert main([*QUICK, "--download", "enwik8", "--list"]) == 0
    assert "data=enwik8" in capsys.readouterr().out
    assert server.asked == ["bytes=1000-"]
    assert main([*QUICK, "--data", "enwik8", "--list"]) == 0
    assert len(server.asked) == 1


RUN = """
import sys
from lengthscale.bench.__main__ import main
from lengthscale.bench.data.download import SOURCES, Source
url, size, checksum, *arguments = sys.argv[1:]
SOURCES["hg38"] = Source("hg38", url, int(size), checksum)
sys.exit(main(arguments))
"""


@pytest.mark.slow
def test_a_run_on_what_it_downloads(server, cache, tmp_path):
    cache.mkdir()
    (cache / "native").symlink_to(KERNELS)  # else they are compiled again
    bases = np.random.default_rng(0).choice(list(b"ACGT"), 500).astype(np.uint8).tobytes()
    content = zipped(b">chr20\n" + bases + b"\n")
    server.answers = [lambda handler: part_of(content, handler)]
    facts = (server.url.replace("data.bin", "hg38.fa.gz"), str(len(content)), source(server, content).checksum)
    result = subprocess.run(
        [sys.executable, "-P", "-c", RUN, *facts, *QUICK, "--download", "hg38", "--out", str(tmp_path / "run")],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "data hg38: chr20 alone, 500 bases of the genome's 3.1 billion" in result.stdout
    assert "hg38.fa.gz" in result.stderr
    (line,) = (tmp_path / "run" / "forward.csv").read_text().splitlines()[1:]
    assert ",hg38," in line
    assert ",ok," in line
