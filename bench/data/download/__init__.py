"""Downloads of public data sets: fetched once into a cache, verified and unpacked. ../public.py makes data of them.

    path = enwik8()                # 100 MB of Wikipedia, as a file
    path = fetch("hg38")           # or only the verified archive

Addresses, sizes and checksums are in SOURCES. The cache is $LENGTHSCALE_CACHE or ~/.cache/lengthscale. All functions
resume an interrupted download, return at once if the data are in the cache, and raise DataError that says what is wrong
and where.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from lengthscale.bench.data.download.archives import untar, unzip_file
from lengthscale.bench.data.download.cifar10 import Cifar10, read_cifar10
from lengthscale.bench.data.download.transfer import PATIENCE, Patience, Source, default_cache, fetch_source
from lengthscale.bench.data.errors import DataError
from lengthscale.models import unknown

__all__ = ["DOWNLOADS", "SOURCES", "Cifar10", "Patience", "Source", "default_cache", "fetch"]

SOURCES = {
    source.name: source
    for source in (
        Source(
            "enwik8",
            "https://mattmahoney.net/dc/enwik8.zip",
            36_445_475,
            "sha256:547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
        ),
        Source(
            "hg38",
            "https://hgdownload.soe.ucsc.edu/goldenPath/hg38/bigZips/hg38.fa.gz",
            983_659_424,
            "sha256:c1dd87068c254eb53d944f71e51d1311964fce8de24d6fc0effc9c61c01527d4",
        ),
        Source(
            "speech_commands",
            "https://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
            2_428_923_189,
            "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
        ),
        Source(
            "cifar10",
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            170_498_071,
            "md5:c58f30108f718f92721af3b95e74349a",  # the checksum that its authors give
        ),
    )
}

ENWIK8_BYTES = 100_000_000
ENWIK8_SPLIT = (90_000_000, 95_000_000)  # the ends of the training part and of the validation part; the rest is test


def fetch(
    source: str | Source,
    cache_dir: Path | None = None,
    console: Console | None = None,
    patience: Patience = PATIENCE,
) -> Path:
    """The path of the verified file in the cache, which is downloaded if it is not there.

    source: a key of SOURCES, or any Source. cache_dir: None for the default one. console: for the progress; None for
    stderr. Raises DataError where the name is unknown or the file is unavailable: unreachable, too short, too long,
    with a wrong checksum, or too large for the disk.
    """
    if isinstance(source, str):
        if source not in SOURCES:
            raise DataError(unknown("download", source, SOURCES))
        source = SOURCES[source]
    return fetch_source(source, cache_dir, console, patience)


def enwik8(cache_dir: Path | None = None, console: Console | None = None) -> Path:
    """The file with the first 10^8 bytes of the English Wikipedia of 2006. ENWIK8_SPLIT says how it is split."""
    return unzip_file(fetch("enwik8", cache_dir, console), "enwik8", ENWIK8_BYTES, console)


def hg38(cache_dir: Path | None = None, console: Console | None = None) -> Path:
    """The human genome, as a gzipped FASTA file."""
    return fetch("hg38", cache_dir, console)


def speech_commands(cache_dir: Path | None = None, console: Console | None = None) -> Path:
    """The folder of Speech Commands v0.02 (Warden, arXiv:1804.03209), with a folder of WAV files for each word.

    The files have 16 kHz and 16 bits. `_background_noise_` is not a word; validation_list.txt and testing_list.txt name
    the held-out files.
    """
    return untar(fetch("speech_commands", cache_dir, console), "speech_commands_v0.02", console)


def cifar10(cache_dir: Path | None = None, console: Console | None = None) -> Cifar10:
    """CIFAR-10 as arrays: 60,000 images of 32 x 32 in ten classes."""
    return read_cifar10(fetch("cifar10", cache_dir, console), console)


DOWNLOADS: dict[str, Callable[[Path | None, Console | None], Path | Cifar10]] = {
    "enwik8": enwik8,
    "hg38": hg38,
    "speech_commands": speech_commands,
    "cifar10": cifar10,
}
