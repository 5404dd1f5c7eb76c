"""Images with labels: MNIST, digits, photographs, a CSV of pixels. Folders of images: image_files.py."""

from __future__ import annotations

import io
from array import array
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any

import numpy as np
from PIL import Image

from lengthscale.bench.data import streams
from lengthscale.bench.data.errors import DataError

HELD_OUT = 0.2  # the last fifth of every class, by position
MAX_BYTES = 1 << 30  # of pixels and labels in memory
_PHOTO_SIDE = 64
_ROW = 1 << 24  # characters; a row of 1,024 x 1,024 pixels has 4 million
_CLASS = 100  # bytes of a class in addition to its name


@dataclass(frozen=True, eq=False)
class Images:
    """Square images, their labels, and the names of the classes.

    Both parts are ordered so that for any n the first n images have the classes in their proportions. Both are
    read-only. `version` and `note` are as in a Stream; of images that were drawn, `version` is that of the first draw.
    """

    name: str
    train: np.ndarray  # (N, Y, X, C) uint8, C 1 or 3
    train_labels: np.ndarray  # (N,) int32
    held_out: np.ndarray
    held_out_labels: np.ndarray
    classes: tuple[str, ...]
    version: str
    note: str = ""
    whole: Images | None = None  # those that the images to train on were drawn from, by `fewer`

    def __post_init__(self) -> None:
        for part in (self.train, self.train_labels, self.held_out, self.held_out_labels):
            part.flags.writeable = False


def at_side(pixels: np.ndarray, side: int) -> np.ndarray:
    """Images (N, Y, X, C) uint8, resized to (N, side, side, C): by the mean over areas if smaller, bilinear if larger.

    Resize batches and not whole sets: 5,000 images of 1,024 x 1,024 pixels take 5 GB. Raises DataError for a side
    below 1.
    """
    if side < 1:
        raise DataError(f"an image's side must be positive, got {side}")
    n, height, width, channels = pixels.shape
    if (height, width) == (side, side):
        return pixels
    resample = Image.Resampling.BOX if side < min(height, width) else Image.Resampling.BILINEAR
    resized = np.empty((n, side, side, channels), np.uint8)
    for image, out in zip(pixels, resized, strict=True):
        for channel in range(channels):  # one at a time, since Pillow has modes for few numbers of channels
            plane = Image.fromarray(np.ascontiguousarray(image[..., channel]))
            out[..., channel] = np.asarray(plane.resize((side, side), resample))
    return resized


def split(name: str, pixels: np.ndarray, labels: np.ndarray, classes: tuple[str, ...], note: str = "") -> Images:
    """The images, split: the last fifth of every class is held out; of 2 to 4 images one is, of one image none.

    pixels: (N, Y, X, C) uint8. labels: (N,), places in classes.
    """
    labels = labels.astype(np.int32)
    train, held_out = [], []
    for of_class in _by_class(labels, classes):
        cut = len(of_class) - (max(1, int(len(of_class) * HELD_OUT)) if len(of_class) > 1 else 0)
        train.append(of_class[:cut])
        held_out.append(of_class[cut:])
    version = streams.version(np.array(pixels.shape), pixels, labels)
    first, last = _mix(train), _mix(held_out)
    return Images(name, pixels[first], labels[first], pixels[last], labels[last], classes, version, note)


def from_parts(
    name: str,
    train: np.ndarray,
    train_labels: np.ndarray,
    held_out: np.ndarray,
    held_out_labels: np.ndarray,
    classes: tuple[str, ...],
) -> Images:
    """The images of a set that is split already. Shapes as in Images."""
    version = streams.version(train, train_labels, held_out, held_out_labels)
    first, last = (_mix(_by_class(labels, classes)) for labels in (train_labels, held_out_labels))
    return Images(name, train[first], train_labels[first], held_out[last], held_out_labels[last], classes, version)


def fewer(data: Images, n: int, seed: int = 0) -> Images:
    """The data with n of its images to train on, 1 <= n <= all of them; the held-out images stay the same.

    The n images have the classes in their proportions. Within a class they are drawn by a shuffle of the seed, since a
    file may be sorted by its digits' writers. The images of a smaller n are the first ones of a larger n.
    """
    assert 1 <= n <= len(data.train), n
    rng = np.random.default_rng(seed)
    chosen = _mix([rng.permutation(of_class) for of_class in _by_class(data.train_labels, data.classes)])[:n]
    train, labels = data.train[chosen], data.train_labels[chosen]
    version = streams.version(train, labels, data.held_out, data.held_out_labels)
    return replace(data, train=train, train_labels=labels, version=version, whole=data)


def drawn(data: Images, seed: int) -> Images:
    """The same number of images to train on, drawn by this seed; as they are where all images are in use."""
    if data.whole is None:
        return data
    return replace(fewer(data.whole, len(data.train), seed), name=data.name, version=data.version)


def validation(data: Images) -> Images:
    """The data with an eighth of the images to train on held out, in place of the images that are."""
    n = len(data.train) - len(data.train) // 8
    mixed = fewer(data, len(data.train))
    parts = (mixed.train[:n], mixed.train_labels[:n], mixed.train[n:], mixed.train_labels[n:])
    names = ("train", "train_labels", "held_out", "held_out_labels")
    return replace(data, version=streams.version(*parts), **dict(zip(names, parts, strict=True)))


