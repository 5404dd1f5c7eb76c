"""Options of named data, written like a task's parameters: `mnist:images=500`.

Adding an option: a function (data, the text after its =) -> data, and a line in OPTIONS.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from lengthscale.bench.data import images
from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.images import Images
from lengthscale.bench.data.streams import Stream
from lengthscale.models.names import parse_options

Data = Stream | Images


def apply(data: Data, name: str) -> Data:
    """The data with the options that are listed in `name`, such as "mnist:images=500", which becomes its name.

    Raises DataError with a line for everything that is wrong, and the closest known option.
    """
    base, _, listed = name.rpartition(":")
    known = OPTIONS[type(data)]
    options = list(parse_options(base, listed, known))
    mistakes = [wrong for _, _, wrong in options if wrong]
    values = {key: value for key, value, wrong in options if not wrong}
    for key in (key for key in known if key in values):  # in the order of the table, not in that of the text
        value = values[key]
        try:
            data = known[key](data, value)
        except DataError as error:
            mistakes.append(f"{base}: {error}")
    if mistakes:
        raise DataError("\n".join(mistakes))
    return replace(data, name=name)


def distance_of(text: str, default: int, limits: tuple[int, int]) -> int:
    """The distance of a text like "planted" or "planted:distance=32", or the default. Raises DataError for others."""
    name, colon, listed = text.partition(":")
    match = re.fullmatch(r"\s*distance\s*=\s*(\d{1,9})\s*", listed, re.ASCII) if colon else None
    if colon and match is None:
        raise DataError(f"data {text!r}: {name} has one option, written as {name}:distance={default}")
    distance, (least, most) = int(match[1]) if match else default, limits
    if not least <= distance <= most:
        raise DataError(f"data {text!r}: distance must be from {least} to {most}, got {distance}")
    return distance


def _images(data: Images, text: str) -> Images:
    """The data with N of the images to train on, for images=N; the held-out images are the same for every N.

    Which N is drawn by a training's seed (bench/device/workloads); here it is the draw of seed 0.
    """
    n, most = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0, len(data.train)
    if not 1 <= n <= most:
        raise DataError(f"images must be a whole number from 1 to {most}, the images to train on, got {text!r}")
    return images.fewer(data, n)


def _part(data: Stream, text: str) -> Stream:
    """The data with another part held out, for part=validation: the last ninth of what is trained on otherwise."""
    _check_part(text)
    start = len(data.train) - len(data.train) // 9
    return replace(data, tokens=data.train, split=(start, start))


def _part_of_images(data: Images, text: str) -> Images:
    """The same of images: an eighth of them, with the classes in their proportions."""
    _check_part(text)
    return images.validation(data)


def _check_part(text: str) -> None:
    if text != "validation":
        raise DataError(f"part must be validation, got {text!r}")


OPTIONS: dict[type, dict[str, Callable]] = {
    Images: {"part": _part_of_images, "images": _images},
    Stream: {"part": _part},
}
