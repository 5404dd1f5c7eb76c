"""The operator alone: it is the block's own call, with the gradient of a weighted sum; its counts, by hand."""

import importlib
import inspect
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lengthscale.bench.device import correctness, operator_alone, worker
from lengthscale.bench.device.flops import flops_of
from lengthscale.bench.device.learner import make_learner
from lengthscale.bench.device.measures.operator import make_program
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.plan.workloads import DEFAULT_DATA
from lengthscale.bench.results.messages import Checked
from lengthscale.models import spec_of
from lengthscale.models.ops.attention import attention_reference
from tests.helpers.hand_counts import SCORE, seen
from tests.helpers.platforms import needs_kernels

CALLS = {
    "rnn": "rnn",
    "lstm": "lstm",
    "gru": "gru",
    "gru-plain": "gru",
    "transformer": "attention",
    "transformer++": "attention",
    "transformer-window": "attention",
    "s4d:rule=bilinear": "s4d",
    "mamba": "gated_selective_scan",
    "mamba:rule=zoh": "gated_selective_scan",
    "rwkv4": "wkv",
}
PLAIN = {"gru-plain": "gru"}  # the module that calls the operator, where it is not the model's own


def cell(model, length=24, dtype="float32", method="auto"):
    data = DEFAULT_DATA[spec_of(model).kind]
    return Cell("operator", model, "tiny", method, length, 2, dtype, 0, data, 0)


def flops_at(model, length):
    program = make_program(cell(model, length), Settings())
    counted = flops_of(program.step.trace(*program.abstract_args).jaxpr)
    assert counted
    return counted


def columns_of(model, length=64, dtype="float32"):
    program = make_program(cell(model, length, dtype), Settings())
    return program.columns(program.step.trace(*program.abstract_args).out_info)


def recorded(monkeypatch, module, name, trace):
    """The arguments of the first call of this function of a module while tracing; of arrays, shapes and dtypes."""
    function, calls = getattr(module, name), []

    def record(*args, **kwargs):
        given = inspect.signature(function).bind(*args, **kwargs)
        given.apply_defaults()
        calls.append(jax.tree.map(lambda x: (x.shape, x.dtype) if isinstance(x, jax.Array) else x, given.arguments))
        return function(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(module, name, record)
        trace()
    return calls[0]


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", CALLS)
def test_it_is_the_call_that_the_model_makes_when_it_is_trained(model, dtype, monkeypatch):
    mine = cell(model, dtype=dtype)
    workload = make_workload(mine)
    learner = make_learner(mine, workload)

    def of_model():
        arrays = jax.eval_shape(learner.make_cast, jax.random.key(0))
        jax.eval_shape(
            lambda arrays, *batch: workload.loss(learner.model(*arrays), *batch), arrays, *workload.example()
        )

    def alone():
        program = make_program(mine, Settings())
        program.step.trace(*program.abstract_args)

    module = importlib.import_module(spec_of(PLAIN.get(model, model)).module)
    module = module if hasattr(module, CALLS[model]) else importlib.import_module("lengthscale.models.transformer")
    expected = recorded(monkeypatch, module, CALLS[model], of_model)
    assert recorded(monkeypatch, operator_alone, CALLS[model], alone) == expected


def test_a_step_gives_the_outputs_and_the_gradient_of_their_weighted_sum():
    program = make_program(cell("transformer++", 7), Settings())
    operands, weights = program.make_args()
    assert all((jnp.abs(x) > 0).all() for x in (*operands, weights))

    def weighted(operands):
        outputs = attention_reference(*operands)
        return (weights * outputs).sum(), outputs

    gradient, outputs = jax.grad(weighted, has_aux=True)(operands)
    found = program.step(operands, weights)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5), found, (outputs, gradient))


