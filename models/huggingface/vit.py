"""ViT: https://huggingface.co/docs/transformers/model_doc/vit"""

from __future__ import annotations

from functools import partial

from lengthscale.models import Interface
from lengthscale.models.huggingface.tables import (
    Architecture,
    CheckpointError,
    Config,
    Entries,
    Entry,
    linear,
    norm,
    vector,
)


def sides(config: Config) -> tuple[int, int, int]:
    """Of a (square) patch, and the image's height and width."""
    patch, patch_width = _pair(config, "patch_size", 16)
    if patch != patch_width:
        raise CheckpointError(f"{config.where}: 'patch_size' is {patch, patch_width}; only squares are supported")
    return patch, *_pair(config, "image_size", 224)


def _pair(config: Config, key: str, default: int) -> tuple[int, int]:
    value = config.get(key, default)
    pair = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value, value)
    first, second = (Config({key: side}, config.where).size(key) for side in pair)
    return first, second


def n_patches(config: Config) -> int:
    """The number of patches of an image."""
    patch, height, width = sides(config)
    return (height // patch) * (width // patch)


def _interface(config: Config) -> Interface:
    """The side of an image that is no square is 0."""
    _, height, width = sides(config)
    side = height if height == width else 0
    return Interface(features=config.size("num_channels", 3), outputs=classes(config), side=side)


def classes(config: Config) -> int:
    """The number of classes."""
    labels = config.get("id2label")
    return len(labels) if labels else config.size("num_labels", 2)


def _make(config: Config):
    from lengthscale.models.vit import ViT, ViTConfig

    config.only("hidden_act", "gelu")
    config.only("qkv_bias", True)
    patch, rows, columns = sides(config)
    heads, width = config.size("num_attention_heads"), config.size("hidden_size")
    if width % heads:
        raise CheckpointError(f"{config.where}: num_attention_heads {heads} must divide hidden_size {width}")
    ours = ViTConfig(
        image=(rows, columns),
        patch=patch,
        d_model=width,
        n_layers=config.size("num_hidden_layers"),
        head_size=width // heads,
        d_ff=config.size("intermediate_size"),
        epsilon=config.number("layer_norm_eps", 1e-12),
    )
    return partial(ViT, ours)


def _outside(config: Config) -> Entries:
    patch = sides(config)[0]
    width, channels, positions = config.size("hidden_size"), config.size("num_channels", 3), n_patches(config) + 1
    projection = "vit.embeddings.patch_embeddings.projection"
    yield Entry(
        "projection.kernel",
        {f"{projection}.weight": (width, channels, patch, patch)},
        lambda array: array.transpose(2, 3, 1, 0).reshape(-1, array.shape[0]),
    )
    yield vector("projection.bias", f"{projection}.bias", width)
    yield Entry("cls", {"vit.embeddings.cls_token": (1, 1, width)}, lambda array: array[0, 0])
    yield Entry("positions", {"vit.embeddings.position_embeddings": (1, positions, width)}, lambda array: array[0])
    yield from norm("norm", "vit.layernorm", width)
    yield from linear("head", {"classifier": classes(config)}, width)


def _block(config: Config, number: int) -> Entries:
    width, inner = config.size("hidden_size"), config.size("intermediate_size")
    layer = f"vit.layers.{number}"
    yield from norm("norm", f"{layer}.layernorm_before", width)
    yield from norm("mlp_norm", f"{layer}.layernorm_after", width)
    yield from linear("mixer.qkv", {f"{layer}.attention.{name}_proj": width for name in "qkv"}, width)
    yield from linear("mixer.out", {f"{layer}.attention.o_proj": width}, width)
    yield from linear("mlp.up", {f"{layer}.mlp.fc1": inner}, width)
    yield from linear("mlp.down", {f"{layer}.mlp.fc2": width}, inner)


_VIT_4 = (  # transformers 4 and its checkpoints -> transformers 5
    (r"^vit\.encoder\.layer\.", "vit.layers."),
    (r"\.attention\.attention\.query\.", ".attention.q_proj."),
    (r"\.attention\.attention\.key\.", ".attention.k_proj."),
    (r"\.attention\.attention\.value\.", ".attention.v_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(\.layers\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)


ARCHITECTURE = Architecture(
    model=lambda config: "vit",
    make=_make,
    outside=_outside,
    block=_block,
    n_blocks=lambda config: config.size("num_hidden_layers"),
    interface=_interface,
    prefix="vit.",
    heads=("classifier.",),
    only_length=n_patches,
    renamed=_VIT_4,
    unused=r"^vit\.(pooler\.|embeddings\.mask_token$)",
)
