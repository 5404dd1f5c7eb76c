"""Image classifiers: patches and positions, batch normalisation, matched compute, learning."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from lengthscale.bench.device.flops import flops_of
from lengthscale.models import MODELS, SIZES, Interface, build
from lengthscale.models.budget import count_params
from lengthscale.models.resnet import BatchNorm, ResNetConfig
from lengthscale.models.vit import split_patches
from tests.helpers.compare import assert_close
from tests.helpers.platforms import missing_kernels

TOLERANCE = 1e-5  # float32: a few hundred roundings of numbers near 1
IMAGES = partial(Interface, features=3, outputs=5)
NAMES = [name for name, spec in MODELS.items() if spec.kind == "images"]


def split(name, side=16, **others) -> tuple[Any, Any, Any]:
    """(graph, parameters, statistics) of a tiny classifier of 5 classes, made in one program."""

    def make():
        return build(name, size="tiny", interface=IMAGES(side=side), rngs=nnx.Rngs(0), **others)

    graph, _ = nnx.split(nnx.eval_shape(make))
    return graph, *jax.jit(lambda: nnx.split(make(), nnx.Param, ...)[1:])()


def rough(params):
    """Parameters pushed away from the small numbers of initialisation."""
    noise = np.random.default_rng(1)
    return jax.tree.map(lambda x: x + 0.1 * noise.normal(size=x.shape).astype(np.float32), params)


def some_images(batch=2, side=16, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(batch, side, side, 3)), jnp.float32)


def test_patches_go_row_by_row_and_so_do_their_pixels():
    images = jnp.arange(2 * 4 * 6 * 2).reshape(2, 4, 6, 2)
    expected = [
        [image[y : y + 2, x : x + 2].reshape(-1) for y in (0, 2) for x in (0, 2, 4)] for image in np.asarray(images)
    ]
    np.testing.assert_array_equal(split_patches(images, 2), expected)


def test_vit_tells_patches_apart_by_their_positions_alone():
    graph, params, _ = split("vit")
    params = rough(params)
    images = some_images()
    swapped = jnp.concatenate([images[:, 4:8], images[:, :4], images[:, 8:]], axis=1)  # two rows of patches
    call = jax.jit(lambda params, images: nnx.merge(graph, params)(images))
    nowhere = params | {"positions": jax.tree.map(jnp.zeros_like, params["positions"])}
    assert_close(call(nowhere, swapped), call(nowhere, images), TOLERANCE)
    assert np.max(np.abs(call(params, swapped) - call(params, images))) > 0.01


@pytest.mark.slow
def test_vits_methods_agree_over_several_blocks_of_patches():
    params, images = rough(split("vit", 96)[1]), some_images(1, 96)  # 577 tokens

    def outputs(method):
        graph = split("vit", 96, method=method)[0]
        return jax.jit(lambda params, x: nnx.merge(graph, params)(x))(params, images)

    others = [
        name for name in MODELS["vit"].methods if name != "reference" and (name != "native" or not missing_kernels())
    ]
    assert "blocked" in others
    for method in others:
        assert_close(outputs(method), outputs("reference"), TOLERANCE)


def test_vits_memory_is_linear_up_to_65536_patches():
    def temporaries(side):
        graph, params, _ = nnx.split(
            nnx.eval_shape(lambda: build("vit", size="tiny", interface=IMAGES(side=side), rngs=nnx.Rngs(0))),
            nnx.Param,
            ...,
        )
        images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        compiled = jax.jit(lambda p, x: nnx.merge(graph, p)(x)).lower(params, images).compile()
        memory = compiled.memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    assert temporaries(1024) < 4.5 * temporaries(512) < 2**29


@pytest.mark.parametrize("size", [size for size in SIZES if size not in ("130m", "370m")])
def test_vits_blocks_match_in_parameters_and_resnet_in_flops(size):
    models = {}
    for name in NAMES:
        make = partial(build, name, size=size, interface=Interface(side=32, features=3, outputs=10))
        models[name] = nnx.eval_shape(lambda make=make: make(rngs=nnx.Rngs(0)))

    def flops(name):
        graph, state = nnx.split(models[name])
        images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
        return flops_of(jax.make_jaxpr(lambda state, x: nnx.merge(graph, state)(x))(state, images))

    assert count_params(models["vit"].blocks) == pytest.approx(
        SIZES[size].n_layers * SIZES[size].layer_params, rel=0.02
    )
    assert flops("resnet") == pytest.approx(flops("vit"), rel=0.15)


def test_batch_norm_is_torchs():
    """Biased variance in the output, unbiased in the running one (torch.nn.BatchNorm2d, momentum 0.1)."""
    x = np.random.default_rng(0).normal(3, 2, (2, 3, 4, 5)).astype(np.float32)
    norm = BatchNorm(5)
    norm.scale[...], norm.bias[...] = jnp.arange(5.0), jnp.ones(5)
    norm.mean[...], norm.var[...] = jnp.full(5, 0.5), jnp.full(5, 4.0)
    expected = (x - 0.5) / np.sqrt(4 + 1e-5) * np.arange(5) + 1
    assert_close(norm(jnp.asarray(x), train=False), expected, TOLERANCE)
    assert float(norm.mean[0]) == 0.5
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    expected = (x - mean) / np.sqrt(var + 1e-5) * np.arange(5) + 1
    assert_close(norm(jnp.asarray(x), train=True), expected, TOLERANCE)
    assert_close(norm.mean[...], 0.9 * 0.5 + 0.1 * mean, TOLERANCE)
    assert_close(norm.var[...], 0.9 * 4 + 0.1 * var * 24 / 23, TOLERANCE)


def test_batch_norm_has_its_statistics_in_float32():
    x = 100 + jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 1)), jnp.bfloat16)
    norm = BatchNorm(1)
    y = norm(x, train=True)
    assert y.dtype == jnp.bfloat16
    assert norm.var.dtype == jnp.float32
    exact = np.asarray(x, np.float64)
    assert_close(np.asarray(y, np.float64), (exact - exact.mean()) / exact.std(), 0.01)  # 8 bits of mantissa
    assert_close(norm.mean[...], 0.1 * exact.mean(keepdims=True)[0, 0, 0], TOLERANCE)


def test_resnet_in_evaluation_takes_each_image_for_itself():
    graph, params, statistics = split("resnet")
    images = some_images(3)

    @partial(jax.jit, static_argnums=2)
    def call(images, statistics, train):
        model: Any = nnx.merge(graph, rough(params), statistics)
        return model(images, train=train), nnx.state(model, nnx.BatchStat)

    logits, after = call(images, statistics, False)
    jax.tree.map(np.testing.assert_array_equal, after, statistics)
    assert_close(call(images[:1], statistics, False)[0], logits[:1], TOLERANCE)
    in_training, moved = call(images, statistics, True)
    assert np.max(np.abs(in_training - logits)) > 0.01
    for before, value in zip(jax.tree.leaves(statistics), jax.tree.leaves(moved), strict=True):
        assert np.all(np.asarray(before) != value)
    for _ in range(100):
        _, moved = call(images, moved, True)
    assert_close(call(images, moved, False)[0], in_training, 0.05)  # up to n / (n - 1) in the variance


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_a_batch_through_every_parameter(name):
    graph, params, statistics = split(name, 8)
    images, labels = some_images(8, 8), jnp.arange(8) % 5
    optimizer = optax.adam(3e-3)

    def loss(params, statistics):
        model: Any = nnx.merge(graph, params, statistics, copy=True)
        logits = model(images, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), nnx.state(model, nnx.BatchStat)

    @jax.jit
    def train(params, statistics):
        def step(carry, _):
            params, statistics, state = carry
            (value, statistics), gradient = jax.value_and_grad(loss, has_aux=True)(params, statistics)
            updates, state = optimizer.update(gradient, state)
            felt = jax.tree.map(jnp.any, gradient)
            return (optax.apply_updates(params, updates), statistics, state), (value, felt)

        return jax.lax.scan(step, (params, statistics, optimizer.init(params)), length=40)[1]

    values, felt = train(params, statistics)
    assert values[0] > 1.2
    assert values[-1] < 0.5
    for path, leaf in jax.tree_util.tree_leaves_with_path(felt):
        assert np.any(leaf), path


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_stays_near_float32(name):
    graph, params, statistics = split(name)

    @partial(jax.jit, static_argnums=0)
    def call(dtype):
        model: Any = nnx.merge(graph, jax.tree.map(lambda x: x.astype(dtype), params), statistics)
        return model(some_images())

    logits = call("bfloat16")
    assert logits.dtype == jnp.bfloat16
    assert_close(logits.astype(jnp.float32), call("float32"), 0.05)  # 8 bits of mantissa


def test_bad_arguments_are_refused():
    def make(name, **others) -> Any:
        return lambda: build(name, size="tiny", interface=IMAGES(**others), rngs=nnx.Rngs(0))

    for wrong, message in (
        (make("vit", side=18), r"patch=4, image=\(18, 18\)"),
        (make("vit"), r"patch=4, image=\(0, 0\)"),
        (make("vit", side=16, features=0), "features=0, outputs=5"),
        (make("resnet", outputs=None), "features=3, outputs=None"),
        (lambda: ResNetConfig(4, widths=(4, 8), depths=(1,)), "depths="),
    ):
        with pytest.raises(ValueError, match=message):
            nnx.eval_shape(wrong)
    graph, params, statistics = split("vit")
    with pytest.raises(ValueError, match=r"\(16, 16, 3\), got \(20, 20, 3\)"):
        nnx.merge(graph, params, statistics)(some_images(side=20))
    with pytest.raises(ValueError, match=r"2 values a channel or more to train, got shape \(1, 1, 1, 4\)"):
        BatchNorm(4)(jnp.ones((1, 1, 1, 4)), train=True)
