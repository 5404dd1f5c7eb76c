"""Generation: the tokens are those of a plain loop, the times those of a known clock, and the memory adds up."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from lengthscale.bench.device import memory, timing
from lengthscale.bench.device.compilation import LITTLE_EFFORT
from lengthscale.bench.device.learner import change, make_learner
from lengthscale.bench.device.measures import decode, generate
from lengthscale.bench.device.program import Compiled, Program, compile_program
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.measures import MEASURES
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Measured

CELL = Cell("generate", "gru", "tiny", "auto", 20, 2, "float32", 0, "text", 0)
SETTINGS = Settings(new_tokens=4, min_seconds=0.0)


def disturbed(params):
    """The parameters with noisy matrices. As they are made, models with a tied head repeat the last token."""
    rng = np.random.default_rng(1)
    for name in ("kernel", "embedding"):
        params = change(params, name, lambda x: x + 0.6 * rng.standard_normal(x.shape, np.float32))
    return params


def of_plain_loop(cell, params, new_tokens):
    """Greedy tokens, each the arg max after the whole sequence so far was read again; (B, new_tokens)."""
    workload = make_workload(cell)
    learner = make_learner(cell, workload)
    (tokens,) = workload.prompt()
    source = getattr(workload, "source", 0)

    def read(params, tokens):
        model = learner.model(params, {})
        if source:  # an encoder-decoder: what follows the source is the target
            return model.teach(tokens[:, :source], tokens[:, source:])[:, -1]
        return model(tokens)[0][:, -1]

    for _ in range(new_tokens):
        lowered = jax.jit(read).lower(params, tokens)
        logits = np.asarray(lowered.compile(compiler_options=LITTLE_EFFORT)(params, tokens))
        tokens = np.concatenate([tokens, logits.argmax(1)[:, None].astype(tokens.dtype)], axis=1)
    return tokens[:, -new_tokens:]


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("transformer", {}),
        *(
            pytest.param(model, changes, marks=pytest.mark.slow)
            for model, changes in (
                ("gru", {}),
                ("mamba", {}),
                ("rwkv4", {}),
                ("s4d", {}),
                ("transformer++", {}),
                ("transformer-window", {"length": 80}),
                ("lstm-plain", {}),
                ("seq2seq-lstm", {}),
                ("transformer-encdec", {}),
                ("mamba", {"chunk": 5}),
            )
        ),
    ],
)
def test_the_tokens_are_those_of_a_plain_loop(model, changes):
    cell = replace(CELL, model=model, **changes)
    first, rest = generate.make_programs(cell, SETTINGS)
    params, statistics, *prompt = first.make_args()
    params = disturbed(params)
    token, state = first.step(params, statistics, *prompt)
    tokens, after = rest.step(params, statistics, token, state)
    found = np.concatenate([token[None], tokens])[..., 0].T
    assert len(np.unique(found)) >= 3
    np.testing.assert_array_equal(found, of_plain_loop(cell, params, SETTINGS.new_tokens))
    target = cell.length // 2 if model in ("seq2seq-lstm", "transformer-encdec") else cell.length
    assert int(after.position) == target + SETTINGS.new_tokens - 1
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.layers))  # donated: no copy of a long cache


@pytest.mark.slow
def test_a_dry_run_plans_both_programs_as_one():
    first, rest = generate.make_programs(CELL, SETTINGS)
    params, statistics, *prompt = first.make_args()
    params = disturbed(params)
    token, state = first.step(params, statistics, *prompt)
    tokens, _ = rest.step(params, statistics, token, state)
    whole, _ = generate.make_program(CELL, SETTINGS).step(params, statistics, *prompt)
    np.testing.assert_array_equal(whole, np.concatenate([token[None], tokens]))


class Clock:
    """A clock that only the programs move."""

    def __init__(self):
        self.now = 0.0
        self.calls = 0

    def taking(self, compiled: Compiled, seconds: float) -> Compiled:
        """The program, each of whose calls takes so many seconds; those before the samples take a minute."""

        def call(*args):
            self.calls += 1
            self.now += 60 if self.calls <= 2 else seconds
            return compiled.call(*args)

        return replace(compiled, call=call)


@pytest.fixture(scope="module")
def row():
    """The row of CELL where the first program takes 0.5 s and the other one 2 s."""
    clock, seconds, stages = Clock(), iter((0.5, 2.0)), []
    real = timing.time
    fake = SimpleNamespace(perf_counter=lambda: clock.now, get_clock_info=real.get_clock_info)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "load_or_compile", lambda *args: clock.taking(compile_program(*args), next(seconds)))
        patch.setattr(timing, "time", fake)
        done = generate.run(CELL, SETTINGS, stages.append)  # pyright: ignore[reportArgumentType]
    assert stages == ["compile", "compile", "allocate", "sample"]
    assert isinstance(done.content, Measured)
    [row] = done.content.rows
    return row


def test_a_sample_is_one_call_of_each_program(row):
    assert (row.ttft_ms, row.tpot_ms, row.time_median_ms) == pytest.approx((500, 2000 / 3, 2500))
    assert row.n_samples == SETTINGS.samples(2.5)
    assert row.new_tokens == 4
    assert row.tokens_per_s == pytest.approx(2 * 4 / 2.5)  # the prompt's tokens do not count
    assert set(row.columns()) - {"n_params", "flags"} <= set(MEASURES["generate"].columns)
    first, rest = generate.make_programs(CELL, SETTINGS)
    one = decode.make_program(replace(CELL, measure="decode"), SETTINGS)
    assert row.flops == sum(_columns(program)["flops"] for program in (first, rest))
    assert _columns(rest)["flops"] == 3 * _columns(one)["flops"]  # a step of `rest` is one of `decode`


def _columns(program: Program) -> dict:
    return compile_program(program, lambda stage: None).columns  # pyright: ignore[reportArgumentType]


def test_memory_is_weights_state_and_activations(row):
    assert row.weights_bytes == 4 * row.n_params
    assert row.state_bytes == 4 + 2 * 2 * 4 * 32  # the position; 2 layers, 2 sequences of 32 numbers
    assert row.weights_bytes + row.state_bytes + row.activation_bytes == row.mem_planned_bytes
    assert row.activation_bytes > 0


@pytest.mark.parametrize("model", ["transformer", "transformer-encdec"])
def test_a_cache_has_room_for_the_new_tokens(model):
    cell = replace(CELL, model=model)

    def state_bytes(new_tokens):
        return _columns(generate.make_programs(cell, Settings(new_tokens=new_tokens))[0])["state_bytes"]

    sizes = [state_bytes(new_tokens) for new_tokens in (2, 3, 12)]
    assert sizes[2] - sizes[0] == 10 * (sizes[1] - sizes[0]) > 0
    if model == "transformer":
        longer = decode.make_program(replace(cell, measure="decode", length=22), SETTINGS)
        assert sizes[0] == _columns(longer)["state_bytes"]


def test_what_the_two_programs_cost_together():
    def compiled(planned, flops, moved):
        columns = {"trace_s": 1.0, "lower_s": 2.0, "compile_s": 4.0, "flops": flops, "mem_planned_bytes": planned}
        return Compiled(SimpleNamespace(tokens=1), None, columns, moved)  # pyright: ignore[reportArgumentType]

    both = generate.joined(compiled(100, 7, 50), compiled(300, 8, 60))
    assert both.columns == {"trace_s": 2, "lower_s": 4, "compile_s": 8, "flops": 15, "mem_planned_bytes": 300}
    assert both.moved_bytes == 110
    unknown = generate.joined(compiled(None, 7, None), compiled(300, None, 60))
    assert (unknown.columns["flops"], unknown.planned_bytes, unknown.moved_bytes) == (None, None, None)
    row = {"new_tokens": 3, "mem_planned_bytes": None, "weights_bytes": 1, "state_bytes": 1}
    assert generate.split_of(row, [1.0, 3.0, 2.0], [0.4, 0.2, 0.3]) == {
        "ttft_ms": 2000,
        "tpot_ms": pytest.approx(150),
        "activation_bytes": None,
    }


def test_what_does_not_decode_does_not_generate():
    cell = replace(CELL, model="vit", data="mnist", length=16)
    with pytest.raises(NotImplementedError, match="vit does not decode: it classifies a whole image"):
        _columns(generate.make_programs(cell, SETTINGS)[0])


@pytest.mark.slow
def test_a_model_of_real_features_goes_on_with_its_first_output():
    cell = replace(CELL, data="mnist", length=16)
    first, rest = generate.make_programs(cell, SETTINGS)
    args = first.make_args()
    inputs, state = first.step(*args)
    assert inputs.shape == (2, 1, 1)
    assert memory.tree_bytes(state) == _columns(first)["state_bytes"]
    learner = make_learner(cell, make_workload(cell))
    step = jax.jit(lambda inputs, state: learner.model(*args[:2])(inputs, state))
    expected = []
    for _ in range(SETTINGS.new_tokens - 1):
        outputs, state = step(inputs, state)
        inputs = np.tanh(outputs[..., :1])
        expected.append(inputs)
    found, _ = rest.step(*args[:2], *first.step(*args))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
