"""A folder of images as a data set.

With FOLDER/CLASS/*.png every folder is a class; with FOLDER/*.png there is one class, which is enough to measure cost.
Every image is cut to its central square and resized to one side for all: the median of their shorter edges, at most
1,024, and less where all images would not fit into MAX_BYTES. The images are grey if all files are, else RGB. Of an
animation the first frame is read; transparency is dropped, and EXIF's rotation applied. Other and hidden files are left
out.
"""

from __future__ import annotations

import os
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import isqrt
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lengthscale.bench.data import images, streams
from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.images import Images

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
MAX_SIDE = 1024
_GREY = ("1", "L", "LA", "I;16", "I;16B", "I;16L")


def from_folder(name: str, path: str) -> Images:
    """The images in a folder. Raises DataError where it holds none, or one that cannot be read."""
    files, labels, classes = _list(path)
    sizes, grey = [], True
    for file in files:
        with _opened(file) as image:
            sizes.append(min(image.size))
            grey = grey and image.mode in _GREY
    channels = 1 if grey else 3
    side = min(sorted(sizes)[len(sizes) // 2], MAX_SIDE, isqrt(images.MAX_BYTES // (len(files) * channels)))
    if side == 0:
        raise DataError(f"folder {path!r}: its {len(files):,} images are too many to hold in memory")
    pixels = np.empty((len(files), side, side, channels), np.uint8)
    for file, out in zip(files, pixels, strict=True):
        out[:] = images.at_side(_square(file, channels)[None], side)[0]
    note = f"{len(files):,} images cut to their central square, at {side} x {side}"
    return images.split(name, pixels, np.array(labels), classes, note)


def _list(path: str) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """(all image files in order, the class of each, the classes' names)."""
    flat, folders = _entries(streams.expand(path), path)
    by_class = {each.name: _entries(each, str(each))[0] for each in folders}
    wanted = f"expected {path}/CLASS/*.png, or images alone; {', '.join(SUFFIXES)} are read"
    if not flat and not any(by_class.values()):
        raise DataError(f"folder {path!r} holds no images ({wanted})")
    if not any(by_class.values()):
        return flat, [0] * len(flat), ("all",)
    if flat:
        raise DataError(f"folder {path!r} holds both images ({flat[0].name!r}) and folders of classes ({wanted})")
    if empty := [each for each, files in by_class.items() if not files]:
        raise DataError(f"folder {path!r}: its class {empty[0]!r} holds no images ({wanted})")
    labels = [label for label, files in enumerate(by_class.values()) for _ in files]
    return [file for files in by_class.values() for file in files], labels, tuple(by_class)


def _entries(place: Path, path: str) -> tuple[list[Path], list[Path]]:
    """(image files, folders) in a folder, in order of their names."""
    with streams.reading(path):
        entries = sorted(place / each for each in os.listdir(place) if not each.startswith("."))
        folders = [each for each in entries if each.is_dir()]
    return [each for each in entries if each.suffix.lower() in SUFFIXES and each not in folders], folders


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    if not file.is_file():
        raise DataError(f"image {str(file)!r} cannot be read: it is a pipe, a device, or a broken link")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, which do not matter here
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                yield image
    # Pillow's decoders raise any of these on broken files.
    except (OSError, ValueError, SyntaxError, EOFError, struct.error) as error:
        raise DataError(f"image {str(file)!r} cannot be read: {error}") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"image {str(file)!r} is too large: {error}") from error


def _square(file: Path, channels: int) -> np.ndarray:
    """The central square of an image, (Y, Y, channels) uint8."""
    with _opened(file) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):  # Pillow's own conversion would clip the values
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode in ("I", "F"):
            raise ValueError(f"its pixels are of mode {image.mode!r}; expected 8 or 16 bits a channel")
        # First to RGBA, since a palette may have transparent colours.
        converted = image.convert("L") if channels == 1 else image.convert("RGBA").convert("RGB")
        pixels = np.asarray(converted).reshape(*converted.size[::-1], channels)
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]
