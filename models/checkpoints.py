"""Checkpoints of Hugging Face's transformers: GPT-2, Llama, Mistral, RWKV-4, Mamba, ViT.

    model = load("mamba-130m-hf")                       # a folder: config.json and *.safetensors
    model = load(torch_model.state_dict(), config)      # or what is in memory already

`inspect` reads a folder's headers alone, and finds all that is wrong before a weight is read. It makes no array.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from lengthscale.models import Interface, unknown
from lengthscale.models.huggingface import ARCHITECTURES
from lengthscale.models.huggingface.files import Tensor, read_config, read_header, weight_files
from lengthscale.models.huggingface.tables import Architecture, CheckpointError, Config, Entry

__all__ = ["Checkpoint", "CheckpointError", "inspect", "load"]

DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # bytes of an element
SHOWN = 5  # mistakes in one error


@dataclass(frozen=True)
class Checkpoint:
    """A folder whose tensors are those that its config asks for."""

    path: Path
    config: Config
    tensors: Mapping[str, Tensor]  # by transformers' present name

    @cached_property
    def architecture(self) -> Architecture:
        return _architecture(self.config)

    @property
    def model(self) -> str:
        """The key of MODELS of which this is another size."""
        return self.architecture.model(self.config)

    @property
    def interface(self) -> Interface:
        return self.architecture.interface(self.config)

    @property
    def version(self) -> str:
        """A hash of the config and of what the files say of their tensors, not of the weights."""
        return sha256(repr((sorted(self.config.values.items(), key=str), self.tensors)).encode()).hexdigest()[:16]

    def make(self) -> Callable:
        """A function of `method` and `rngs` that makes the model, its weights random."""
        return _maker(self.config)

    def read(self) -> dict[str, np.ndarray]:
        """The weights by their path in our model, in float32."""
        from safetensors import safe_open

        files = {}

        def read(name):
            tensor = self.tensors[name]
            if tensor.file not in files:
                files[tensor.file] = safe_open(self.path / tensor.file, "numpy")
            return files[tensor.file].get_tensor(tensor.name).astype(np.float32)

        return translate(self.config, read, np)


def inspect(path: str | Path) -> Checkpoint:
    """Raises CheckpointError, which names each tensor that is missing, cut off, unknown or of another shape."""
    path = Path(path).expanduser()
    if not path.is_dir():
        raise CheckpointError(f"checkpoint {str(path)!r} is not a folder")
    config = read_config(path / "config.json")
    architecture = _architecture(config)
    _maker(config)  # refuses options that we do not have
    tensors: dict[str, Tensor] = {}
    for file in weight_files(path):
        tensors |= {tensor.name: tensor for tensor in read_header(path, file)}
    names = _present_names(architecture, tensors)
    checkpoint = Checkpoint(path, config, {name: tensors[old] for name, old in names.items()})
    _check(config, {name: tensor.shape for name, tensor in checkpoint.tensors.items()}, str(path))
    for name, tensor in checkpoint.tensors.items():
        if tensor.dtype not in DTYPES:
            raise CheckpointError(
                f"{path}: tensor {name!r} {tensor.shape} has dtype {tensor.dtype}; expected {', '.join(DTYPES)}"
            )
    return checkpoint


def load(path_or_state_dict: str | Path | Mapping[str, Any], config: Any = None, *, method: str = "auto"):
    """The model (an nnx.Module) with the checkpoint's weights, in float32.

    path_or_state_dict: a folder, or {name: array} of numpy's, jax's or torch's arrays; the latter needs a config, a
    dict or transformers' object, since shapes do not say everything. method: as in models.build. Raises
    CheckpointError.
    """
    import jax.numpy as jnp

    if isinstance(path_or_state_dict, Mapping):
        if config is None:
            raise CheckpointError("a state dict needs its config: load(state_dict, config)")
        values = config if isinstance(config, Mapping) else config.to_dict()
        tensors = {name: jnp.asarray(_numpy(tensor)) for name, tensor in path_or_state_dict.items()}
        return assemble(Config(values), tensors, method=method)
    checkpoint = inspect(path_or_state_dict)
    ours = {path: jnp.asarray(array) for path, array in checkpoint.read().items()}
    return _with_weights(checkpoint.make(), method, ours)


def assemble(config: Config, tensors: Mapping[str, Any], *, method: str = "auto"):
    """The model with jax's arrays, as they are and differentiable, for its weights. Raises CheckpointError."""
    import jax.numpy as jnp

    architecture = _architecture(config)
    names = _present_names(architecture, tensors)
    _check(config, {name: tuple(tensors[old].shape) for name, old in names.items()}, "state dict")
    ours = translate(config, lambda name: tensors[names[name]], jnp)
    return _with_weights(_maker(config), method, ours)


