"""Attention by cuDNN and Splash: Splash interpreted, cuDNN's arguments, and which is chosen when."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask
from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import process_mask

from lengthscale.bench.device.flops import flops_of
from lengthscale.models.ops import native
from lengthscale.models.ops.attention import Mask, attention, attention_reference, dispatch, kernels
from lengthscale.models.ops.platform import lowering_for, platform
from tests.helpers.compare import assert_close
from tests.helpers.platforms import needs_cpu
from tests.models.ops.test_ops import normal

TOLERANCE = 5e-6  # float32: sums of up to 300 terms


def queries_and_keys(length, n_keys, heads, kv_heads, size=16):
    shapes = (length, heads), (n_keys, kv_heads), (n_keys, kv_heads)
    return tuple(normal(seed, 2, *shape, size, dtype="float32") for seed, shape in enumerate(shapes))


def value_and_gradients(function, args):
    weights = normal(9, *args[0].shape, dtype="float32")
    return jax.jit(jax.value_and_grad(lambda *args: (function(*args) * weights).sum(), argnums=(0, 1, 2)))(*args)


CASES = [
    (200, 200, 4, 2, True, None),  # grouped queries, and two blocks of which the second is padded
    (300, 300, 2, 2, True, 40),  # blocks that hold nothing
    (200, 256, 2, 1, False, None),
]


@pytest.mark.parametrize("method", [pytest.param("splash", marks=needs_cpu), "cudnn"])
@pytest.mark.parametrize(("length", "n_keys", "heads", "kv_heads", "causal", "window"), CASES)
def test_kernels_equal_the_equation(method, length, n_keys, heads, kv_heads, causal, window):
    args = queries_and_keys(length, n_keys, heads, kv_heads)

    mask = Mask(causal, window)

    def kernel(q, k, v):
        if method == "splash":
            return attention(q, k, v, mask, method="splash")
        return kernels.cudnn(q, k, v, mask, implementation="xla")  # cuDNN's call, run by XLA

    def equation(q, k, v):
        return attention_reference(q, k, v, mask)

    assert_close(value_and_gradients(kernel, args), value_and_gradients(equation, args), TOLERANCE)


@pytest.mark.parametrize(
    ("length", "n_keys", "causal", "window"),
    [(37, 37, True, None), (37, 37, True, 5), (37, 51, False, None), (36, 51, False, None)],
)
def test_odd_lengths_are_padded_by_what_no_query_sees(length, n_keys, causal, window):
    """cuDNN's gradient is for even lengths only: the call that it gets has no other."""
    args, mask = queries_and_keys(length, n_keys, 2, 1), Mask(causal, window)

    def kernel(q, k, v):
        return kernels.cudnn(q, k, v, mask, implementation="xla")

    def equation(q, k, v):
        return attention_reference(q, k, v, mask)

    assert_close(value_and_gradients(kernel, args), value_and_gradients(equation, args), TOLERANCE)


@pytest.mark.parametrize("causal", [True, False])
def test_a_training_step_at_an_odd_length_is_cudnns(causal, monkeypatch):
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91_000)
    q = jax.ShapeDtypeStruct((1, 37, 2, 64), "bfloat16")

    def pulled_back(q, k, v):
        y, pull_back = jax.vjp(lambda q, k, v: kernels.cudnn(q, k, v, Mask(causal)), q, k, v)
        return pull_back(y)

    with lowering_for("cuda"):
        traced = jax.jit(pulled_back).trace(q, q, q)
    assert (flops_of(traced.jaxpr) or 0) > 0
    assert "__cudnn$fmhaSoftmaxBackward" in traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("window", [None, 100, 1300])
def test_the_blocks_that_splash_is_told_of_are_those_that_it_would_find(window):
    lengths, blocks = (1024, 1024), (128, 256)
    ours = kernels._Band(lengths, window)
    theirs = splash_attention_mask.LocalMask(lengths, ours.window_size, 0)
    found, expected = (process_mask(splash_attention_mask.MultiHeadMask([mask]), blocks)[0] for mask in (ours, theirs))
    jax.tree.map(np.testing.assert_array_equal, tuple(found), tuple(expected))


def chosen(target, length=256, *, n_keys=None, dtype="float32", size=64, causal=True, window=None, key_mask=None):
    q = jax.ShapeDtypeStruct((2, length, 4, size), dtype)
    k = jax.ShapeDtypeStruct((2, n_keys or length, 2, size), dtype)
    with lowering_for(target):
        return dispatch.fitting(q, k, Mask(causal, window), key_mask)