def _by_class(labels: np.ndarray, classes: tuple[str, ...]) -> list[np.ndarray]:
    return [np.flatnonzero(labels == label) for label in range(len(classes))]


def _mix(by_class: list[np.ndarray]) -> np.ndarray:
    """All images in one order, sorted by their relative rank in their class, which keeps the classes' proportions."""
    ranks = [(np.arange(len(of_class)) + 0.5) / len(of_class) for of_class in by_class]
    return np.concatenate(by_class)[np.argsort(np.concatenate(ranks), kind="stable")]


def mnist() -> Images:
    """MNIST's digits, 500 of each class, 28 x 28: 4,000 to train on and 1,000 held out."""
    return from_csv("mnist", str(streams.EMBEDDED / "mnist_5k.csv.gz"))


def digits() -> Images:
    """scikit-learn's 1,797 digits, 8 x 8; their 17 levels are stretched to 0 ... 255."""
    data = _scikit_learn().load_digits()
    pixels = np.rint(data.images * (255 / 16)).astype(np.uint8)[..., None]
    return split("digits", pixels, data.target, tuple(map(str, data.target_names)))


def photos() -> Images:
    """scikit-learn's two photographs as two classes: crops of 64 x 64 that do not overlap, column by column.

    So the right-hand fifth of each photograph is held out.
    """
    data = _scikit_learn().load_sample_images()
    s = _PHOTO_SIDE
    crops = [
        [
            photo[y : y + s, x : x + s]
            for x in range(0, photo.shape[1] - s + 1, s)
            for y in range(0, photo.shape[0] - s + 1, s)
        ]
        for photo in data.images
    ]
    labels = np.repeat(np.arange(len(crops)), [len(of_photo) for of_photo in crops])
    return split("photos", np.concatenate(crops), labels, ("china", "flower"))


def _scikit_learn() -> Any:
    try:
        from sklearn import datasets  # takes seconds
    except ImportError as error:
        raise DataError(f"this data comes with scikit-learn, which is not installed ({error})") from error
    return datasets


def from_csv(name: str, path: str) -> Images:
    """The images of a CSV, plain or gzipped, without a header.

    A row is an image: the pixels of a square, row by row, 0 ... 255, then the label. Labels are any text; they are
    ordered as numbers if all of them are whole numbers. Raises DataError with the row.
    """
    streams.check_file(path)
    pixels, labels, expected = bytearray(), array("i"), 0
    index: dict[str, int] = {}
    n_bytes = 0
    with (
        streams.reading(path),
        streams.open_unzipped(path) as file,
        io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace") as lines,
    ):
        for row, line in enumerate(iter(lambda: lines.readline(_ROW), ""), 1):
            if not line.strip():
                continue
            if len(line) == _ROW:
                raise DataError(
                    f"CSV {path!r}, row {row}: it has {_ROW:,} characters or more; is this a CSV of pixels?"
                )
            *cells, label = map(str.strip, line.split(","))
            expected = expected or _check_columns(path, row, len(cells) + 1)
            if len(cells) + 1 != expected:
                raise DataError(
                    f"CSV {path!r}, row {row}: {len(cells) + 1} columns, expected {expected} as in the rows before"
                )
            if not label:
                raise DataError(f"CSV {path!r}, row {row}: no label in its last column")
            try:
                pixels += bytes(map(int, cells))
            except ValueError:
                raise _wrong_pixel(path, row, cells) from None
            n_bytes += len(cells) + labels.itemsize + (0 if label in index else len(label) + _CLASS)
            labels.append(index.setdefault(label, len(index)))
            if n_bytes > MAX_BYTES:
                raise DataError(
                    f"CSV {path!r}, row {row}: over {MAX_BYTES:,} bytes of pixels and labels, which is the limit"
                )
    if not labels:
        raise DataError(f"CSV {path!r} holds no rows")
    side = isqrt(expected - 1)
    classes = sorted(index, key=int if all(label.isdecimal() for label in index) else None)
    places = np.empty(len(classes), np.int32)
    places[[index[label] for label in classes]] = np.arange(len(classes))
    images = np.frombuffer(pixels, np.uint8).reshape(len(labels), side, side, 1)
    return split(name, images, places[labels], tuple(classes))


def _check_columns(path: str, row: int, columns: int) -> int:
    if columns < 2 or isqrt(columns - 1) ** 2 != columns - 1:
        raise DataError(
            f"CSV {path!r}, row {row}: {columns} columns; expected the pixels of a square and then a label, "
            f"such as 28 x 28 + 1 = 785"
        )
    return columns


def _wrong_pixel(path: str, row: int, cells: list[str]) -> DataError:
    for column, cell in enumerate(cells, 1):
        try:
            good = 0 <= int(cell) <= 255
        except ValueError:
            good = False
        if not good:
            return DataError(
                f"CSV {path!r}, row {row}, column {column}: {cell.strip()[:20]!r} is not a pixel "
                f"(expected an integer from 0 to 255, and no header row)"
            )
    raise AssertionError("no wrong pixel in this row")
