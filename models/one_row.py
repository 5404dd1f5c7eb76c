"""A model laid out to decode one sequence on CUDA: the same function, in fewer kernels that read each matrix once.

There XLA computes x W of one row x as a sum of products. Along the rows of W^T it is one kernel that reads the matrix
once; along the columns of W XLA writes all products to memory first, of most shapes. So matrices are stored transposed:
those that a module names in `read_by_columns`.

A block's norm is three kernels of XLA for one row. It is computed with the products that read it (ops/row_product.py),
where nothing else does: those of the `Linear`s that a module names in `reads_input_by`.
"""

from collections.abc import Callable
from typing import TypeVar

from flax import nnx
from jax import Array
from jaxtyping import Float

from lengthscale.models.backbone import Block
from lengthscale.models.layers import MLP, LayerNorm, Linear, RMSNorm
from lengthscale.models.ops.platform import platform
from lengthscale.models.ops.row_product import ACTIVATIONS, RowNorm, reason_against_row_product, row_product

Module = TypeVar("Module", bound=nnx.Module)


def laid_out_for_one_row(model: Module) -> Module:
    """The same model with its matrices stored transposed, and norms computed with the products behind them."""
    model = nnx.clone(model)
    for _, module in nnx.iter_modules(model):
        for name in getattr(module, "read_by_columns", ()):
            setattr(module, name, Transposed(getattr(module, name)[...].swapaxes(-1, -2)))
    for _, block in list(nnx.iter_modules(model)):
        if isinstance(block, Block):
            block.norm = _joined(block.norm, block.mixer)
            if block.has_mlp:
                block.mlp_norm = _joined(block.mlp_norm, block.mlp)
    return model


class Transposed(nnx.Param):
    """A parameter whose last two axes are stored the other way round; its value has them in the usual order."""

    def get_value(self, **kwargs):
        return super().get_value(**kwargs).swapaxes(-1, -2)


class NormedLinear(nnx.Module):
    """f(W norm(x) + b), as one kernel for one row on CUDA. activation: f, if it is not the identity."""

    def __init__(self, norm: LayerNorm | RMSNorm, linear: Linear, activation: Callable[[Array], Array] | None = None):
        self.norm, self.linear, self.activation = norm, linear, activation

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T E"]:
        if platform() == "cuda" and reason_against_row_product(x) is None:
            w, bias = self.linear.kernel[...].T, self.linear.bias  # W^T as it is stored
            scale, shift = self.norm.scale, getattr(self.norm, "bias", None)
            assert scale is not None
            norm = RowNorm(scale[...], None if shift is None else shift[...], self.norm.epsilon)
            y = row_product(x.reshape(-1), w, None if bias is None else bias[...], norm, self.activation)
            return y.reshape(*x.shape[:-1], -1)
        y = self.linear(self.norm(x))
        return y if self.activation is None else self.activation(y)


class Identity(nnx.Module):
    """x: in the place of a norm that is computed elsewhere."""

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        return x


def _joined(norm: Callable, reader: nnx.Module) -> Callable:
    """What is left of a norm when the products of its reader compute it; the norm itself where they cannot."""
    names = getattr(reader, "reads_input_by", ())
    if not names or not isinstance(norm, LayerNorm | RMSNorm):
        return norm
    activation = None
    if isinstance(reader, MLP) and reader.activation in ACTIVATIONS:
        activation, reader.activation = reader.activation, lambda x: x
    for name in names:
        setattr(reader, name, NormedLinear(norm, getattr(reader, name), activation))
    return Identity()
