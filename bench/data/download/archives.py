"""Safe unpacking of archives: nothing outside their folder, no links, no incomplete file under a final name."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from rich import progress
from rich.console import Console

from lengthscale.bench.data.download.transfer import locked
from lengthscale.bench.data.errors import DataError


def unzip_file(archive: Path, name: str, size: int, console: Console | None = None) -> Path:
    """The path of the file `name`, unpacked into the folder of the zip archive, which must hold this file only.

    size: of the file in bytes. Raises DataError (and leaves no file) where the archive is damaged or holds anything
    else.
    """

    def fill(new: Path) -> None:
        with zipfile.ZipFile(archive) as unzipped:
            sizes = {info.filename: info.file_size for info in unzipped.infolist()}
            if sizes != {name: size}:
                raise DataError(f"{archive} must hold one file, {name!r} of {size:,} bytes, but holds {sizes}")
            with unzipped.open(name) as packed, open(new, "wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)

    return make_once(archive.with_name(name), archive, fill, console or Console(stderr=True))


def untar(archive: Path, name: str, console: Console | None = None) -> Path:
    """The path of the new folder `name`, next to the archive, with all files of a gzipped tar archive.

    Raises DataError (and leaves no folder) where the archive is damaged, or holds anything but files and folders inside
    that folder.
    """
    console = console or Console(stderr=True)

    def fill(new: Path) -> None:
        new.mkdir()
        with reading_tar(archive, console) as tar:
            for member in tar:
                _check_member(archive, member)
                _extract(tar, member, new / member.name)

    return make_once(archive.with_name(name), archive, fill, console)


@contextmanager
def reading_tar(archive: Path, console: Console) -> Iterator[tarfile.TarFile]:
    """A gzipped tar archive that is opened to be read once from its start to its end. Raises DataError if damaged."""
    with (
        _damage(archive),
        progress.open(archive, "rb", description=f"reading {archive.name}", console=console) as packed,
        gzip.open(packed) as unpacked,
        tarfile.open(fileobj=unpacked, mode="r|") as tar,
    ):
        yield tar
        while unpacked.read(1 << 20):  # gzip compares its checksum only at the end
            pass


@contextmanager
def _damage(archive: Path) -> Iterator[None]:
    """Turn the errors of reading a broken archive into a DataError that names it."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"{archive} is damaged: {error}") from error
    except OSError as error:
        raise DataError(f"{archive} cannot be unpacked: {error.strerror or error}") from error


def make_once(final: Path, archive: Path, fill: Callable[[Path], None], console: Console) -> Path:
    """Make the file or folder `final` if it does not exist. Returns its path.

    fill: writes to the temporary path that it is given, which is renamed when it is complete. After a failure nothing
    is left. archive: the source, for messages. Raises DataError where the source is damaged.
    """
    if final.exists():
        return final
    with locked(final, console):
        if not final.exists():  # else the process that held the lock has made it
            new = final.with_name(final.name + ".new")
            _remove(new)  # a process that was killed may have left it
            try:
                with _damage(archive):
                    fill(new)
                    new.replace(final)
            finally:
                _remove(new)
    return final


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """Write a member's content, without owner, times and permissions. (Python before 3.11.4 has no tarfile filters.)"""
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = tar.extractfile(member)
    assert packed is not None  # it is a file
    with packed, open(path, "wb") as file:
        shutil.copyfileobj(packed, file, 1 << 20)


def _check_member(archive: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        raise DataError(f"{archive} holds {member.name!r}, which lies outside its folder: refused")
    if not (member.isfile() or member.isdir()):
        raise DataError(f"{archive} holds {member.name!r}, which is neither a file nor a folder: refused")
