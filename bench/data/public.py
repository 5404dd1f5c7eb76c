"""The public data sets: `fetch` downloads one into the cache, `load` reads it there.

A set is prepared once, when it is fetched: as a file with a byte for each token, or as arrays, which each child only
maps into memory. A stream is split as in its literature, whose validation part is not used here.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich import progress
from rich.console import Console

from lengthscale.bench.data import audio, download, genome, images, streams
from lengthscale.bench.data.download.archives import make_once
from lengthscale.bench.data.download.cifar10 import CLASSES
from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.images import Images
from lengthscale.bench.data.streams import Stream
from lengthscale.models import unknown

CHROMOSOME = "chr20"
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class PublicSet:
    """A public data set: how it is described, prepared and loaded."""

    about: str
    prepared: str  # the name of the prepared file or folder in the cache
    prepare: Callable[[Path, Console], Any]  # makes it
    load: Callable[[Path], Stream | Images]  # reads it


def fetch(name: str, console: Console | None = None) -> None:
    """Download, verify and prepare a data set, if it is not in the cache yet. name: a key of PUBLIC.

    Raises DataError where it is unknown or cannot be fetched.
    """
    if name not in PUBLIC:
        raise DataError(unknown("download", name, PUBLIC))
    public = PUBLIC[name]
    final = download.default_cache() / public.prepared
    if not final.exists():
        public.prepare(final, console or Console(stderr=True))


def load(name: str) -> Stream | Images:
    """A data set from the cache. name: a key of PUBLIC. Raises DataError that says how to fetch it if it is missing."""
    public = PUBLIC[name]
    final = download.default_cache() / public.prepared
    if not final.exists():
        size = download.SOURCES[name].size / 1e6
        raise DataError(f"data {name!r} is not in {final.parent}: --download {name} fetches it ({size:,.0f} MB)")
    with streams.reading(name):
        return public.load(final)


def _prepare_enwik8(final: Path, console: Console) -> None:
    download.enwik8(final.parent, console)


def _load_enwik8(path: Path) -> Stream:
    note = "trained on its first 90 MB, evaluated on its last 5 MB; the 5 MB between them are for validation"
    return replace(streams.from_bytes("enwik8", str(path)), note=note, split=download.ENWIK8_SPLIT)


def _prepare_hg38(final: Path, console: Console) -> None:
    """Write the bases of one chromosome, with one line in memory at a time."""
    archive = download.hg38(final.parent, console)

    def fill(new: Path) -> None:
        with (
            progress.open(archive, "rb", description=f"looking for {CHROMOSOME}", console=console) as packed,
            gzip.open(packed) as unpacked,
            open(new, "wb") as file,
        ):
            # GzipFile finds lines in Python code; a BufferedReader finds these 60 million lines in C
            file.writelines(genome.record_bases(io.BufferedReader(cast(Any, unpacked), 1 << 20), CHROMOSOME))

    make_once(final, archive, fill, console)


def _load_hg38(path: Path) -> Stream:
    stream = streams.from_bytes("hg38", str(path))
    note = f"{CHROMOSOME} alone, {len(stream.tokens):,} bases of the genome's 3.1 billion"
    return replace(stream, vocab=len(genome.ALPHABET), note=note)


def _prepare_speech_commands(final: Path, console: Console) -> None:
    """Write a folder with `samples`, and `split`: the number of samples to train on. Only one clip is in memory."""
    folder = download.speech_commands(final.parent, console)

    def fill(new: Path) -> None:
        train, test = _clips(folder)
        new.mkdir()
        with open(new / "samples", "wb") as file:
            for part in (train, test):
                for clip in progress.track(part, "encoding words", console=console):
                    file.write(audio.load(str(clip), str(clip)).tokens.tobytes())
                if part is train:
                    (new / "split").write_text(str(file.tell()))

    make_once(final, folder, fill, console)


def _clips(folder: Path) -> tuple[list[Path], list[Path]]:
    """(clips to train on, clips to test on), sorted so that the clips of a speaker follow each other.

    Files are named after their speaker, who is in one of the two parts only.
    """
    testing, validation = (set((folder / f"{part}_list.txt").read_text().split()) for part in ("testing", "validation"))
    clips = sorted((path for word in DIGITS for path in (folder / word).glob("*.wav")), key=lambda path: path.name)
    named = {f"{path.parent.name}/{path.name}": path for path in clips}
    train = [path for name, path in named.items() if name not in testing and name not in validation]
    test = [path for name, path in named.items() if name in testing]
    if not (train and test):
        raise DataError(f"{folder} holds {len(train)} clips of digits to train on and {len(test)} to test on")
    return train, test


def _load_speech_commands(folder: Path) -> Stream:
    stream = streams.from_bytes("speech_commands", str(folder / "samples"))
    split = int((folder / "split").read_text())
    note = "its ten digits, clip after clip, 16 kHz as mu-law; evaluated on the clips of testing_list.txt"
    return replace(stream, note=note, split=(split, split))


def _prepare_cifar10(final: Path, console: Console) -> None:
    data = download.cifar10(final.parent, console)

    def fill(new: Path) -> None:
        with open(new, "wb") as file:  # a file and not a path, to which numpy would add .npz
            np.savez(file, **vars(data))

    make_once(final, final, fill, console)


def _load_cifar10(path: Path) -> Images:
    with np.load(path) as data:
        parts = [data[name] for name in ("train_images", "train_labels", "test_images", "test_labels")]
    return images.from_parts("cifar10", *parts, classes=CLASSES)


PUBLIC = {
    "enwik8": PublicSet(
        "the first 100 MB of the English Wikipedia of 2006, as bytes", "enwik8", _prepare_enwik8, _load_enwik8
    ),
    "hg38": PublicSet(f"the human genome's {CHROMOSOME}, 64 M bases", f"hg38.{CHROMOSOME}", _prepare_hg38, _load_hg38),
    "speech_commands": PublicSet(
        "spoken digits, about half a billion samples of mu-law at 16 kHz",
        "speech_commands.digits",
        _prepare_speech_commands,
        _load_speech_commands,
    ),
    "cifar10": PublicSet("60,000 images in ten classes, 32 x 32 x 3", "cifar10.npz", _prepare_cifar10, _load_cifar10),
}
