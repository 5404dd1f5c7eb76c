"""Archives unpacked with suspicion: nothing outside their folder, no links, nothing half under a final name."""

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
    """The file `name` of `size` bytes, unpacked beside the zip archive that holds it and nothing else.

    Raises DataError (and leaves no file) where the archive is damaged or holds anything else.
    """

    def fill(new: Path) -> None:
        with zipfile.ZipFile(archive) as unzipped:
            sizes = {info.filename: info.file_size for info in unzipped.infolist()}
            if sizes != {name: size}:
                raise DataError(f"{archive} must hold one file, {name!r} of {size:,} bytes, and holds {sizes}")
            with unzipped.open(name) as packed, open(new, "wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)

    return make_once(archive.with_name(name), archive, fill, console or Console(stderr=True))


def untar(archive: Path, name: str, console: Console | None = None) -> Path:
    """All files of a gzipped tar archive, in the new folder `name` beside it.

    Raises DataError (and leaves no folder) where the archive is damaged or holds anything but files and folders inside.
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
    """A gzipped tar archive, to be read once from its start to its end."""
    with (
        _damage(archive),
        progress.open(archive, "rb", description=f"reading {archive.name}", console=console) as packed,
        gzip.open(packed) as unpacked,
        tarfile.open(fileobj=unpacked, mode="r|") as tar,
    ):
        yield tar
        while unpacked.read(1 << 20):  # only at its end does gzip compare its checksum
            pass


@contextmanager
def _damage(archive: Path) -> Iterator[None]:
    """What reading a broken archive raises becomes a DataError that names it."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as error:
        raise DataError(f"{archive} is damaged: {error}") from error
    except OSError as error:
        raise DataError(f"{archive} cannot be unpacked: {error.strerror or error}") from error


def make_once(final: Path, archive: Path, fill: Callable[[Path], None], console: Console) -> Path:
    """`fill` makes what `final` becomes when it is whole; what is left of an attempt that failed goes.

    archive: what it is made from, which errors name.
    """
    if final.exists():
        return final
    with locked(final, console):
        if not final.exists():  # else the process that held the lock has made it
            new = final.with_name(final.name + ".new")
            _remove(new)  # of a process that was killed
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
    """The content alone: no owner, no times, no permissions. (tarfile's own filters are missing before 3.11.4.)"""
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
