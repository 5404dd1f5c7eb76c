"""CIFAR-10: what a batch becomes, and pickles that attack."""

import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from lengthscale.bench.data.download.cifar10 import TRAIN, parse_batch, read_cifar10
from lengthscale.bench.data.errors import DataError
from tests.helpers.archives import batch_pickle, cifar_members, make_tar, random_batch, special, string
from tests.helpers.serving import left


def test_the_sample_is_what_numpy_reads():
    pixels, labels = random_batch(0)
    batch = pickle.loads(batch_pickle(pixels, labels), encoding="bytes")
    np.testing.assert_array_equal(batch[b"data"], pixels)
    assert batch[b"labels"] == labels


def test_a_batch_of_cifar10():
    pixels, labels = random_batch(0, 300)
    images, found = parse_batch(batch_pickle(pixels, labels), "here")
    assert (images.shape, images.dtype, found.dtype) == ((300, 32, 32, 3), np.uint8, np.int32)
    assert images[7, 5, 9, 1] == pixels[7, 1024 + 5 * 32 + 9]  # green, row 5, column 9
    np.testing.assert_array_equal(images.transpose(0, 3, 1, 2).reshape(300, 3072), pixels)
    np.testing.assert_array_equal(found, labels)


def test_an_archive_of_cifar10(tmp_path, console):
    members = [("cifar-10-batches-py/batches.meta", b"cos\nsystem\n(S'false'\ntR."), *cifar_members()]
    data = read_cifar10(make_tar(tmp_path / "c.tar.gz", *reversed(members)), console)
    assert data.train_images.shape == (15, 32, 32, 3)
    assert data.test_images.shape == (3, 32, 32, 3)
    np.testing.assert_array_equal(data.train_labels, np.concatenate([random_batch(seed)[1] for seed in range(5)]))
    np.testing.assert_array_equal(data.test_labels, random_batch(5)[1])
    np.testing.assert_array_equal(data.train_images[14, :, :, 2].ravel(), random_batch(4)[0][2, 2048:])
    assert set(left(tmp_path)) == {"c.tar.gz"}


def test_an_archive_without_a_batch(tmp_path, console):
    members = cifar_members()[1:]
    archive = make_tar(
        tmp_path / "c.tar.gz", special(f"cifar-10-batches-py/{TRAIN[0]}", tarfile.SYMTYPE, "x"), *members
    )
    with pytest.raises(DataError, match=r"c\.tar\.gz holds no data_batch_1"):
        read_cifar10(archive, console)


class Attack:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def attacks(path: Path) -> dict[str, bytes]:
    code = f"open({str(path)!r}, 'w')".encode()
    good = batch_pickle(*random_batch(0))
    return {
        **{
            f"reduce {n}": pickle.dumps({b"data": Attack(path)}, protocol=n) for n in range(pickle.HIGHEST_PROTOCOL + 1)
        },
        "eval": b"cbuiltins\neval\n(" + string(code) + b"tR.",
        "python 2's eval": b"\x80\x02c__builtin__\neval\n(" + string(code) + b"tR.",
        "inst": b"(S'touch " + str(path).encode() + b"'\nios\nsystem\n.",
        "getattr": b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'__class__'\ntR.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x11ndarray.__class__\x93.",
        "numpy's own loader": b"cnumpy\nload\n(S'x'\ntR.",
        "array of objects": good.replace(string(b"u1"), string(b"O8")),
        "after a good one": good[:-1] + pickle.dumps(Attack(path), protocol=0),
        "persistent": b"P1\n.",
    }


@pytest.mark.fault("archives: pickles that run code")
@pytest.mark.parametrize("name", attacks(Path("x")))
def test_a_pickle_that_attacks_is_refused_and_not_run(tmp_path, name):
    path = tmp_path / "evil"
    with pytest.raises(DataError, match="here is not a batch of CIFAR-10: UnpicklingError"):
        parse_batch(attacks(path)[name], "here")
    assert not path.exists()


def test_the_attack_would_work_on_an_unguarded_reader(tmp_path):
    path = tmp_path / "evil"
    pickle.loads(attacks(path)["reduce 2"])
    assert path.exists()


@pytest.mark.fault("archives: pickles that run code")
def test_a_pickle_cannot_change_what_stands_in_for_numpy():
    for name in (b"ndarray", b"dtype"):
        for state in (b"}S'__init__'\nK\x01s", b"N}S'__setstate__'\nK\x01s\x86"):
            with pytest.raises(DataError, match="here is not a batch"):
                parse_batch(b"\x80\x02cnumpy\n" + name + b"\n" + state + b"b.", "here")
    parse_batch(batch_pickle(*random_batch(0)), "here")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "EOFError"),
        (b"no pickle", "UnpicklingError"),
        (batch_pickle(*random_batch(0))[:-3000], "here is not a batch"),
        (pickle.dumps([1, 2], 2), "not rows of 3,072 bytes"),
        (pickle.dumps({}, 2), "not rows of 3,072 bytes"),
        (b"\x80\x02}(" + string(b"data") + b"cnumpy\nndarray\n)Ru.", "not rows of 3,072 bytes"),
        (batch_pickle(np.zeros((2, 3071), np.uint8), [0, 0]), "not rows of 3,072 bytes"),
        (batch_pickle(np.zeros((2, 3072), np.uint8), [0]), "does not have one label for each of 2 images"),
        (batch_pickle(np.zeros((2, 3072), np.uint8), [0, 10]), "not numbers from 0 to 9"),
        (batch_pickle(np.zeros((2, 3072), np.uint8), [0, 0]).replace(b"M\x02\x00", b"M\x03\x00"), "row by row"),
    ],
)
def test_a_pickle_that_is_no_batch(content, said):
    with pytest.raises(DataError, match=said):
        parse_batch(content, "here")
