"""The frontier of real models at `tiny`: what was found fits by the compiler's own plan, and the next size does not."""

from dataclasses import replace

import jax
import pytest

from lengthscale.bench.device import correctness, shapes
from lengthscale.bench.device.measures import frontier
from lengthscale.bench.device.memory_limit import memory_limit
from lengthscale.bench.device.program import Compiled, compile_program
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Measured

LIMIT = 40 * 2**20
SETTINGS = Settings(mem_limit_bytes=LIMIT)


def cell(model="rnn", length=1024, **changes):
    return replace(Cell("frontier", model, "tiny", "auto", length, 1, "float32", 0, "text", 0), **changes)


def run(cell, settings=SETTINGS):
    """(its rows by their modes, its message)."""
    done = frontier.run(cell, settings, [].append)
    assert done.status == "ok"
    assert isinstance(done.content, Measured)
    return {row.mode: row for row in done.content.rows}, done.message


@pytest.fixture
def prefill_only(monkeypatch):
    monkeypatch.setattr(frontier, "MODES", {"forward": shapes.MODES["forward"]})


@pytest.fixture
def known(prefill_only, monkeypatch):
    """Plans of known memory, a million bytes and 100 for each token, whose steps take a nanosecond for each FLOP."""

    def compile_program(program, notify):
        tokens = program.inputs[0].size
        results = jax.eval_shape(program.step, *program.abstract_args)
        columns = {"flops": 1000 * tokens, "mem_planned_bytes": 10**6 + 100 * tokens, **program.columns(results)}
        return Compiled(program, None, columns, None)

    monkeypatch.setattr(frontier, "compile_program", compile_program)
    monkeypatch.setattr(frontier, "step_seconds", lambda compiled, calls: compiled.columns["flops"] / 1e9)
    return replace(SETTINGS, mem_limit_bytes=10**8)


def planned(mode, cell, length, batch):
    return compile_program(shapes.program_at(mode, cell, length, batch), [].append).planned_bytes


def test_a_known_frontier(known):
    """99 million bytes for 990,000 tokens: 966 times 1,024, and 966 sequences of 1,024."""
    rows, message = run(cell(), known)
    row = rows["forward"]
    assert message == ""
    assert (row.longest_tokens, row.longest_how, row.too_long_tokens) == (966 * 1024, "confirmed", 967 * 1024)
    assert (row.largest_batch, row.largest_batch_how, row.too_large_batch) == (966, "confirmed", 967)
    assert row.mem_planned_bytes == row.batch_planned_bytes == 10**6 + 100 * 966 * 1024
    assert row.memory_limit_bytes == 10**8
    assert row.longest_tokens_per_s == row.batch_tokens_per_s == pytest.approx(10**6)  # 1,000 FLOPs a token
    eight, _ = run(cell(batch=8, length=2048), known)
    assert (eight["forward"].longest_tokens, eight["forward"].largest_batch) == (120 * 1024, 483)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["transformer", "mamba"])
def test_prefill(model, prefill_only):
    rows, message = run(cell(model))
    row = rows["forward"]
    assert message == ""
    assert (row.longest_how, row.largest_batch_how, row.memory_limit_bytes) == ("confirmed", "confirmed", LIMIT)
    assert row.too_long_tokens == row.longest_tokens + 1024
    assert row.too_large_batch == row.largest_batch + 1
    assert planned("forward", cell(model), row.longest_tokens, 1) == row.mem_planned_bytes <= LIMIT
    assert planned("forward", cell(model), row.too_long_tokens, 1) > LIMIT
    assert planned("forward", cell(model), 1024, row.largest_batch) == row.batch_planned_bytes <= LIMIT
    assert planned("forward", cell(model), 1024, row.too_large_batch) > LIMIT


@pytest.mark.slow
def test_every_mode_of_a_recurrent_model():
    rows, _ = run(cell())
    assert list(rows) == ["forward", "train", "decode"]
    assert {row.n_params for row in rows.values()} == {48_096}
    assert rows["train"].number("longest_tokens") < rows["forward"].number("longest_tokens")
    assert rows["decode"].longest_how == "not limited by memory"
    assert rows["decode"].longest_tokens is None
    assert rows["decode"].mem_planned_bytes < 2**20
    assert rows["decode"].largest_batch > 1000


@pytest.mark.slow
def test_a_model_in_chunks_is_not_limited_by_memory(prefill_only):
    rows, _ = run(cell(length=8192, chunk=4096))
    row = rows["forward"]
    assert (row.longest_how, row.longest_tokens, row.too_long_tokens) == ("not limited by memory", None, None)
    assert row.too_large_batch == row.largest_batch + 1


@pytest.mark.slow
def test_images_have_square_lengths(prefill_only):
    rows, _ = run(cell("vit", length=64, data="digits"), replace(SETTINGS, mem_limit_bytes=2**23))
    row = rows["forward"]
    side = round(row.longest_tokens**0.5)
    assert (side % 8, side**2, (side + 8) ** 2) == (0, row.longest_tokens, row.too_long_tokens)


def test_plans_are_those_of_the_compiler(prefill_only):
    """Nothing fits, so that two plans are all."""
    rows, _ = run(cell(), replace(SETTINGS, mem_limit_bytes=1000))
    row = rows["forward"]
    assert (row.longest_how, row.longest_tokens, row.too_long_tokens) == ("does not fit", None, 1024)
    assert (row.largest_batch_how, row.largest_batch, row.too_large_batch) == ("does not fit", None, 1)