@pytest.mark.parametrize(
    ("model", "method", "length"),
    [
        ("transformer", "auto", 37),
        pytest.param("transformer++", "blocked", 601, marks=pytest.mark.slow),
        pytest.param("mamba", "auto", 131, marks=pytest.mark.slow),
        pytest.param("rwkv4", "associative", 131, marks=pytest.mark.slow),
        pytest.param("s4d", "convolution", 131, marks=pytest.mark.slow),
        pytest.param("lstm", "auto", 131, marks=pytest.mark.slow),
        pytest.param("gru", "auto", 131, marks=pytest.mark.slow),
    ],
)
def test_the_check_compares_its_outputs_and_gradients_with_those_of_the_plain_form(model, method, length):
    done = correctness.check(cell(model, length, method=method), lambda stage: None)  # pyright: ignore[reportArgumentType]
    assert done.status == "ok", done.message
    assert isinstance(done.content, Checked)
    assert done.content.reference == spec_of(model).methods[0]
    assert done.content.worst is not None
    assert 0 < done.content.worst < 1e-4


@needs_kernels
def test_attention_s_flops_are_those_of_its_equation():
    """Of each pair that the mask allows: q . k and p v, then again q . k, dy . v, dv, dk and dq."""
    B, H, K = 2, 2, 16
    for length in (32, 64):
        pairs = B * H * len(seen(length))
        forward = pairs * (4 * K + SCORE) + 2 * B * length * H * K  # q scaled, y divided
        backward = pairs * (10 * K + 4) + 4 * B * length * H * K  # s - lse, exp, dp - delta, its product; delta, scales
        assert flops_at("transformer", length) == forward + backward


@needs_kernels
def test_flops_are_quadratic_in_attention_and_linear_in_the_others():
    """f(2L) - 2 f(L) of a + b L + c L^2 has no b. The lengths are whole chunks of every form."""
    one, two, four = (flops_at("transformer", length) for length in (256, 512, 1024))
    assert four - 2 * two == 4 * (two - 2 * one) > 0
    for model in ("rnn", "lstm", "gru", "mamba", "rwkv4"):
        one, two, three = (flops_at(model, length) for length in (256, 512, 768))
        assert three - two == two - one
        assert two / one == pytest.approx(2, rel=1e-3)


def test_operand_bytes_are_those_of_arguments_and_results_each_once():
    B, T, D, E, N = 2, 64, 32, 64, 16
    queries = B * T * D  # numbers; of transformer++ at this size two query heads share a key head
    assert columns_of("transformer")["operand_bytes"] == 4 * (2 * 3 + 2) * queries  # q, k, v twice; weights, outputs
    assert columns_of("transformer++")["operand_bytes"] == 4 * (2 * (1 + 1 / 2 + 1 / 2) + 2) * queries
    assert columns_of("transformer", dtype="bfloat16")["operand_bytes"] == 2 * (2 * 3 + 2) * queries
    tokens = 2 * (3 * E + 2 * N) + 2 * E  # u, delta, z, B, C twice; weights, outputs
    parameters, state = E * N + 2 * E, E * N  # A, D and the bias of delta; the first state
    assert columns_of("mamba")["operand_bytes"] == 4 * (B * T * tokens + 2 * parameters + 2 * B * state)
    gates = 2 * 3 * D + 2 * D  # of each token: what the gates get twice; weights, outputs
    parameters = 3 * D * D + 3 * D + D  # W, b, the second bias
    assert columns_of("gru")["operand_bytes"] == 4 * (B * T * gates + 2 * parameters + 2 * B * D)


@needs_kernels
@pytest.mark.parametrize("length", [1024, 65_536])
def test_the_row_says_which_algorithm_has_run_and_it_is_the_same_at_all_lengths(length):
    assert columns_of("transformer", length)["calls"] == "attention_forward attention_backward"
    assert columns_of("mamba", length)["calls"] == "gated_selective_scan_forward gated_selective_scan_backward"
    assert columns_of("rwkv4", length)["calls"] == "none"


@pytest.mark.parametrize("model", ["vit", "resnet", "seq2seq-lstm", "transformer-encdec"])
def test_a_model_without_one_operator_over_positions_is_unsupported(model):
    done = worker.run("measure", replace(cell(model, 64), batch=1), Settings(), lambda stage: None)
    assert done.status == "unsupported"
    assert done.message == f"{model} has no operator over positions that can be measured alone"
