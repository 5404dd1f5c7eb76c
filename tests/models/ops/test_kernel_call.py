"""Where jax has no Triton backend any more, CUDA's programs take the forms in JAX."""

import jax
import jax.numpy as jnp
import pytest

from lengthscale.models.ops import kernel_call
from lengthscale.models.ops.attention import Cache, attention, attention_with_cache
from lengthscale.models.ops.causal_conv import causal_conv1d
from lengthscale.models.ops.gated import rnn
from lengthscale.models.ops.kernel_call import power_of_two, power_of_two_within
from lengthscale.models.ops.platform import lowering_for
from lengthscale.models.ops.selective_scan import Inputs, selective_scan
from lengthscale.models.ops.wkv import Decay, wkv

WIDE, NARROW, ROW = jnp.zeros((1, 40, 16)), jnp.zeros((1, 40, 4)), jnp.zeros(16)
ONE, STACKED = jnp.zeros((1, 1, 2, 16)), jnp.zeros((1, 1, 2, 40, 16))
QUERIES = jnp.zeros((1, 40, 2, 16))
OPS = {
    "attention": lambda method: attention(QUERIES, QUERIES, QUERIES, method=method),
    "rnn": lambda method: rnn(WIDE, jnp.zeros((16, 16)), jnp.zeros((1, 16)), method=method),
    "selective scan": lambda method: selective_scan(
        Inputs(WIDE, WIDE, NARROW, NARROW), -jnp.ones((16, 4)), method=method
    ),
    "wkv": lambda method: wkv(Decay(-ROW, ROW), WIDE, WIDE, method=method),
    "causal convolution": lambda method: causal_conv1d(
        WIDE, jnp.zeros((4, 16)), ROW, jnp.zeros((1, 3, 16)), method=method
    ),
    "attention to a cache": lambda method: attention_with_cache(ONE, ONE, ONE, Cache(STACKED, STACKED, 0, 3)),
}


@pytest.mark.parametrize("op", OPS)
def test_auto_needs_no_triton(op, monkeypatch):
    with lowering_for("cuda"):
        assert "pallas_call" in str(jax.make_jaxpr(lambda: OPS[op]("auto"))())
        monkeypatch.setattr(kernel_call, "_has_triton", lambda: False)
        assert "pallas_call" not in str(jax.make_jaxpr(lambda: OPS[op]("auto"))())


@pytest.mark.parametrize("op", ["attention", "rnn", "selective scan", "wkv", "causal convolution"])
def test_a_kernel_that_is_asked_for_says_what_is_missing(op, monkeypatch):
    monkeypatch.setattr(kernel_call, "_has_triton", lambda: False)
    with lowering_for("cuda"), pytest.raises(ValueError, match="this jax has no Triton backend for Pallas"):
        OPS[op]("pallas")


def test_powers_of_two():
    assert [power_of_two(n) for n in (1, 2, 3, 4, 5, 1024, 1025)] == [1, 2, 4, 4, 8, 1024, 2048]
    assert [power_of_two_within(n) for n in (0, 1, 2, 3, 4, 1023, 1024)] == [0, 1, 2, 2, 4, 512, 1024]