def _maker(config: Config) -> Callable:
    """The model as a function of `method` and `rngs`. Raises CheckpointError for what our model does not have."""
    architecture = _architecture(config)
    try:
        return partial(architecture.make(config), interface=architecture.interface(config))
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(f"{config.where}: {error}") from error


def _with_weights(make: Callable, method: str, ours: Mapping[str, Any]):
    from flax import nnx

    from lengthscale.models.weights import with_weights

    return with_weights(lambda: make(method=method, rngs=nnx.Rngs(0)), ours)


def translate(config: Config, read: Callable[[str], Any], xp) -> dict[str, Any]:
    """{path in our model: array}; read(name) gives a tensor, xp is its array library (numpy or jax.numpy)."""
    architecture = _architecture(config)
    blocks = [
        {entry.ours: convert(entry, read, xp) for entry in architecture.block(config, number)}
        for number in range(architecture.n_blocks(config))
    ]
    outside = {entry.ours: convert(entry, read, xp) for entry in architecture.outside(config)}
    return outside | {f"blocks.{path}": xp.stack([block[path] for block in blocks]) for path in blocks[0]}


def convert(entry: Entry, read: Callable[[str], Any], xp):
    """One of our parameters."""
    return xp.concatenate([entry.convert(read(name)) for name in entry.theirs], axis=-1)


def _architecture(config: Config) -> Architecture:
    model_type = config.get("model_type")
    if model_type not in ARCHITECTURES:
        raise CheckpointError(f"{config.where}: {unknown('model_type', str(model_type), ARCHITECTURES)}")
    return ARCHITECTURES[model_type]


def _present_names(architecture: Architecture, names) -> dict[str, str]:
    """{transformers' present name: the name there}: older names, and a headless model's, which lack the prefix."""
    bare = not any(name.startswith(architecture.prefix) for name in names)
    present = {}
    for old in names:
        name = architecture.prefix + old if bare and not old.startswith(architecture.heads) else old
        for pattern, new in architecture.renamed:
            name = re.sub(pattern, new, name)
        present[name] = old
    return present


def _check(config: Config, shapes: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Do the tensors have the names and shapes that the config gives them?"""
    architecture = _architecture(config)
    n_blocks = architecture.n_blocks(config)
    if n_blocks > len(shapes):
        raise CheckpointError(f"{config.where}: {n_blocks:,} layers, and {where} has {len(shapes)} tensors in all")
    expected: dict[str, tuple[int, ...]] = {}
    for entry in architecture.outside(config):
        expected |= entry.theirs
    for number in range(n_blocks):
        for entry in architecture.block(config, number):
            expected |= entry.theirs
    unused = {name for name in shapes if re.search(architecture.unused, name)}
    if not any(name.startswith(architecture.heads) for name in expected):  # tied: a copy of the embedding, or none
        unused |= {name for name in shapes if name.startswith(architecture.heads)}
    strange = sorted(shapes.keys() - expected.keys() - unused)
    mistakes = []
    for name, shape in expected.items():
        if name not in shapes:
            close = get_close_matches(name, strange, n=1)
            hint = f" (there is {close[0]!r} {shapes[close[0]]})" if close else ""
            mistakes.append(f"{where}: tensor {name!r} is missing; expected shape {shape}{hint}")
        elif shapes[name] != shape:
            mistakes.append(f"{where}: tensor {name!r} has shape {shapes[name]}, expected {shape}")
    model_type = config.get("model_type")
    mistakes += [f"{where}: tensor {name!r} {shapes[name]} is not part of this {model_type}" for name in strange]
    if mistakes:
        rest = [f"... and {len(mistakes) - SHOWN} more"] if len(mistakes) > SHOWN else []
        raise CheckpointError("\n".join(mistakes[:SHOWN] + rest))


def _numpy(tensor) -> np.ndarray:
    if hasattr(tensor, "detach"):  # torch's; its bfloat16 is none of numpy's
        tensor = tensor.detach().cpu().float().numpy()
    return np.asarray(tensor).astype(np.float32)
