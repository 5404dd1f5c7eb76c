"""Sound from WAV files as G.711 mu-law: one token for each sample, 256 levels.

Samples of PCM (8, 16, 24, 32 bits), float (32, 64 bits), A-law and mu-law with any number of channels are mixed down to
mono by their mean, rounded to 16 bits (float: 1.0 is 32,768; larger values are clipped) and encoded as ITU-T G.711
mu-law. Four steps of the 16-bit scale are one step of G.711's 14 bits. A mono mu-law file's bytes are its tokens. The
standard library's `wave` reads neither mu-law nor float on Python 3.11, so RIFF is parsed here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import IO

import numpy as np

from lengthscale.bench.data import streams
from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.streams import Stream

SUFFIXES = (".wav", ".wave")
_BLOCK = 1 << 22  # bytes at a time
_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_NAMES = {_PCM: "PCM", _FLOAT: "float", _A_LAW: "A-law", _MU_LAW: "mu-law"}
_KNOWN = ((_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64), (_A_LAW, 8), (_MU_LAW, 8))
_GUID_TAIL = bytes.fromhex("0000 0000 1000 8000 00aa 0038 9b71")  # of a format code inside WAVE_FORMAT_EXTENSIBLE
_UNKNOWN_SIZE = 0xFFFFFFFF  # the file was written to a pipe, or the size is in RF64's ds64 chunk


def _mu_law_levels() -> np.ndarray:
    """The level of each mu-law byte, (256,) int16: G.711 table 2.

    The bits are inverted; the magnitude (2 m + 33) 2^e - 33 has 14 bits and is multiplied by four here.
    """
    byte = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (byte >> 4 & 7).astype(np.int32), (byte & 15).astype(np.int32)
    magnitude = (((2 * mantissa + 33) << exponent) - 33) * 4
    return np.where(byte & 0x80, -magnitude, magnitude).astype(np.int16)


def _a_law_levels() -> np.ndarray:
    """The level of each A-law byte, (256,) int16: G.711 table 1.

    The even bits are inverted; the magnitude has 13 bits and is multiplied by eight here.
    """
    byte = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (byte >> 4 & 7).astype(np.int32), (byte & 15).astype(np.int32)
    magnitude = np.where(exponent == 0, 2 * mantissa + 1, (2 * mantissa + 33) << np.maximum(exponent - 1, 0)) * 8
    return np.where(byte & 0x80, magnitude, -magnitude).astype(np.int16)


MU_LAW = _mu_law_levels()
A_LAW = _a_law_levels()


def mu_law_encode(samples: np.ndarray) -> np.ndarray:
    """The mu-law bytes, uint8, of int16 samples of any shape.

    The decision value between two levels is half way, and belongs to the outer level.
    """
    magnitude = np.minimum(np.abs(samples.astype(np.int32)), 32_635) + 132
    exponent = np.searchsorted(1 << np.arange(8, 15), magnitude, side="right")
    mantissa = magnitude >> (exponent + 3) & 15
    return ~(np.where(samples < 0, 0x80, 0) | exponent << 4 | mantissa).astype(np.uint8)


def audio() -> Stream:
    """The embedded music at 8 kHz: Cold Day by Paul Shuler (Macroform)."""
    return load("audio", str(streams.EMBEDDED / "macroform-cold_day.mulaw.wav"))


@dataclass(frozen=True)
class _Format:
    code: int
    bits: int
    channels: int
    rate: int

    @property
    def frame(self) -> int:
        return self.channels * self.bits // 8  # bytes


def load(name: str, path: str) -> Stream:
    """The samples of a WAV file. Raises DataError where it is truncated, not a WAV, or of an unknown format."""
    size = streams.check_file(path)
    with streams.reading(path), streams.expand(path).open("rb") as file:
        layout, start, length = _find_samples(path, file, size)
        file.seek(start)
        frames = length // layout.frame
        tokens = _read(path, file, layout, min(frames, streams.MAX_TOKENS))
    notes = []
    if layout.channels > 1:
        notes.append(f"{layout.channels} channels mixed down to one")
    if layout.code != _MU_LAW:
        notes.append(f"{layout.bits}-bit {_NAMES[layout.code]} encoded as mu-law")
    if frames > len(tokens):
        notes.append(f"only the first {len(tokens):,} of its {frames:,} samples are used")
    return Stream(name, tokens, 256, streams.version(tokens), "; ".join(notes))


def _find_samples(path: str, file: IO[bytes], size: int) -> tuple[_Format, int, int]:
    """(the format, the byte at which the samples start, how many bytes they are)."""
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64") or head[8:] != b"WAVE":
        raise DataError(f"{path!r} is not a WAV file: it starts with {head!r}, not with 'RIFF', a size and 'WAVE'")
    layout, long_length, position = None, None, 12
    while position + 8 <= size:
        file.seek(position)
        kind, length = struct.unpack("<4sI", file.read(8))
        start = position + 8
        left = size - start
        if kind == b"data":
            if layout is None:
                raise DataError(f"WAV file {path!r} has no fmt chunk before its data")
            if length == _UNKNOWN_SIZE:
                length = left - left % layout.frame if long_length is None else long_length
            _check_samples(path, layout, length, left)
            return layout, start, length
        if length > left:
            raise DataError(
                f"WAV file {path!r} is truncated: its chunk {kind!r} at byte {position} should be {length:,} bytes, "
                f"the file holds {left:,} more"
            )
        if kind == b"fmt ":
            layout = _parse_format(path, file.read(min(length, 40)))
        if kind == b"ds64" and length >= 16:
            long_length = struct.unpack("<8xQ", file.read(16))[0]
        position = start + length + length % 2  # chunks start at even bytes
    raise DataError(f"WAV file {path!r} is truncated: it has no data chunk in its {size:,} bytes")


def _parse_format(path: str, chunk: bytes) -> _Format:
    if len(chunk) < 16:
        raise DataError(f"WAV file {path!r}: its fmt chunk has {len(chunk)} bytes, expected 16 or more")
    code, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", chunk[:16])
    if code == _EXTENSIBLE and chunk[26:] == _GUID_TAIL:
        code = struct.unpack("<H", chunk[24:26])[0]
    if (code, bits) not in _KNOWN:
        known = ", ".join(f"{_NAMES[known]} {width}" for known, width in _KNOWN)
        raise DataError(f"WAV file {path!r}: format code {code:#06x} of {bits} bits is not known (known: {known})")
    layout = _Format(code, bits, channels, rate)
    if channels == 0 or frame != layout.frame:
        raise DataError(
            f"WAV file {path!r}: {channels} channels of {bits} bits make frames of {layout.frame} bytes, "
            f"its header says {frame}"
        )
    return layout


def _check_samples(path: str, layout: _Format, length: int, left: int) -> None:
    if length > left:
        raise DataError(
            f"WAV file {path!r} is truncated: expected {length:,} bytes of samples by its header, found {left:,}"
        )
    if length % layout.frame:
        raise DataError(
            f"WAV file {path!r}: its {length:,} bytes of samples are not a whole number of {layout.frame}-byte frames"
        )
    if length == 0:
        raise DataError(f"WAV file {path!r} holds no samples")


def _read(path: str, file: IO[bytes], layout: _Format, frames: int) -> np.ndarray:
    """The tokens, (frames,) uint8, read and encoded block by block."""
    tokens = np.empty(frames, np.uint8)
    at_once = max(1, _BLOCK // layout.frame)
    for start in range(0, frames, at_once):
        count = min(at_once, frames - start)
        raw = file.read(count * layout.frame)
        if len(raw) < count * layout.frame:
            raise DataError(f"WAV file {path!r} became shorter while it was read")
        if (layout.code, layout.channels) == (_MU_LAW, 1):
            tokens[start : start + count] = np.frombuffer(raw, np.uint8)
            continue
        with np.errstate(all="ignore"):  # values that are not finite raise a DataError below
            mono = _samples(raw, layout).reshape(count, layout.channels).mean(axis=1)
        finite = np.isfinite(mono)
        if not finite.all():
            raise DataError(f"WAV file {path!r}: sample {start + int(finite.argmin())} is {mono[finite.argmin()]}")
        tokens[start : start + count] = mu_law_encode(np.clip(np.rint(mono), -32_768, 32_767).astype(np.int16))
    return tokens


def _samples(raw: bytes, layout: _Format) -> np.ndarray:
    """The samples in the file's bytes as float64, on the scale of 16 bits."""
    match layout.code, layout.bits:
        case (1, 8):  # the only unsigned form
            return (np.frombuffer(raw, np.uint8).astype(np.float64) - 128) * 256
        case (1, 24):
            padded = np.zeros((len(raw) // 3, 4), np.uint8)
            padded[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
            return padded.view("<i4").reshape(-1) / 65_536
        case (1, bits):
            return np.frombuffer(raw, f"<i{bits // 8}") / 2.0 ** (bits - 16)
        case (3, bits):
            return np.frombuffer(raw, f"<f{bits // 8}").astype(np.float64) * 32_768
        case (6, _):
            return A_LAW[np.frombuffer(raw, np.uint8)].astype(np.float64)
        case _:
            return MU_LAW[np.frombuffer(raw, np.uint8)].astype(np.float64)
