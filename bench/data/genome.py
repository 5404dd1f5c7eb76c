"""DNA from FASTA files, plain or gzipped: one token for each base.

The vocabulary is A C G T N = 0 ... 4, in upper or lower case. U (RNA) is read as T, the other IUPAC ambiguity codes
(R Y S W K M B D H V) as N; gaps (-) are left out. Records follow each other directly, in the file's order.
Letters: https://www.ncbi.nlm.nih.gov/genbank/fastaformat/
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator

import numpy as np

from lengthscale.bench.data import streams
from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.streams import Stream

ALPHABET = "ACGTN"
SUFFIXES = (".fa", ".fasta", ".fna")
_AMBIGUOUS = "RYSWKMBDHV"
_BLOCK = 1 << 22  # characters at a time
_NO_BASE = 255
_HEADER = re.compile(r"\n>.*")
_LEFT_OUT = b"\n\t -"


def _codes() -> bytes:
    codes = bytearray([_NO_BASE] * 256)
    for letters, code in [*((base, ALPHABET.index(base)) for base in ALPHABET), ("U", 3), (_AMBIGUOUS, 4)]:
        for letter in letters + letters.lower():
            codes[ord(letter)] = code
    return bytes(codes)


_CODES = _codes()


def genome() -> Stream:
    """The complete genome of Escherichia coli 536."""
    return load("genome", str(streams.EMBEDDED / "NC_008253.fna.gz"))


def load(name: str, path: str) -> Stream:
    """The bases of a FASTA file. Raises DataError (with record and line) for a missing header, no or wrong bases."""
    streams.check_file(path)
    with (
        streams.reading(path),
        streams.open_unzipped(path) as file,
        io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace") as lines,  # all line ends become \n
    ):
        tokens, note = _parse(path, lines)
    return Stream(name, tokens, len(ALPHABET), streams.version(tokens), note)


def record_bases(lines: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The bases of one record of a FASTA file, one byte for each base, line by line. Later records are not read.

    lines: of the file. name: of the record. Raises DataError where there is no such record, or where it has a letter
    that is not a base.
    """
    inside, number = False, 0
    for number, line in enumerate(lines, 1):
        if line.startswith(b">"):
            if inside:
                return
            inside = _record_name(line.decode("ascii", "replace")) == name
        elif inside:
            bases = line.translate(_CODES, _LEFT_OUT + b"\r")
            if _NO_BASE in bases:
                raise DataError(f"FASTA record {name!r}, line {number}: {line[:40]!r} holds letters that are not bases")
            yield bases
    if not inside:
        raise DataError(f"there is no FASTA record {name!r} in {number:,} lines")


def _parse(path: str, file: io.TextIOBase) -> tuple[np.ndarray, str]:
    """(the bases, a note). The file is read in blocks: one line may hold a chromosome, and a file many of them."""
    tokens = bytearray()
    line, record, line_start = 1, None, True  # of the block's first character
    while block := file.read(_BLOCK):
        if block.startswith(">", block.rfind("\n") + 1):
            block += file.readline(_BLOCK)  # a header in one piece
        if record is None and (head := block.lstrip()):
            if not head.startswith(">"):
                line += block[: len(block) - len(head)].count("\n")
                raise DataError(f"FASTA file {path!r}, line {line}: no header; expected '>', found {head[:20]!r}")
            record = ""
        whole = "\n" + block if line_start else block
        bases = _HEADER.sub("", whole).encode("ascii", "replace").translate(_CODES, _LEFT_OUT)
        if _NO_BASE in bases:
            raise _wrong_letter(path, whole, line - line_start, record)
        tokens += bases
        if len(tokens) > streams.MAX_TOKENS:
            del tokens[streams.MAX_TOKENS :]
            return np.frombuffer(tokens, np.uint8), f"only its first {streams.MAX_TOKENS:,} bases are used"
        if headers := whole.rfind("\n>") + 1:
            record = _record_name(whole[headers : headers + 1000].split("\n")[0])
        line += block.count("\n")
        line_start = block.endswith("\n")
    if not tokens:
        raise DataError(f"FASTA file {path!r} holds no bases")
    return np.frombuffer(tokens, np.uint8), ""


def _wrong_letter(path: str, whole: str, line: int, record: str | None) -> DataError:
    for number, row in enumerate(whole.split("\n"), line):
        if row.startswith(">") and number > line:
            record = _record_name(row)
            continue
        wrong = [letter for letter in row if _is_wrong(letter)]
        if wrong:
            return DataError(
                f"FASTA file {path!r}, record {record!r}, line {number}: {wrong[0]!r} is not a base "
                f"(expected A C G T U, N or {' '.join(_AMBIGUOUS)}; is it a protein?)"
            )
    raise AssertionError("no wrong letter in this block")


def _is_wrong(letter: str) -> bool:
    return letter.encode("ascii", "replace").translate(_CODES, _LEFT_OUT) == bytes([_NO_BASE])


def _record_name(header: str) -> str:
    return (header[1:].split() or [""])[0]
