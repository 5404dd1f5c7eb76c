"""CIFAR-10 from its Python archive, without running the code of a pickle.

Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images", chapter 3. A batch is a pickled dictionary
with `data` (N, 3072) uint8, whose rows are a red, a green and a blue plane of 32 x 32, and `labels`, N numbers from
0 to 9.

A pickle is a program that may call everything it can name. Here it can name only the three objects of which an array of
bytes is made, and gets replacements for them that do nothing else (numpy's own are not called). Every other name is
refused.
"""

from __future__ import annotations

import io
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8
from rich.console import Console

from lengthscale.bench.data.download.archives import reading_tar
from lengthscale.bench.data.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER = "cifar-10-batches-py"
TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
TEST = "test_batch"
LARGEST = 1 << 26  # bytes of a batch; the real ones have 31 M


@dataclass(frozen=True, eq=False)
class Cifar10:
    """50,000 images to train on and 10,000 to test on; labels are places in CLASSES."""

    train_images: UInt8[np.ndarray, "N 32 32 3"]
    train_labels: Int32[np.ndarray, " N"]
    test_images: UInt8[np.ndarray, "M 32 32 3"]
    test_labels: Int32[np.ndarray, " M"]


def read_cifar10(archive: Path, console: Console | None = None) -> Cifar10:
    """The images of cifar-10-python.tar.gz. Nothing is written.

    Raises DataError where the archive is damaged or a batch is missing or wrong.
    """
    wanted = {f"{FOLDER}/{name}": name for name in (*TRAIN, TEST)}
    found = {}
    with reading_tar(archive, console or Console(stderr=True)) as tar:
        for member in tar:
            if member.name in wanted and member.isfile() and member.size <= LARGEST:
                file = tar.extractfile(member)
                assert file is not None  # it is a file
                found[wanted[member.name]] = parse_batch(file.read(), f"{archive}: {member.name}")
    missing = [name for name in wanted.values() if name not in found]
    if missing:
        raise DataError(f"{archive} holds no {', '.join(missing)}")
    images, labels = zip(*(found[name] for name in TRAIN), strict=True)
    return Cifar10(np.concatenate(images), np.concatenate(labels), *found[TEST])


def parse_batch(content: bytes, where: str) -> tuple[UInt8[np.ndarray, "N 32 32 3"], Int32[np.ndarray, " N"]]:
    """(images, labels) of one pickled batch. where: for messages. Raises DataError for any other content."""
    try:
        batch = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise DataError(f"{where} is not a batch of CIFAR-10: {type(error).__name__}: {error}") from error
    data, labels = (batch.get(b"data"), batch.get(b"labels")) if isinstance(batch, dict) else (None, None)
    pixels = getattr(data, "pixels", None) if isinstance(data, _Array) else None
    if pixels is None or pixels.ndim != 2 or pixels.shape[1] != 3 * 32 * 32:
        raise DataError(f"{where} is not a batch of CIFAR-10: its data are not rows of 3,072 bytes")
    if not isinstance(labels, list) or len(labels) != len(pixels):
        raise DataError(
            f"{where} is not a batch of CIFAR-10: it does not have one label for each of {len(pixels)} images"
        )
    if not all(type(label) is int and 0 <= label < len(CLASSES) for label in labels):
        raise DataError(f"{where} is not a batch of CIFAR-10: its labels are not numbers from 0 to 9")
    images = pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.array(labels, np.int32)


class _Dtype:
    """Replaces numpy.dtype, of which only the dtype of bytes is allowed."""

    __slots__ = ()

    def __init__(self, code: Any, *_: Any):
        if code not in (b"u1", "u1"):
            raise pickle.UnpicklingError(f"an array of {code!r}, not of bytes")

    def __setstate__(self, state: Any) -> None:
        """Ignore the byte order and the like, which bytes do not have."""


class _Array:
    """Replaces numpy.ndarray, and the function that makes an empty array before its state is set."""

    __slots__ = ("pixels",)

    def __init__(self, *_: Any):
        """Ignore the arguments of ndarray, which do not matter before its state is set."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if type(dtype) is not _Dtype or type(data) is not bytes or fortran or math.prod(shape) != len(data):
            raise pickle.UnpicklingError("an array that is not of bytes, row by row")
        self.pixels = np.frombuffer(data, np.uint8).reshape(shape)


_KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which images do not need: refused")
        return _KNOWN[module, name]
