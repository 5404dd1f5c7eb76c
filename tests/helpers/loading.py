"""Loading data in tests: what is expected of a name, and what is said where it is refused."""

import gzip

import pytest

from lengthscale.bench.data import Images, Stream, load
from lengthscale.bench.data.errors import DataError


def stream(name) -> Stream:
    data = load(str(name))
    assert isinstance(data, Stream)
    return data


def image_set(name) -> Images:
    data = load(str(name))
    assert isinstance(data, Images)
    return data


def refused(path) -> str:
    with pytest.raises(DataError) as caught:
        load(str(path))
    return str(caught.value)


def zipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)
