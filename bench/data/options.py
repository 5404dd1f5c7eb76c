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
    mistakes = []
    for key, value, wrong in parse_options(base, listed, known):
        if wrong:
            mistakes.append(wrong)
            continue
        try:
            data = known[key](data, value)
        except DataError as error:
            mistakes.append(f"{base}: {error}")
    if mistakes:
        raise DataError("\n".join(mistakes))
    return replace(data, name=name)


def _images(data: Images, text: str) -> Images:
    """The data with N of the images to train on, for images=N; the held-out images are the same for every N."""
    n, most = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0, len(data.train)
    if not 1 <= n <= most:
        raise DataError(f"images must be a whole number from 1 to {most}, the images to train on, got {text!r}")
    return images.fewer(data, n)


def _part(data: Stream, text: str) -> Stream:
    """The data with another part held out, for part=validation: the last ninth of what is trained on otherwise."""
    if text != "validation":
        raise DataError(f"part must be validation, got {text!r}")
    start = len(data.train) - len(data.train) // 9
    return replace(data, tokens=data.train, split=(start, start))


OPTIONS: dict[type, dict[str, Callable]] = {Images: {"images": _images}, Stream: {"part": _part}}
