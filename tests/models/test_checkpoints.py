"""Checkpoints of transformers: our logits against theirs, and what the harness makes of a folder."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from lengthscale.bench.__main__ import main
from lengthscale.bench.device.learner import make_learner
from lengthscale.bench.device.workloads import make_workload
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.results.codec import read_journal
from lengthscale.models.checkpoints import load
from tests.helpers.small_checkpoints import LANGUAGE, MAMBA, NEEDED, VOCAB, make_with_transformers, mamba_tensors, write


def both_logits(theirs, ours, inputs) -> tuple[np.ndarray, np.ndarray]:
    import torch

    with torch.no_grad():
        expected = theirs(torch.from_numpy(inputs)).logits.numpy()
    if inputs.ndim == 4:
        return jax.jit(lambda x: ours(x))(inputs.transpose(0, 2, 3, 1)), expected
    return jax.jit(lambda x: ours(x)[0])(inputs), expected


def some_inputs(model_type: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if model_type == "vit":
        return rng.normal(size=(2, 3, 32, 32)).astype(np.float32)
    return rng.integers(0, VOCAB, (2, 23))


@pytest.mark.parametrize("model_type", [*LANGUAGE, "vit"])
def test_logits_are_those_of_transformers(model_type, tmp_path):
    theirs = make_with_transformers(model_type)
    theirs.save_pretrained(tmp_path)
    actual, expected = both_logits(theirs, load(tmp_path), some_inputs(model_type))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "mamba"])
def test_other_choices_of_a_tied_head(model_type):
    for tied in (True, False):
        theirs = make_with_transformers(model_type, tie_word_embeddings=tied)
        ours = load(theirs.state_dict(), theirs.config)
        actual, expected = both_logits(theirs, ours, some_inputs(model_type))
        np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


def test_several_files_and_bfloat16(tmp_path):
    torch = pytest.importorskip("torch", reason=f"torch is {NEEDED}")
    theirs = make_with_transformers("llama").to(torch.bfloat16)
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    actual, expected = both_logits(theirs.float(), load(tmp_path), some_inputs("llama"))
    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


def test_images_that_are_not_square():
    theirs = make_with_transformers("vit", image_size=(16, 40))
    images = np.random.default_rng(0).normal(size=(2, 3, 16, 40)).astype(np.float32)
    actual, expected = both_logits(theirs, load(theirs.state_dict(), theirs.config), images)
    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


def test_a_body_without_a_head(tmp_path):
    theirs = make_with_transformers("gpt2")
    theirs.transformer.save_pretrained(tmp_path)  # its names lack "transformer.", as those of the released GPT-2 do
    assert "wte.weight" in load_file(next(tmp_path.glob("*.safetensors")))
    actual, expected = both_logits(theirs, load(tmp_path), some_inputs("gpt2"))
    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


def test_weights_reach_their_places(tmp_path):
    tensors = mamba_tensors()
    model = load(write(tmp_path))
    same = load(tensors, MAMBA)
    for loaded in (model, same):
        np.testing.assert_array_equal(loaded.embedding[...], tensors["backbone.embeddings.weight"])
        kernel = tensors["backbone.layers.1.mixer.in_proj.weight"].T
        np.testing.assert_array_equal(loaded.blocks.mixer.in_proj.kernel[1], kernel)


def run(*arguments) -> int:
    return main(["run", "--suite", "quick", "--replicates", "1", *map(str, arguments)])


@pytest.mark.slow
def test_the_command_line_measures_a_checkpoint(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "lengthscale.bench.figures.mpl.plot_folder", lambda run: []
    )  # pictures take longer than the run
    folder, out = tmp_path / "tiny-mamba", tmp_path / "out"
    folder.mkdir()
    write(folder)
    assert run("--checkpoint", folder, "--lengths", "64", "--out", out) == 0
    records = {record.cell.measure: record for record in read_journal(out / "journal.jsonl")}
    for measure in ("forward", "train", "decode"):
        assert records[measure].status == "ok", records[measure].message
        assert records[measure].cell.model == "mamba"
        assert records[measure].cell.size == str(folder)
        assert records[measure].row.n_params == sum(x.size for x in mamba_tensors().values())
    assert records["quality"].status == "unsupported"
    assert "has its own tokens" in records["quality"].message
    assert str(folder) in json.loads((out / "suite.json").read_text())["data_versions"]
    assert "mamba tiny-mamba" in capsys.readouterr().out


def test_the_harness_runs_the_checkpoints_own_weights(tmp_path):
    write(tmp_path)
    cell = Cell("forward", "mamba", str(tmp_path), "auto", 16, 1, "float32", 0, "text", 0)
    workload = make_workload(cell)
    learner = make_learner(cell, workload)
    tokens = workload.prompt()[0]
    assert tokens.max() < MAMBA["vocab_size"]
    actual = jax.jit(lambda key: learner.model(*learner.make_cast(key))(tokens)[0])(jax.random.key(0))
    expected = jax.jit(lambda tokens: load(tmp_path)(tokens)[0])(tokens)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)  # two programs: their sums may differ in order


def test_the_command_line_refuses_a_wrong_checkpoint(tmp_path, capsys):
    folder, out = tmp_path / "wrong", tmp_path / "out"
    folder.mkdir()
    tensors = mamba_tensors()
    tensors["backbone.layers.0.mixer.A_log"] = np.ones((16, 5), np.float32)
    write(folder, tensors=tensors)
    assert run("--checkpoint", folder, "--models", "gru", "--out", out) == 2
    errors = capsys.readouterr().err
    assert "'backbone.layers.0.mixer.A_log' has shape (16, 5), expected (16, 4)" in errors
    assert "--checkpoint chooses model and size: leave out --models gru" in errors
    assert not out.exists()


@pytest.mark.parametrize("model_type", ["gpt2", "vit"])
def test_lengths_that_a_checkpoint_does_not_have(tmp_path, model_type, capsys):
    make_with_transformers(model_type).save_pretrained(tmp_path / "it")
    assert run("--checkpoint", tmp_path / "it", "--list") == 0
    own = 40 if model_type == "gpt2" else 16
    assert f"length={own} " in capsys.readouterr().out
    longer = ["--lengths", "64", "--measures", "forward", "--out", tmp_path / "out"]
    assert run("--checkpoint", tmp_path / "it", *longer) == 0
    (record,) = read_journal(tmp_path / "out" / "journal.jsonl")
    assert record.status == "unsupported"
    assert f"has {own} " in record.message
