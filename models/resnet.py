"""A residual network of basic blocks (He et al., arXiv:1512.03385), the Vision Transformer's baseline.

    block:  y = relu(norm(conv3(relu(norm(conv3(x))))) + shortcut(x));  logits = head(mean over pixels)

Each stage halves the sides (the first does not); where shapes differ, the shortcut is a 1 x 1 convolution. Batch
normalisation as in torch: what is normalised is divided by the batch's biased variance, while the running variance
takes the unbiased one. Axes: B batch, Y, X pixels, C channels.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, lax
from jaxtyping import Float

from lengthscale.models import Interface, Size
from lengthscale.models.base import ImageClassifier
from lengthscale.models.layers import Linear


class BatchNorm(nnx.Module):
    """(x - mean) / sqrt(var + epsilon) * scale + bias for each channel (Ioffe and Szegedy, arXiv:1502.03167).

    With train=True mean and variance are the batch's, and the running ones move by `momentum` towards them: float32 at
    least, whatever the activations are.
    """

    def __init__(self, width: int, *, momentum: float = 0.1, epsilon: float = 1e-5):
        self.scale = nnx.Param(jnp.ones(width))
        self.bias = nnx.Param(jnp.zeros(width))
        self.mean = nnx.BatchStat(jnp.zeros(width))
        self.var = nnx.BatchStat(jnp.ones(width))
        self.momentum = momentum
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "B Y X C"], *, train: bool) -> Float[Array, "B Y X C"]:
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        mean, var = self._batch(wide) if train else (self.mean[...], self.var[...])
        y = (wide - mean) * (lax.rsqrt(var + self.epsilon) * self.scale[...]) + self.bias[...]
        return y.astype(x.dtype)

    def _batch(self, x):
        """The batch's mean and variance, after the running ones have moved."""
        n = x.size // x.shape[-1]
        if n < 2:
            raise ValueError(f"batch normalisation needs 2 values a channel or more to train, got shape {x.shape}")
        mean = x.mean((0, 1, 2))
        var = jnp.square(x - mean).mean((0, 1, 2))
        self._move(self.mean, mean)
        self._move(self.var, var * (n / (n - 1)))
        return mean, var

    def _move(self, running, value):
        old = running[...]
        running[...] = old + self.momentum * (lax.stop_gradient(value).astype(old.dtype) - old)


class ConvNorm(nnx.Module):
    """A convolution, padded alike on all sides, and its normalisation."""

    def __init__(self, width_in: int, width: int, kernel: int, stride: int, rngs: nnx.Rngs):
        self.conv = nnx.Conv(
            width_in,
            width,
            (kernel, kernel),
            strides=stride,
            padding=kernel // 2,
            use_bias=False,
            kernel_init=nnx.initializers.variance_scaling(2.0, "fan_out", "normal"),  # He et al., arXiv:1502.01852
            rngs=rngs,
        )
        self.norm = BatchNorm(width)

    def __call__(self, x: Float[Array, "B Y X C"], *, train: bool) -> Float[Array, "B Y X C"]:
        return self.norm(self.conv(x), train=train)


class BasicBlock(nnx.Module):
    """Two 3 x 3 convolutions and a shortcut; the first convolution takes the stride."""

    def __init__(self, width_in: int, width: int, stride: int, rngs: nnx.Rngs):
        self.first = ConvNorm(width_in, width, 3, stride, rngs)
        self.second = ConvNorm(width, width, 3, 1, rngs)
        self.projects = width_in != width or stride != 1
        if self.projects:
            self.shortcut = ConvNorm(width_in, width, 1, stride, rngs)

    def __call__(self, x: Float[Array, "B Y X C"], *, train: bool) -> Float[Array, "B Y X C"]:
        y = self.second(jax.nn.relu(self.first(x, train=train)), train=train)
        return jax.nn.relu(y + (self.shortcut(x, train=train) if self.projects else x))


@dataclass(frozen=True)
class ResNetConfig:
    """A residual network's hyper-parameters. Raises ValueError where widths and depths are not of the same stages.

    large_stem: a 7 x 7 convolution of stride 2 and a 3 x 3 maximum of stride 2, for photographs (section 3.3), rather
    than a 3 x 3 convolution, for small images (section 4.2).
    """

    stem_width: int  # channels
    widths: tuple[int, ...]  # channels of each stage
    depths: tuple[int, ...]  # blocks of each stage
    large_stem: bool = False

    def __post_init__(self):
        if len(self.widths) != len(self.depths) or min(self.depths, default=0) < 1:
            raise ValueError(
                f"each stage needs a width and at least one block, got widths={self.widths}, depths={self.depths}"
            )


class ResNet(ImageClassifier):
    """For images of any size. interface: of images; its features are their channels, its outputs the classes."""

    def __init__(self, config: ResNetConfig, *, interface: Interface, rngs: nnx.Rngs):
        channels, classes = interface.of_images()
        self.large_stem = config.large_stem
        kernel, stride = (7, 2) if self.large_stem else (3, 1)
        self.stem = ConvNorm(channels, config.stem_width, kernel, stride, rngs)
        # Not stacked and scanned as other models' blocks are: their shapes differ, and they update their statistics.
        self.blocks = nnx.List([])
        before = config.stem_width
        for stage, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            for number in range(depth):
                stride = 2 if number == 0 and stage > 0 else 1
                self.blocks.append(BasicBlock(before, width, stride, rngs))
                before = width
        # Small, so that all classes are about equally likely at first (Goyal et al., arXiv:1706.02677, section 5.1).
        self.head = Linear(before, classes, kernel_init=nnx.initializers.normal(0.01), rngs=rngs)

    def __call__(self, images, *, train=False):
        x = jax.nn.relu(self.stem(images.astype(self.head.kernel.dtype), train=train))
        if self.large_stem:
            x = nnx.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), strides=(2, 2))  # of x >= 0
        for block in self.blocks:
            x = block(x, train=train)
        return self.head(x.mean((1, 2)))


def build(*, size: Size, interface: Interface, method: str, rngs: nnx.Rngs) -> ResNet:
    """Three stages of w, 2 w and 4 w channels (section 4.2), of half as many blocks each as the size has layers.

    w brings the forward pass to the FLOPs of the same size's ViT, at 32 x 32 pixels: there a convolution of any stage
    takes 2 x 9 w^2 x 1,024, and all of them as much as 6 n - 1 such ones (the stages' first read half the channels).
    """
    n = max(1, size.n_layers // 2)
    w = max(1, round(math.sqrt(vit_flops(size) / (2 * 9 * 32 * 32 * (6 * n - 1)))))
    return ResNet(ResNetConfig(w, widths=(w, 2 * w, 4 * w), depths=(n, n, n)), interface=interface, rngs=rngs)


def vit_flops(size: Size) -> int:
    """Of ViT's blocks on the 64 patches of 32 x 32 pixels and the class token: 2 a parameter, 4 D a pair of tokens."""
    tokens = (32 // 4) ** 2 + 1
    return size.n_layers * (2 * tokens * size.layer_params + 4 * tokens**2 * size.d_model)
