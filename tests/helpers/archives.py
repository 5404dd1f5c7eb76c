"""Archives made for the tests: tar, zip, and CIFAR-10's pickles as Python 2 wrote them."""

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from lengthscale.bench.data.download.cifar10 import TEST, TRAIN


def make_tar(path: Path, *members: tarfile.TarInfo | tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def make_zip(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def string(content: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(content)) + content


def batch_pickle(pixels: np.ndarray, labels: list[int], code: bytes = b"u1") -> bytes:
    """As Python 2 wrote them, in protocol 2: strings are bytes, and numpy's functions have their old names."""
    rows, columns = (b"M" + struct.pack("<H", n) for n in pixels.shape)
    return b"".join([
        b"\x80\x02}(", string(b"batch_label"), string(b"testing batch 1 of 1"), string(b"labels"),
        b"](", *(b"K" + bytes([label]) for label in labels), b"e", string(b"data"),
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85", string(b"b"), b"\x87R",
        b"(K\x01", rows, columns, b"\x86cnumpy\ndtype\n", string(code), b"K\x00K\x01\x87R(K\x03", string(b"|"),
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89", string(pixels.tobytes()), b"tbu.",
    ])  # fmt: skip


def random_batch(seed: int, images: int = 3) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(256, size=(images, 3072), dtype=np.uint8), rng.integers(10, size=images).tolist()


def cifar_members() -> list[tuple[str, bytes]]:
    batches = [(name, batch_pickle(*random_batch(seed))) for seed, name in enumerate((*TRAIN, TEST))]
    return [(f"cifar-10-batches-py/{name}", content) for name, content in batches]
