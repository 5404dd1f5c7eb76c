"""Mamba's mixer: u and z as two products, which CUDA has, against one. The contract is tested in test_models.py."""

import jax
import pytest
from flax import nnx

from lengthscale.models import mamba
from lengthscale.models.mamba import Mamba, MambaConfig
from lengthscale.models.ops.platform import lowering_for
from tests.helpers.compare import assert_close
from tests.models.ops.test_ops import normal

WIDTH, LENGTH = 32, 9


def outputs_and_gradients(length):
    """A function of the mixer's parameters and inputs, and those."""
    graph, parameters = nnx.split(Mamba(MambaConfig(WIDTH, 1), rngs=nnx.Rngs(0)))
    dy = normal(1, 2, length, WIDTH, dtype="float32")

    def run(parameters, x):
        y, pull = jax.vjp(lambda *args: nnx.merge(graph, args[0])(args[1], None, 0)[0], parameters, x)
        return y, pull(dy)

    return run, (parameters, normal(2, 2, length, WIDTH, dtype="float32"))


def test_two_products_equal_one(monkeypatch):
    run, args = outputs_and_gradients(LENGTH)
    expected = jax.jit(run)(*args)
    monkeypatch.setattr(mamba, "by_platform", lambda best, otherwise: best["cuda"])
    two, args = outputs_and_gradients(LENGTH)
    assert_close(jax.jit(two)(*args), expected, 2e-6)


@pytest.mark.parametrize(("target", "length", "joined"), [("cuda", 9, False), ("cuda", 1, True), ("cpu", 9, True)])
def test_where_u_and_z_are_one_product(target, length, joined):
    run, args = outputs_and_gradients(length)
    with lowering_for(target):
        program = jax.make_jaxpr(run)(*args)
    width = 4 * WIDTH  # of u and z together
    assert (f"f32[2,{length},{width}]" in str(program)) == joined
