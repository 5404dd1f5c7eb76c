"""A million tokens are evaluated in the memory of a chunk."""

import os
import subprocess
import sys

import pytest

from tests.helpers.paths import environment

EVALUATE = """
import jax, numpy as np
from lengthscale.bench.device import evaluation, learner, memory
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.data import Stream
from lengthscale.bench.data.synthetic import Batch
from lengthscale.bench.device.workloads.text import Workload
from lengthscale.models import streaming

LENGTH, PREFIX, TAIL = 1_048_576, 10_000, 16_384  # the prefix ends in the third chunk
memory.reset_peak()
start = memory.process_peak_bytes()
cell = Cell("quality", "mamba", "tiny", "auto", LENGTH, 1, "float32", 0, "random", 0)
tokens = np.random.default_rng(0).integers(0, 256, LENGTH + 1, np.uint8)
made = learner.make_learner(cell, Workload(cell, Stream("random", tokens, 256, "")))
params, statistics = jax.jit(made.make)(jax.random.key(0))
noise = np.random.default_rng(1)  # large parameters, or a state that was lost would not be noticed
params = jax.tree.map(lambda x: x + 0.3 * noise.normal(size=x.shape).astype(np.float32), params)
model = learner.TrainedModel(made, params, statistics)
inputs, targets = tokens[None, :-1].astype(np.int32), tokens[None, 1:].astype(np.int32)
at = np.arange(LENGTH)
weights = ((at < PREFIX) & (at % evaluation.CHUNK < 8) | (at == LENGTH - 1))[None].astype(np.float32)
loss, accuracy = evaluation.score(model.call, Batch(inputs, targets, weights))
print(memory.process_peak_bytes() - start)

def whole(model, inputs, targets, weights):
    outputs, _ = model(inputs)
    error, right = streaming.cross_entropy(outputs, targets), outputs.argmax(-1) == targets
    return (error * weights).sum(), (right * weights).sum()

# The beginning at once; and the end from a state that is empty TAIL tokens before, of which Mamba's slowest parts keep
# about exp(-0.001 TAIL).
parts = (np.s_[:, :PREFIX], np.s_[:, -TAIL:])
error, right = sum(np.array(model.call(whole, inputs[part], targets[part], weights[part])) for part in parts)
print(loss[0], accuracy[0], error / weights.sum(), right / weights.sum())
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux's /proc")
def test_a_million_tokens_of_mamba_in_under_1_gib():
    as_a_run_compiles = {name: value for name, value in environment().items() if name != "XLA_FLAGS"}
    result = subprocess.run(
        [sys.executable, "-c", EVALUATE],
        env=as_a_run_compiles,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert result.returncode == 0, result.stderr
    peak, values = result.stdout.splitlines()
    assert 2 * 2**20 < int(peak) < 2**30
    loss, accuracy, direct_loss, direct_accuracy = map(float, values.split())
    assert loss == pytest.approx(direct_loss, rel=1e-5)
    assert accuracy == pytest.approx(direct_accuracy)
