"""Every golden fixture that has an adapter: outputs and gradients against implementations that nobody here wrote.

GOLDEN_DIR names another folder of fixtures; see tests/golden/README.md for their form.
"""

import itertools
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.adapters import ADAPTERS
from tests.helpers.paths import ROOT

OURS = "GOLDEN_DIR" not in os.environ
FOLDER = Path(os.environ.get("GOLDEN_DIR", ROOT / "tests" / "golden"))
PATHS = sorted(FOLDER.glob("*.npz"))
assert PATHS, f"no fixtures in {FOLDER}"
# Our float32 sums run in another order than the oracle's; its own float32 error is the yardstick.
MULTIPLE = 10
EPS32 = float(np.finfo(np.float32).eps)


def cases():
    """Each fixture in each variant of its adapter. float64 shows the equation, float32 the arithmetic.

    In float32, only those of our fixtures with extreme inputs are fast tests: there the arithmetic decides. Of another
    folder, all are.
    """
    for path in PATHS:
        with np.load(path) as content:
            family = json.loads(str(content["meta"]))["fixture"]
        for variant, dtype in itertools.product(ADAPTERS.get(family, {None: None}), ("float32", "float64")):
            plain = dtype == "float32" and family in ADAPTERS and "extreme" not in family
            slow = OURS and (plain or variant == "pallas")  # those are interpreted; tests of the ops compare them, too
            name = "-".join(filter(None, (path.stem, variant, dtype)))
            yield pytest.param(path, variant, dtype, id=name, marks=pytest.mark.slow if slow else ())


@pytest.mark.parametrize(("path", "variant", "dtype"), list(cases()))
def test_golden(path, variant, dtype):
    with np.load(path) as content:
        arrays = {key: content[key] for key in content.files if key != "meta"}
        meta = json.loads(str(content["meta"]))
    if meta["fixture"] not in ADAPTERS:
        pytest.skip(f"no adapter for the family {meta['fixture']!r}")
    adapter = ADAPTERS[meta["fixture"]][variant]
    with jax.enable_x64(dtype == "float64"):
        check(adapter, arrays, meta, dtype)


def check(adapter, arrays, meta, dtype):
    def part(prefix):
        return {
            key.removeprefix(prefix): jnp.asarray(value, dtype if value.dtype.kind == "f" else None)
            for key, value in arrays.items()
            if key.startswith(prefix)
        }

    inputs, weights, cotangents = part("in/"), part("w/"), part("ct/")
    integers = {key: value for key, value in inputs.items() if value.dtype.kind not in "fc"}
    inputs = {key: value for key, value in inputs.items() if key not in integers}

    def loss(inputs, weights):
        outputs = adapter(inputs | integers, weights, meta)
        return sum(((outputs[key] * ct).sum() for key, ct in cotangents.items()), jnp.zeros(())), outputs

    (_, outputs), (g_in, g_w) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(inputs, weights)
    for key, value in outputs.items():
        name = key.removesuffix("[1:]")
        if f"out/{name}" not in arrays:
            continue  # another fixture of the family may hold fewer
        expected = arrays[f"out/{name}"]
        expected = expected[..., 1:] if key != name else expected
        compare(f"out/{name}", value, expected, meta, dtype)
    missing = {key for key in arrays if key.startswith("out/")} - {f"out/{key.removesuffix('[1:]')}" for key in outputs}
    assert not missing - LEFT_OUT.get(meta["fixture"], set()), missing
    for kind, gradients in (("g/in/", g_in), ("g/w/", g_w)):
        for key, value in gradients.items():
            if kind + key in arrays:
                compare(kind + key, value, arrays[kind + key], meta, dtype)


# Outputs that are another's layout or rounding of one that is compared.
LEFT_OUT = {"sinusoid": {"out/concat_sin_cos", "out/interleaved_sin_cos"}}


def compare(name, actual, expected, meta, dtype):
    actual = np.asarray(actual)
    assert actual.shape == expected.shape, f"{name}: shape {actual.shape}, expected {expected.shape}"
    scale = 1 + np.max(np.abs(expected), initial=0)
    if dtype == "float64":  # some gradients are stored in float32
        bound = 1e-9 * scale if expected.dtype == np.float64 else 2 * EPS32 * scale
    else:
        yardsticks = meta.get("f32_vs_f64", {})
        group = next((g for g in (name, "g/in/*", "g/w/*") if g in yardsticks and name.startswith(g.rstrip("*"))), None)
        bound = MULTIPLE * max(yardsticks[group][0] if group else 0, EPS32 * scale)
    error = np.max(np.abs(actual - expected), initial=0)
    assert error <= bound, f"{name}: off by {error:.3g}, allowed {bound:.3g} ({dtype})"