KEY_MASK = jax.ShapeDtypeStruct((2, 256), bool)


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("splash", {}),
        ("splash", {"dtype": "bfloat16"}),
        ("blocked", {"dtype": "float16"}),
        ("splash", {"size": 256}),
        ("splash", {"window": 100}),
        ("blocked", {"length": 127}),
        ("splash", {"length": 2**18}),
        ("blocked", {"length": 2**18 + 1}),
        ("splash", {"causal": False}),
        ("splash", {"length": 300, "n_keys": 256, "causal": False}),
        ("blocked", {"length": 257, "causal": False}),
        ("blocked", {"window": 100, "causal": False}),
        ("blocked", {"key_mask": KEY_MASK}),
    ],
)
def test_what_is_chosen_for_a_tpu(method, arguments):
    assert chosen("tpu", **arguments) == method


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("cudnn", {"dtype": "bfloat16"}),
        ("cudnn", {"dtype": "float16"}),
        ("pallas", {"dtype": "float32"}),
        ("pallas", {"dtype": "float32", "length": 7, "size": 128, "window": 100}),
        ("pallas", {"dtype": "float32", "causal": False, "n_keys": 99}),
        ("pallas", {"dtype": "float32", "key_mask": KEY_MASK}),
        ("blocked", {"dtype": "float32", "size": 24}),
        ("blocked", {"dtype": "float32", "size": 256}),
        ("cudnn", {"dtype": "bfloat16", "length": 7}),
        ("cudnn", {"dtype": "bfloat16", "window": 100}),
        ("cudnn", {"dtype": "bfloat16", "causal": False, "n_keys": 99}),
        ("pallas", {"dtype": "bfloat16", "window": 100, "causal": False}),
        ("blocked", {"dtype": "bfloat16", "size": 136}),
        ("blocked", {"dtype": "bfloat16", "size": 12}),
        ("pallas", {"dtype": "bfloat16", "key_mask": KEY_MASK}),
    ],
)
def test_what_is_chosen_for_cuda(method, arguments, monkeypatch):
    without_cudnn = "pallas" if method == "cudnn" and kernels.reason_against_cudnn() else method
    assert chosen("cuda", **arguments) == without_cudnn
    monkeypatch.setattr(dispatch, "reason_against_cudnn", lambda: None)
    assert chosen("cuda", **arguments) == method


@pytest.mark.parametrize(("causal", "window"), [(True, None), (True, 40), (False, None)])
def test_jax_takes_the_call_for_cudnn(causal, window, monkeypatch):
    """As far as it can be shown without a GPU: jax is told that there is a cuDNN, checks the call, and lowers it."""
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91_000)
    monkeypatch.setattr(dispatch, "reason_against_cudnn", lambda: None)
    args = tuple(jax.ShapeDtypeStruct((2, 300, heads, 64), "bfloat16") for heads in (4, 2, 2))

    def total(q, k, v):
        return attention(q, k, v, Mask(causal, window)).astype("float32").sum()

    with lowering_for("cuda"):
        gradient = jax.jit(jax.grad(total, argnums=(0, 1, 2))).trace(*args)
    shapes = [x.shape for x in args[:2]]
    masks = {"causal": causal, "window": window or 0}
    both = sum(native.flops(f"attention_{way}", *shapes, **masks) for way in ("forward", "backward"))
    assert flops_of(gradient.jaxpr) == both  # by the equation, since nobody can look into it
    text = gradient.lower(lowering_platforms=("cuda",)).as_text()
    assert "__cudnn$fmhaSoftmax" in text
    assert "__cudnn$fmhaSoftmaxBackward" in text
    assert f'sliding_window_length": {window or 0}' in text.replace("\\22", '"')
    assert f'mask_type": "{"CAUSAL" if causal else "NO_MASK"}"' in text.replace("\\22", '"')


def test_on_a_cpu_it_is_ours_where_it_is_available():
    assert chosen("cpu") == ("blocked" if native.missing() else "native")
    assert chosen("cpu", dtype="bfloat16") == "blocked"


@needs_cpu
def test_what_does_not_fit_is_refused():
    q, k, v = queries_and_keys(16, 16, 2, 2)
    with pytest.raises(ValueError, match="method splash does not fit: it is for 128 to 262144 tokens, got 16 queries"):
        attention(q, k, v, method="splash")
    with pytest.raises(ValueError, match="method splash does not fit: it takes no key_mask"):
        attention(q, k, v, key_mask=jnp.ones((2, 16), bool), method="splash")
    with lowering_for("cuda"), pytest.raises(ValueError, match=r"it is a TPU's .* not for cuda"):
        attention(q, k, v, method="splash")
    with lowering_for("tpu"), pytest.raises(ValueError, match="method cudnn does not fit: it is CUDA's, not for tpu"):
        attention(q, k, v, method="cudnn")
    if kernels.reason_against_cudnn():
        with lowering_for("cuda"), pytest.raises(ValueError, match="jax says: cuDNN is not detected"):
            attention(q, k, v, method="cudnn")


def test_a_function_is_traced_anew_for_each_platform():
    traced = []
    function = jax.jit(lambda x: traced.append(platform()) or x)
    for target in ("tpu", "cuda", "tpu"):
        with lowering_for(target):
            function.trace(jnp.ones(1))
    function.trace(jnp.ones(1))
    assert traced == ["tpu", "cuda", platform()]


def test_an_unknown_platform_is_refused():
    with pytest.raises(ValueError, match="unknown platform 'gpu'; expected cpu, cuda, tpu"):
        lowering_for("gpu")
