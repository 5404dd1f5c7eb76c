"""ViT and ResNet, from transformers' layout (B, C, Y, X) to ours (B, Y, X, C)."""

import ast

import jax
import jax.numpy as jnp
from flax import nnx

from lengthscale.models import Interface
from lengthscale.models.checkpoints import assemble
from lengthscale.models.huggingface.tables import Config
from lengthscale.models.resnet import ResNet, ResNetConfig
from lengthscale.models.weights import with_weights
from tests.helpers.adapters.common import norm


def vit(inputs, weights, meta):
    """ViTForImageClassification."""
    config = {
        "model_type": "vit",
        "image_size": ast.literal_eval(meta["image_size"]),
        "patch_size": int(meta["patch_size"]),
        "num_channels": inputs["pixel_values"].shape[1],
        "hidden_size": weights["classifier.weight"].shape[1],
        "num_labels": weights["classifier.weight"].shape[0],
        "num_hidden_layers": meta["layers"],
        "num_attention_heads": int(meta["num_attention_heads"]),
        "intermediate_size": int(meta["intermediate_size"]),
        "layer_norm_eps": meta["ln_eps"],
    }
    model = assemble(Config(config), weights)
    embeddings = model.embed(_channels_last(inputs["pixel_values"]))
    hidden = model.mix(embeddings)
    logits = model.logits(hidden)
    return {
        "embeddings": embeddings,
        "last_hidden_before_ln": hidden,
        "logits": logits,
        "ce_loss": _cross_entropy(logits, inputs["labels"]),
    }


def resnet_cnn(inputs, weights, meta):
    """ResNetForImageClassification of basic layers, in evaluation and then in training."""
    classes = weights["classifier.1.weight"].shape[0]

    def make():
        widths, depths = tuple(meta["hidden_sizes"]), tuple(meta["depths"])
        config = ResNetConfig(meta["embedding_size"], widths, depths, large_stem=True)
        interface = Interface(features=inputs["pixel_values"].shape[1], outputs=classes)
        return ResNet(config, interface=interface, rngs=nnx.Rngs(0))

    buffers = {key.removeprefix("buf:"): value for key, value in inputs.items() if key.startswith("buf:")}
    ours = _resnet_weights(weights | buffers, meta["depths"])
    images, model = _channels_last(inputs["pixel_values"]), with_weights(make, ours)
    in_training = model(images, train=True)
    return {
        "logits_eval": _evaluated_before(model, with_weights(make, ours))(images),
        "logits_train": in_training,
        "ce_loss_train": _cross_entropy(in_training, inputs["labels"]),
        "first_running_mean_after": model.stem.norm.mean[...],
        "first_running_var_after": model.stem.norm.var[...],
    }


def _evaluated_before(trained, model):
    """The model, whose gradients read the running statistics of `trained`, as the fixture's do.

    Its script evaluated, then trained, then went backwards through both. torch's backward pass of an evaluation reads
    the running statistics where they lie, and training had moved them by then, in place and unnoticed by autograd.
    """
    for mine, moved in zip(_conv_norms(model), _conv_norms(trained), strict=True):
        mine.norm = _MovedNorm(mine.norm, moved.norm)
    return model


class _MovedNorm(nnx.Module):
    """The value of `norm`, the gradient of `moved`."""

    def __init__(self, norm, moved):
        self.norm, self.moved = norm, moved

    def __call__(self, x, *, train):
        y = self.moved(x, train=train)
        return y + jax.lax.stop_gradient(self.norm(x, train=train) - y)


def _conv_norms(model):
    yield model.stem
    for block in model.blocks:
        yield from (block.first, block.second)
        if block.projects:
            yield block.shortcut


def _resnet_weights(weights, depths):
    """ResNetForImageClassification's weights and buffers under the names of models.resnet.ResNet."""

    def conv_norm(theirs, ours):
        normalisation = f"{theirs}.normalization"
        return norm(weights, normalisation, f"{ours}.norm") | {
            f"{ours}.conv.kernel": weights[f"{theirs}.convolution.weight"].transpose(2, 3, 1, 0),
            f"{ours}.norm.mean": weights[f"{normalisation}.running_mean"],
            f"{ours}.norm.var": weights[f"{normalisation}.running_var"],
        }

    ours = conv_norm("resnet.embedder.embedder", "stem") | _linear(weights, "classifier.1", "head")
    layers = [f"resnet.encoder.stages.{stage}.layers.{number}" for stage, n in enumerate(depths) for number in range(n)]
    for number, layer in enumerate(layers):
        ours |= conv_norm(f"{layer}.layer.0", f"blocks.{number}.first")
        ours |= conv_norm(f"{layer}.layer.1", f"blocks.{number}.second")
        if f"{layer}.shortcut.convolution.weight" in weights:
            ours |= conv_norm(f"{layer}.shortcut", f"blocks.{number}.shortcut")
    return ours


def _linear(weights, theirs, ours):
    return {f"{ours}.kernel": weights[f"{theirs}.weight"].T, f"{ours}.bias": weights[f"{theirs}.bias"]}


def _channels_last(images):
    return images.transpose(0, 2, 3, 1)


def _cross_entropy(logits, labels):
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=-1).mean()


ADAPTERS = {
    "vit": {"": vit},
    "resnet_cnn": {"": resnet_cnn},
}
