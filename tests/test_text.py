"""The data: what is embedded, what this machine has, what a user names; and how it is split."""

import hashlib

import numpy as np
import pytest

from bench.tasks import text


def test_the_embedded_text_is_what_its_provenance_says():
    data = text.load("text")
    assert len(data.tokens) == 1_115_394
    digest = hashlib.sha256(data.tokens.tobytes()).hexdigest()
    provenance = (text.Path(text.__file__).parent / "data" / "PROVENANCE.md").read_text()
    assert digest in provenance
    assert data.version == digest[:12]


def test_the_split_is_by_position():
    data = text.load("text")
    assert len(data.held_out) == len(data.tokens) // 10
    np.testing.assert_array_equal(np.concatenate([data.train, data.held_out]), data.tokens)


def test_the_standard_library():
    data = text.load("code")
    assert len(data.tokens) > 5_000_000
    assert data.version == text.load("code").version
    assert b"import" in data.tokens[:100_000].tobytes()


def test_a_file_is_its_bytes(tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(bytes(range(256)) * 2)
    np.testing.assert_array_equal(text.load(str(path)).tokens, np.tile(np.arange(256), 2))


def test_windows_hold_what_stands_there():
    stream = np.arange(100, dtype=np.uint8)
    np.testing.assert_array_equal(text.windows(stream, 3, 20)[:, 0], [0, 40, 80])
    for window in text.random_windows(stream, 8, 20, np.random.default_rng(0)):
        np.testing.assert_array_equal(window, np.arange(window[0], window[0] + 20))


def test_windows_of_every_context_have_the_same_targets():
    pytest.importorskip("jax")
    from bench.measures.quality import context_windows
    from bench.suites import Settings

    settings = Settings(contexts=(4, 16), target_tokens=8, windows=5)
    stream = np.random.default_rng(0).integers(0, 256, 500).astype(np.uint8)
    short, long = context_windows(stream, 4, settings), context_windows(stream, 16, settings)
    assert short.shape == (5, 12)
    assert long.shape == (5, 24)
    np.testing.assert_array_equal(short, long[:, -12:])
