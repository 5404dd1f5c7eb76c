"""Files that are replaced whole, or set aside under another name: no file is ever half written or lost."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def set_aside(path: Path) -> Path:
    """Rename a file or folder to NAME.aside1, or the first higher number that is free. Returns its new path."""
    number = next(n for n in range(1, 10**6) if not path.with_name(f"{path.name}.aside{n}").exists())
    return path.rename(path.with_name(f"{path.name}.aside{number}"))


def replace_file(path: Path, text: str) -> None:
    """Write a temporary file, then rename it: readers see the old file or the new one, never a half-written one.

    Raises OSError where the file cannot be written; the old one then stays.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        with open(temporary, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error
