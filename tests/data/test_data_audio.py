"""WAV files against hand-made samples, and G.711 against its tables."""

import struct
import tracemalloc
import wave

import numpy as np
import pytest

from lengthscale.bench.data import audio, streams
from tests.helpers.loading import refused, stream


def chunk(kind: bytes, content: bytes, size: int | None = None) -> bytes:
    return struct.pack("<4sI", kind, len(content) if size is None else size) + content + b"\0" * (len(content) % 2)


def fmt(code: int, bits: int, channels: int = 1, **changes) -> bytes:
    frame = changes.get("frame", channels * bits // 8)
    return chunk(b"fmt ", struct.pack("<HHIIHH", code, channels, 8000, 8000 * frame, frame, bits))


def extensible(code: int, bits: int, tail: str = "0000 0000 1000 8000 00aa 0038 9b71") -> bytes:
    head = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 8000 * bits // 8, bits // 8, bits, 22, bits, 4)
    return chunk(b"fmt ", head + struct.pack("<H", code) + bytes.fromhex(tail))


def wav(*chunks: bytes, magic: bytes = b"RIFF") -> bytes:
    content = b"WAVE" + b"".join(chunks)
    return magic + struct.pack("<I", len(content)) + content


def test_mu_law_is_g_711s():
    """Table 2a of G.711: character signals and values at the decoder's output (14 bits, here times four)."""
    published = {0x80: 8031, 0x8F: 4191, 0x9F: 2079, 0xAF: 1023, 0xBF: 495, 0xCF: 231, 0xDF: 99, 0xEF: 33, 0xFE: 2}
    for byte, value in published.items():
        assert audio.MU_LAW[byte] == 4 * value
        assert audio.MU_LAW[byte & 0x7F] == -4 * value
    assert audio.MU_LAW[0xFF] == audio.MU_LAW[0x7F] == 0
    round_trip = audio.mu_law_encode(audio.MU_LAW)
    assert round_trip[0x7F] == 0xFF  # the negative nought
    np.testing.assert_array_equal(np.delete(round_trip, 0x7F), np.delete(np.arange(256), 0x7F))


def test_mu_law_encoding_is_the_nearest_level_and_monotonic():
    samples = np.arange(-32_768, 32_768).astype(np.int16)
    decoded = audio.MU_LAW[audio.mu_law_encode(samples)].astype(int)
    levels = np.unique(audio.MU_LAW.astype(int))
    nearest = np.abs(samples[:, None].astype(int) - levels).min(axis=1)
    # Half way between the last level of a segment and the first of the next is not G.711's decision value there.
    assert (np.abs(samples - decoded) == nearest).mean() > 0.98
    assert (np.diff(decoded) >= 0).all()
    positive = samples[samples > 0]
    np.testing.assert_array_equal(audio.mu_law_encode(-positive), audio.mu_law_encode(positive) ^ 0x80)
    # Decision values of table 2a (14 bits): 1, 3, 31, 35, 95, 103, 4063; each belongs to the outer interval.
    for value, byte in {1: 0xFE, 3: 0xFD, 31: 0xEF, 35: 0xEE, 95: 0xDF, 103: 0xDE, 4063: 0x8F}.items():
        assert audio.mu_law_encode(np.array([4 * value - 1, 4 * value], np.int16)).tolist() == [byte + 1, byte]


def test_a_law_is_g_711s():
    """Table 1a of G.711 (13 bits, here times eight)."""
    published = {
        0xD5: 1,
        0xD4: 3,
        0xC5: 33,
        0xF5: 66,
        0xE5: 132,
        0x95: 264,
        0x85: 528,
        0xB5: 1056,
        0xA5: 2112,
        0xAA: 4032,
    }
    for byte, value in published.items():
        assert audio.A_LAW[byte] == 8 * value
        assert audio.A_LAW[byte & 0x7F] == -8 * value


SAMPLES = np.array([0, 8, -8, 1000, -1000, 20_000, -32_768, 32_767], np.int16)
ODD = chunk(b"id3 ", b"x")
SIZES_OF_3 = chunk(b"ds64", struct.pack("<QQQI", 0, 3, 3, 0))


def encoded(*samples: int) -> list[int]:
    return audio.mu_law_encode(np.array(samples)).tolist()


TOKENS = encoded(*SAMPLES)
BIT_24 = b"".join(int(sample * 256).to_bytes(3, "little", signed=True) for sample in SAMPLES.tolist())
BIT_32 = (SAMPLES.astype("<i4") * 65_536).tobytes()
FLOAT = SAMPLES / np.float64(32_768)


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        (wav(fmt(1, 16), chunk(b"data", SAMPLES.tobytes())), TOKENS),
        (wav(fmt(1, 24), chunk(b"data", BIT_24)), TOKENS),
        (wav(fmt(1, 32), chunk(b"data", BIT_32)), TOKENS),
        (wav(fmt(3, 32), chunk(b"data", FLOAT.astype("<f4").tobytes())), TOKENS),
        (wav(fmt(3, 64), chunk(b"data", FLOAT.astype("<f8").tobytes())), TOKENS),
        (wav(fmt(3, 32), chunk(b"data", struct.pack("<2f", 1.5, -7.0))), [0x80, 0x00]),  # clipped
        (wav(fmt(1, 8), chunk(b"data", bytes([128, 0, 255]))), encoded(0, -32_768, 32_512)),
        (wav(fmt(7, 8), chunk(b"data", bytes(range(256)))), list(range(256))),
        (wav(fmt(6, 8), chunk(b"data", bytes([0xD5, 0x2A]))), encoded(8, -32_256)),
        (wav(fmt(1, 16, 2), chunk(b"data", np.repeat(SAMPLES, 2).tobytes())), TOKENS),
        (wav(fmt(1, 16, 2), chunk(b"data", struct.pack("<4h", 1000, 3000, 32_767, -32_767))), encoded(2000, 0)),
        (wav(fmt(7, 8, 2), chunk(b"data", bytes([0x80, 0x00, 0xFE, 0xFE]))), [0xFF, 0xFE]),
        (wav(extensible(1, 24), chunk(b"data", BIT_24)), TOKENS),
        (wav(extensible(3, 32), chunk(b"data", FLOAT.astype("<f4").tobytes())), TOKENS),
        # Odd chunks and their padding, before and after; an odd number of samples.
        (wav(chunk(b"LIST", b"odd"), fmt(7, 8), chunk(b"fact", b"1234"), chunk(b"data", b"abc"), ODD), [97, 98, 99]),
        # Written to a pipe: the size is not known.
        (wav(fmt(1, 16), chunk(b"data", SAMPLES.tobytes(), size=0xFFFFFFFF)), TOKENS),
        (wav(SIZES_OF_3, fmt(7, 8), chunk(b"data", b"abc", size=0xFFFFFFFF), magic=b"RF64"), [97, 98, 99]),
    ],
)
@pytest.mark.parametrize("name", ["sound.wav", "sound.without"])
def test_wav(tmp_path, name, content, tokens):
    path = tmp_path / name
    path.write_bytes(content)
    data = stream(path)
    assert data.tokens.tolist() == tokens
    assert data.vocab == 256


