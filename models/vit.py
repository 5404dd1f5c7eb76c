"""The Vision Transformer (Dosovitskiy et al., arXiv:2010.11929, section 3.1): an image as a sequence of patches.

    x = [cls; patches W + b] + positions;  x = x + attention(norm(x));  x = x + MLP(norm(x));  logits = head(norm(x)[0])

Pre-norm blocks, attention to everything in memory linear in the number of patches, exact (erf) GELU, learned
positions. There are Y X / patch^2 patches, row by row. Axes: B batch, Y, X pixels, C channels, T patches + 1.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jaxtyping import Float

from lengthscale.models import Interface, Size
from lengthscale.models.backbone import Block, matched_mlp_width
from lengthscale.models.base import ImageClassifier
from lengthscale.models.layers import INIT_STD, MLP, Linear, kernel_init, layer_norm, stacked
from lengthscale.models.remat import scan_blocks
from lengthscale.models.transformer import AttentionConfig, SelfAttention

PATCH = 4


@dataclass(frozen=True, kw_only=True)
class ViTConfig:
    """The Vision Transformer's hyper-parameters. Raises ValueError where patches do not fill the image."""

    image: tuple[int, int]  # (Y, X) in pixels, which need not be a square
    patch: int = PATCH  # pixels, the side of a patch
    d_model: int
    n_layers: int
    head_size: int  # must divide d_model
    d_ff: int  # the MLP's width
    epsilon: float = 1e-6  # of the norms

    def __post_init__(self):
        if min(self.image) < self.patch or any(side % self.patch for side in self.image):
            raise ValueError(f"patch must divide the image's sides, got patch={self.patch}, image={self.image}")

    @property
    def attention(self) -> AttentionConfig:
        """One block's attention."""
        return AttentionConfig(self.d_model, self.head_size, causal=False, n_residuals=2 * self.n_layers)


class ViT(ImageClassifier):
    """For images of one size, as the learned positions want it. Raises ValueError for another one.

    interface: of images; its features are their channels, its outputs the classes. method: see models.ops.attention.
    """

    remat = "none"

    def __init__(self, config: ViTConfig, *, interface: Interface, method: str = "auto", rngs: nnx.Rngs):
        channels, classes = interface.of_images()
        d_model, patch = config.d_model, config.patch
        norm = partial(layer_norm, epsilon=config.epsilon)
        make_mixer = partial(SelfAttention, config.attention, method=method)
        make_mlp = partial(MLP, d_model, config.d_ff, n_residuals=2 * config.n_layers, activation=_gelu)
        n_patches = (config.image[0] // patch) * (config.image[1] // patch)
        table_init = nnx.initializers.normal(INIT_STD)
        self.projection = Linear(patch * patch * channels, d_model, kernel_init=kernel_init, rngs=rngs)
        self.cls = nnx.Param(table_init(rngs.params(), (d_model,)))
        self.positions = nnx.Param(table_init(rngs.params(), (n_patches + 1, d_model)))
        self.blocks = stacked(partial(Block, d_model, make_mixer, make_mlp, norm), config.n_layers, rngs)
        self.norm = norm(d_model, rngs)
        self.head = Linear(d_model, classes, kernel_init=table_init, rngs=rngs)
        self.shape = (*config.image, channels)
        self.patch = patch

    def __call__(self, images, *, train=False):
        return self.logits(self.mix(self.embed(images)))

    def embed(self, images: Float[Array, "B Y X C"]) -> Float[Array, "B T D"]:
        """The patches behind the class token, with their positions."""
        if images.shape[1:] != self.shape:
            raise ValueError(f"the model was built for images of shape {self.shape}, got {images.shape[1:]}")
        positions = self.positions[...]
        x = self.projection(split_patches(images.astype(positions.dtype), self.patch))
        cls = jnp.broadcast_to(self.cls[...], (x.shape[0], 1, x.shape[2]))
        return jnp.concatenate([cls, x], axis=1) + positions

    def mix(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """The blocks."""
        graph, params = nnx.split(self.blocks)
        return scan_blocks(self.remat, lambda x, params: (nnx.merge(graph, params)(x, None, 0)[0], None), x, params)[0]

    def logits(self, x: Float[Array, "B T D"]) -> Float[Array, "B V"]:
        """The head on the class token."""
        return self.head(self.norm(x[:, 0]))


def split_patches(images: Float[Array, "B Y X C"], patch: int) -> Float[Array, "B T P"]:
    """Patches row by row; inside each, rows of pixels of channels."""
    batch, height, width, channels = images.shape
    x = images.reshape(batch, height // patch, patch, width // patch, patch, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(batch, -1, patch * patch * channels)


def _gelu(x):
    return jax.nn.gelu(x, approximate=False)


def build(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> ViT:
    """Patches of 4 x 4 pixels; blocks of size.layer_params, as every other model's are."""
    interface.of_images()  # before its side, so that an interface of tokens is refused as what it is
    config = ViTConfig(
        image=(interface.side, interface.side),
        d_model=size.d_model,
        n_layers=size.n_layers,
        head_size=size.head_size,
        d_ff=matched_mlp_width(size, partial(SelfAttention, AttentionConfig(size.d_model, size.head_size))),
    )
    return ViT(config, interface=interface, method=method, rngs=rngs)
