"""The files of a checkpoint's folder: its config, and the headers of its safetensors. No weight is read here."""

from __future__ import annotations

import json
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lengthscale.models.huggingface.tables import CheckpointError, Config

LONGEST = 100_000_000  # bytes of JSON; safetensors has the same limit for its headers


@dataclass(frozen=True)
class Tensor:
    """Where a tensor is stored: its file, its name in that file, its type and its shape."""

    file: str
    name: str  # there
    dtype: str
    shape: tuple[int, ...]


def read_config(path: Path) -> Config:
    """The object in a config.json. Raises CheckpointError."""
    try:
        values = _read_json(path)
    except FileNotFoundError:
        raise CheckpointError(f"checkpoint {str(path.parent)!r} has no config.json") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold an object, got {type(values).__name__}")
    return Config(values, str(path))


def _read_json(path: Path) -> Any:
    """Raises OSError or ValueError; the latter for what is no file, or would fill the memory, as well."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is a folder, a pipe or a device")
    with path.open("rb") as file:
        text = file.read(LONGEST + 1)
    if len(text) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST:,} bytes")
    return _parse_json(text)


def _parse_json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def weight_files(path: Path) -> list[str]:
    """All *.safetensors, or those that the index of a checkpoint in several files lists."""
    index = path / "model.safetensors.index.json"
    if index.exists():
        try:
            listed = sorted(set(_read_json(index)["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index} cannot be read: {error!r}") from error
        if outside := [str(name) for name in listed if Path(str(name)).name != name]:
            raise CheckpointError(f"{index} lists {', '.join(outside)}; expected names of files in its own folder")
        if missing := [name for name in listed if not (path / name).is_file()]:
            raise CheckpointError(f"{path}: {', '.join(missing)}, listed by {index.name}, is not there")
        return listed
    found = sorted(file.name for file in path.glob("*.safetensors"))
    if not found:
        pickles = [file.name for file in (*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth"))]
        hint = f" ({pickles[0]} is a pickle, which can run code: save it as safetensors)" if pickles else ""
        raise CheckpointError(f"checkpoint {str(path)!r} has no *.safetensors{hint}")
    return found


def read_header(folder: Path, file: str) -> list[Tensor]:
    """The tensors of a file. safetensors' own error of a file that is cut off does not say which tensor is."""
    where = f"{folder / file}"
    if not (folder / file).is_file():
        raise CheckpointError(f"{where} is no safetensors file: it is a folder, a pipe, a device or a dead link")
    try:
        with (folder / file).open("rb") as opened:
            start = opened.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            total = opened.seek(0, 2)
            opened.seek(8)
            if not 2 <= length <= total - 8:
                raise CheckpointError(f"{where} is no safetensors file, or cut off in its header ({total} bytes)")
            if length > LONGEST:
                raise CheckpointError(f"{where} is no safetensors file: its header has {length:,} bytes")
            header = _parse_json(opened.read(length))
        tensors = []
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            tensor = Tensor(file, name, entry["dtype"], tuple(entry["shape"]))
            tensors.append(tensor)
            if (end := 8 + length + entry["data_offsets"][1]) > total:
                raise CheckpointError(
                    f"{where} is cut off: tensor {name!r} {tensor.shape} should end at byte {end}, the file has {total}"
                )
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise CheckpointError(f"{where} is no safetensors file: its header cannot be read ({error!r})") from error
    return tensors