def test_wav_in_blocks_and_up_to_the_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "_BLOCK", 7)
    path = tmp_path / "stereo.wav"
    path.write_bytes(wav(fmt(1, 16, 2), chunk(b"data", np.repeat(SAMPLES, 2).tobytes())))
    assert stream(path).tokens.tolist() == TOKENS
    assert stream(path).note == "2 channels mixed down to one; 16-bit PCM encoded as mu-law"
    monkeypatch.setattr(streams, "MAX_TOKENS", 5)
    cut = audio.load("again", str(path))
    assert cut.tokens.tolist() == TOKENS[:5]
    assert "only the first 5 of its 8 samples are used" in cut.note


def test_a_wav_of_10_gb_is_read_in_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "MAX_TOKENS", 1 << 20)
    path = tmp_path / "huge.wav"
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, 10 << 30, 0, 0))
    path.write_bytes(wav(sizes, fmt(3, 32, 8), chunk(b"data", b"", size=0xFFFFFFFF), magic=b"RF64"))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + (10 << 30))
    tracemalloc.start()
    data = stream(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert data.tokens.tolist() == [0xFF] * (1 << 20)
    assert peak < 64 << 20


def test_the_standard_librarys_writer_is_understood(tmp_path):
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(44_100)
        file.writeframes(SAMPLES.tobytes())
    assert stream(path).tokens.tolist() == TOKENS


DATA_CHUNK = chunk(b"data", SAMPLES.tobytes())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"RIFF", "is not a WAV file: it starts with b'RIFF'"),
        (b"ID3\x03 and no sound", "is not a WAV file: it starts with b'ID3"),
        (wav(fmt(1, 16), DATA_CHUNK)[:-5], "is truncated: expected 16 bytes of samples by its header, found 11"),
        (
            wav(SIZES_OF_3, fmt(7, 8), chunk(b"data", b"", size=0xFFFFFFFF), magic=b"RF64"),
            "expected 3 bytes of samples",
        ),
        (wav(fmt(1, 16)), "is truncated: it has no data chunk"),
        (wav(fmt(1, 16))[:-4], "is truncated: its chunk b'fmt ' at byte 12 should be 16 bytes, the file holds 12 more"),
        (wav(fmt(1, 16), chunk(b"LIST", b"", size=1000)), "b'LIST' at byte 36 should be 1,000 bytes, the file holds 0"),
        (wav(DATA_CHUNK, fmt(1, 16)), "has no fmt chunk before its data"),
        (wav(chunk(b"fmt ", b"1234"), DATA_CHUNK), "its fmt chunk has 4 bytes, expected 16 or more"),
        (wav(fmt(0x55, 16), DATA_CHUNK), "format code 0x0055 of 16 bits is not known (known: PCM 8, PCM 16"),
        (wav(fmt(1, 12, frame=2), DATA_CHUNK), "format code 0x0001 of 12 bits is not known"),
        (wav(extensible(1, 16, tail="00" * 14), DATA_CHUNK), "format code 0xfffe of 16 bits is not known"),
        (wav(fmt(1, 16, channels=0), DATA_CHUNK), "0 channels of 16 bits"),
        (wav(fmt(1, 16, channels=2, frame=2), DATA_CHUNK), "make frames of 4 bytes, its header says 2"),
        (wav(fmt(1, 24), chunk(b"data", b"1234")), "its 4 bytes of samples are not a whole number of 3-byte frames"),
        (wav(fmt(1, 16), chunk(b"data", b"")), "holds no samples"),
        (wav(fmt(3, 32), chunk(b"data", struct.pack("<2f", 0, float("nan")))), "sample 1 is nan"),
        (wav(fmt(3, 32, 2), chunk(b"data", struct.pack("<2f", float("inf"), float("-inf")))), "sample 0 is nan"),
        (wav(fmt(3, 64), chunk(b"data", struct.pack("<d", 1e308))), "sample 0 is inf"),
    ],
)
def test_wav_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "wrong.wav"
    path.write_bytes(content)
    assert message in refused(path)
    assert repr(str(path)) in refused(path)
