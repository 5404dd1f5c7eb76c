"""Data to train on: streams of tokens, sets of images and synthetic tasks, each with a train and a held-out part."""

from __future__ import annotations

import os
import stat
from functools import lru_cache, partial
from pathlib import Path

from lengthscale.bench.data import audio, genome, image_files, images, keyed, options, planted, public, streams
from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.images import Images
from lengthscale.bench.data.streams import Stream
from lengthscale.bench.data.synthetic import SYNTHETIC, Task, parse_task
from lengthscale.models import unknown

# Adding a data set: the function that loads it, and a line that describes it.
_LOADERS = {
    "text": (streams.text, "Shakespeare's plays, 1.1 M bytes"),
    "code": (streams.code, "the sources of this Python's standard library, about 11 M bytes"),
    "genome": (genome.genome, "Escherichia coli 536, 4.9 M bases"),
    "audio": (audio.audio, "music at 8 kHz, 2.0 M samples of mu-law"),
    "mnist": (images.mnist, "5,000 digits of MNIST, 28 x 28"),
    "images": (images.mnist, "another name for mnist"),
    "digits": (images.digits, "scikit-learn's 1,797 digits, 8 x 8"),
    "photos": (images.photos, "crops of scikit-learn's two photographs, 64 x 64 x 3"),
    planted.NAME: (planted.planted, "synthetic: a repeat at a known distance, such as planted:distance=32"),
    keyed.NAME: (keyed.keyed, "synthetic: a key to be kept for up to a known distance, such as keyed:distance=4096"),
    **{name: (partial(public.load, name), each.about) for name, each in public.PUBLIC.items()},
}
_PLANTED = {planted.NAME: planted.parse, keyed.NAME: keyed.parse}  # which have options of their own
DATA = {name: line for name, (_, line) in _LOADERS.items()}
FILES = (
    "FASTA (.fa .fasta .fna, also .gz), WAV, a CSV of pixels and labels (.csv, .csv.gz), a folder of images, "
    "or any other file as bytes"
)


@lru_cache(maxsize=4)
def load(name: str) -> Stream | Images | Task:
    """The data of this name or path.

    name: a key of DATA, also with options (options.py); a synthetic task (parse_task); or a path to one of the FILES. A
    name is preferred to a path: write ./text for a file called text. Raises DataError, which says what is wrong with
    which data, and where in them.
    """
    if name.partition(":")[0] in _PLANTED:
        return _PLANTED[name.partition(":")[0]](name)
    if name in _LOADERS:
        return _LOADERS[name][0]()
    base, colon, _ = name.partition(":")
    if colon and base in _LOADERS:
        return options.apply(_LOADERS[base][0](), name)
    if base in SYNTHETIC:
        return parse_task(name)
    path = os.path.expanduser(name)
    before = name.rpartition(":")[0]
    if before and not os.path.lexists(path) and os.path.exists(os.path.expanduser(before)):
        data = load(before)
        assert not isinstance(data, Task)
        return options.apply(data, name)
    try:
        found = os.stat(path)
    except (FileNotFoundError, ValueError):
        if os.path.islink(path):
            raise DataError(f"data {name!r} is a link to a file that does not exist") from None
        hint = unknown("data", name, [*DATA, *SYNTHETIC])
        raise DataError(f"{hint}; there is no file or folder of this name, either") from None
    except OSError as error:
        raise DataError(f"data {name!r} cannot be read: {error.strerror}") from error
    return image_files.from_folder(name, path) if stat.S_ISDIR(found.st_mode) else _from_file(name, path)


def _from_file(name: str, path: str) -> Stream | Images:
    """The data in a file, whose kind follows from its name's ending, or from its content for WAV and zipped FASTA."""
    streams.check_file(path)
    plain = Path(path.lower().removesuffix(".gz"))
    if plain.suffix in genome.SUFFIXES:
        return genome.load(name, path)
    if plain.suffix == ".csv":
        return images.from_csv(name, path)
    with streams.reading(path), Path(path).open("rb") as file:
        head = file.read(12)
    if Path(path).suffix.lower() in audio.SUFFIXES or (head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE"):
        return audio.load(name, path)
    if path.lower().endswith(".gz"):
        with streams.reading(path), streams.open_unzipped(path) as file:
            if file.read(1) == b">":
                return genome.load(name, path)
    return streams.from_bytes(name, path)