def test_what_would_take_too_long_is_planned_and_not_run(known):
    """A step of 966 k tokens takes 0.99 s."""
    assert run(cell(), replace(known, max_seconds=1))[0]["forward"].longest_how == "confirmed"
    assert run(cell(), replace(known, max_seconds=0.9))[0]["forward"].longest_how == "planned"
    assert run(cell(), replace(known, timeout_s=1.5))[0]["forward"].longest_how == "planned"


def test_what_is_larger_than_the_free_memory_is_planned_and_not_run(known, monkeypatch):
    """A limit over this machine's memory asks what another one could do."""
    monkeypatch.setattr(frontier.memory, "free_bytes", lambda: 10**7)
    row = run(cell(), known)[0]["forward"]
    assert (row.longest_tokens, row.longest_how, row.largest_batch_how) == (966 * 1024, "planned", "planned")


def test_out_of_memory_in_a_confirmation_is_an_outcome(known, monkeypatch):
    def step_seconds(compiled, calls):
        if compiled.planned_bytes > 5e7:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return 1e-3

    monkeypatch.setattr(frontier, "step_seconds", step_seconds)
    rows, message = run(cell(), known)
    row = rows["forward"]
    assert (row.longest_tokens, row.longest_how, row.largest_batch_how) == (966 * 1024, "planned", "planned")
    ran_out = "it was planned to fit, and ran out of memory"
    assert message == f"forward, longest sequence: {ran_out}; forward, largest batch: {ran_out}"


def test_another_error_of_a_confirmation_is_raised(known, monkeypatch):
    def step_seconds(compiled, calls):
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")

    monkeypatch.setattr(frontier, "step_seconds", step_seconds)
    with pytest.raises(jax.errors.JaxRuntimeError, match="a bug"):
        run(cell(), known)


def test_what_the_compiler_refuses_for_its_memory_does_not_fit(known, monkeypatch):
    before = frontier.compile_program

    def compile_program(program, notify):
        if program.inputs[0].size > 100_000:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Used 90G of 80G hbm")
        return before(program, notify)

    monkeypatch.setattr(frontier, "compile_program", compile_program)
    row = run(cell(), known)[0]["forward"]
    assert (row.longest_tokens, row.too_long_tokens) == (97 * 1024, 98 * 1024)


def test_a_backend_that_plans_no_memory_is_unsupported(known, monkeypatch):
    empty = {"flops": 1, "mem_planned_bytes": None}
    monkeypatch.setattr(frontier, "compile_program", lambda program, notify: Compiled(program, None, empty, None))
    with pytest.raises(NotImplementedError, match="forward: the cpu backend does not plan memory"):
        run(cell(), known)


def test_a_deadline_leaves_blanks(known):
    """After its end no plan begins."""
    row = run(cell(), replace(known, timeout_s=0))[0]["forward"]
    assert (row.longest_how, row.longest_tokens, row.too_long_tokens) == ("deadline", None, None)
    assert (row.largest_batch_how, row.largest_batch) == ("deadline", None)


def test_a_mode_that_a_model_does_not_have_is_left_out_with_its_reason(known, monkeypatch):
    pictures = cell("vit", length=64, data="digits")
    monkeypatch.setattr(frontier, "MODES", {mode: shapes.MODES[mode] for mode in ("forward", "decode")})
    rows, message = run(pictures, replace(known, mem_limit_bytes=2 * 10**6))
    assert (list(rows), message) == (["forward"], "decode: vit does not decode: it classifies a whole image")
    monkeypatch.setattr(frontier, "MODES", {"decode": shapes.MODES["decode"]})
    with pytest.raises(NotImplementedError, match="decode: vit does not decode"):
        run(pictures, known)


def test_inputs_have_the_shapes_of_the_cell_and_take_the_memory_of_one_sequence():
    """Of data that are shorter: `text` has 1,115,394 tokens."""
    program = shapes.program_at("train", cell(), 2**21, 1000)
    assert [(x.shape, x.strides[0]) for x in program.inputs] == [((1000, 2**21), 0)] * 2
    inputs, targets = (x[0] for x in program.inputs)
    assert (inputs[1:1000] == targets[:999]).all()
    assert (inputs[1_115_394:1_115_494] == inputs[:100]).all()
    (token,) = shapes.program_at("decode", cell(), 2**21, 8).inputs
    assert token.shape == (8, 1)


@pytest.mark.parametrize(
    ("given", "first", "last"),
    [
        (cell(), 1024, 2**24),
        (cell(chunk=4096), 4096, 2**24),
        (cell("vit", data="digits"), 64, 2**24),
        (cell("lstm", data="digits", chunk=4096), 4096, 2**24),
        (cell(data="adding"), 1024, 2**24),
    ],
)
def test_the_lengths_that_are_searched(given, first, last):
    ladder = shapes.lengths_of(given)
    assert (ladder.size(1), ladder.size(ladder.last)) == (first, last)


def test_the_limit_is_what_the_user_gives_or_a_share_of_what_is_free(monkeypatch):
    monkeypatch.setattr(frontier.memory, "free_bytes", lambda: 1000)
    assert memory_limit(Settings(mem_limit_bytes=77)) == (77, "--mem-limit")
    assert memory_limit(Settings()) == (800, "80% of the free memory")


def test_the_program_of_a_dry_run_is_a_training_step():
    given = cell(length=32)
    program = frontier.make_program(given, SETTINGS)
    assert (program.tokens, program.inputs[0].shape) == (32, (1, 32))


@pytest.mark.slow
def test_the_method_is_checked_by_its_gradients():
    assert correctness.check(cell(length=32), [].append).status == "ok"
