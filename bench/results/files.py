"""Files that are replaced whole, or kept aside: nothing of a user's is ever half written or lost."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def keep_aside(path: Path) -> Path:
    """Rename a file or folder to a name that nothing has yet, beside it."""
    number = next(n for n in range(1, 10**6) if not path.with_name(f"{path.name}.aside{n}").exists())
    return path.rename(path.with_name(f"{path.name}.aside{number}"))


def replace_file(path: Path, text: str) -> None:
    """Write beside, then rename: readers see the old file or the new one, never half of one."""
    beside = path.with_name(f".{path.name}.new")
    try:
        with open(beside, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error
