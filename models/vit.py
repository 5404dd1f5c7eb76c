"""The Vision Transformer (Dosovitskiy et al., arXiv:2010.11929, section 3.1): an image as a sequence of patches.

    x = [cls; patches W + b] + positions;  x = x + attention(norm(x));  x = x + MLP(norm(x));  logits = head(norm(x)[0])

Pre-norm blocks, attention to everything in memory linear in the number of patches, exact (erf) GELU, learned
positions. There are Y X / patch^2 patches, row by row. Axes: B batch, Y, X pixels, C channels, T patches + 1.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jaxtyping import Float

from lengthscale.models import Interface, Size
from lengthscale.models.backbone import Block, matched_mlp_width
from lengthscale.models.base import ImageClassifier
from lengthscale.models.layers import MLP, Linear, kernel_init, layer_norm
from lengthscale.models.transformer import SelfAttention

PATCH = 4


class ViT(ImageClassifier):
    """For images of one size, as the learned positions want it; image: (Y, X). Raises ValueError for another one."""

    def __init__(
        self,
        *,
        image: tuple[int, int],
        channels: int,
        classes: int,
        patch: int = PATCH,
        d_model: int,
        n_layers: int,
        head_size: int,
        mlp_width: int,
        epsilon: float = 1e-6,
        method: str = "auto",
        rngs: nnx.Rngs,
    ):
        if min(image) < patch or any(side % patch for side in image):
            raise ValueError(f"patch must divide the image's sides, got patch={patch}, image={image}")
        norm = partial(layer_norm, epsilon=epsilon)
        n_residuals = 2 * n_layers

        def make_mixer(rngs):
            return SelfAttention(d_model, head_size, causal=False, n_residuals=n_residuals, method=method, rngs=rngs)

        def make_mlp(rngs):
            return MLP(d_model, mlp_width, n_residuals=n_residuals, activation=_gelu, rngs=rngs)

        def make_block(rngs):
            return Block(d_model, make_mixer, make_mlp, norm, rngs)

        n_patches = (image[0] // patch) * (image[1] // patch)
        self.projection = Linear(patch * patch * channels, d_model, kernel_init=kernel_init, rngs=rngs)
        self.cls = nnx.Param(kernel_init(rngs.params(), (d_model,)))
        self.positions = nnx.Param(kernel_init(rngs.params(), (n_patches + 1, d_model)))
        self.blocks = nnx.split_rngs(splits=n_layers)(nnx.vmap(make_block))(rngs)
        self.norm = norm(d_model, rngs)
        self.head = Linear(d_model, classes, kernel_init=kernel_init, rngs=rngs)
        self.shape = (*image, channels)
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
        return lax.scan(lambda x, params: (nnx.merge(graph, params)(x, None, 0)[0], None), x, params)[0]

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
    channels, classes = interface.of_images()
    return ViT(
        image=(interface.side, interface.side),
        channels=channels,
        classes=classes,
        d_model=size.d_model,
        n_layers=size.n_layers,
        head_size=size.head_size,
        mlp_width=matched_mlp_width(size, lambda rngs: SelfAttention(size.d_model, size.head_size, rngs=rngs)),
        method=method,
        rngs=rngs,
    )
