"""Checkpoints of transformers: our logits against theirs, and what is wrong with a folder said by name."""

import json
import os
import struct
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bench.__main__ import main
from bench.cell import Cell
from bench.journal import read_journal
from bench.learner import make_learner
from bench.workloads import make_workload
from models import checkpoints
from models.checkpoints import CheckpointError, inspect, load

VOCAB = 99
# model_type -> (transformers' class, the sizes of a small one)
LANGUAGE = {
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40}),
    "llama": (
        "Llama",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
        },
    ),
    "mistral": (
        "Mistral",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": 48,
            "head_dim": 16,
            "sliding_window": 8,
        },
    ),
    # More layers than the 6 after which transformers halves the residual stream, lest float16 overflow.
    "rwkv": ("Rwkv", {"hidden_size": 32, "num_hidden_layers": 8, "intermediate_size": 80}),
    "mamba": ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}),
}
NEEDED = "not installed: pip install -e '.[checkpoints]'"


def make_with_transformers(model_type: str, **changes):
    """A small model of transformers with random weights, none of them 0 or 1."""
    torch = pytest.importorskip("torch", reason=f"torch is {NEEDED}")
    transformers = pytest.importorskip("transformers", reason=f"transformers is {NEEDED}")
    torch.manual_seed(0)
    if model_type == "vit":
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
        config = transformers.ViTConfig(**{**sizes, "image_size": 32, "patch_size": 8, "num_labels": 5, **changes})
        model = transformers.ViTForImageClassification(config)
    else:
        name, sizes = LANGUAGE[model_type]
        ends = {"bos_token_id": 0, "eos_token_id": 0}
        config = getattr(transformers, f"{name}Config")(**{"vocab_size": VOCAB, **sizes, **ends, **changes})
        family = "LMHeadModel" if model_type == "gpt2" else "ForCausalLM"
        model = getattr(transformers, name + family)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


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


MAMBA = {"model_type": "mamba", "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, "state_size": 4}


def mamba_tensors() -> dict[str, np.ndarray]:
    """What a checkpoint of MAMBA must hold, without transformers."""
    config = checkpoints.Config(MAMBA)
    architecture = checkpoints.ARCHITECTURES["mamba"]
    entries = [*architecture.outside(config), *architecture.block(config, 0), *architecture.block(config, 1)]
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=shape).astype(np.float32) for entry in entries for name, shape in entry.theirs.items()
    }


def write(folder: Path, config=MAMBA, tensors=None) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    save_file(mamba_tensors() if tensors is None else tensors, folder / "model.safetensors")
    return folder


def test_weights_reach_their_places(tmp_path):
    tensors = mamba_tensors()
    model = load(write(tmp_path))
    same = load(tensors, MAMBA)
    for loaded in (model, same):
        np.testing.assert_array_equal(loaded.embedding[...], tensors["backbone.embeddings.weight"])
        kernel = tensors["backbone.layers.1.mixer.in_proj.weight"].T
        np.testing.assert_array_equal(loaded.blocks.mixer.in_proj.kernel[1], kernel)


def test_a_tensor_of_another_shape(tmp_path):
    tensors = mamba_tensors()
    tensors["backbone.layers.1.mixer.D"] = np.ones(17, np.float32)
    with pytest.raises(
        CheckpointError, match=r"tensor 'backbone.layers.1.mixer.D' has shape \(17,\), expected \(16,\)"
    ):
        load(write(tmp_path, tensors=tensors))
    with pytest.raises(CheckpointError, match=r"'backbone.layers.1.mixer.D' has shape \(17,\), expected \(16,\)"):
        load(tensors, MAMBA)


def test_a_tensor_that_is_missing_or_has_another_name(tmp_path):
    tensors = mamba_tensors()
    tensors["backbone.norm_g.weight"] = tensors.pop("backbone.norm_f.weight")
    with pytest.raises(CheckpointError) as caught:
        load(write(tmp_path, tensors=tensors))
    assert "'backbone.norm_f.weight' is missing; expected shape (8,)" in str(caught.value)
    assert "there is 'backbone.norm_g.weight' (8,)" in str(caught.value)


def test_a_config_of_fewer_layers_than_there_are(tmp_path):
    with pytest.raises(CheckpointError, match=r"'backbone.layers.1.*is not part of this mamba(.|\n)*more"):
        load(write(tmp_path, config={**MAMBA, "num_hidden_layers": 1}))


@pytest.mark.fault("checkpoints: pickles, paths that lead outside, cut off, huge")
@pytest.mark.parametrize("keep", [3, 100, 0.5, -4])
def test_a_file_that_is_cut_off(tmp_path, keep):
    path = write(tmp_path) / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if 0 < keep < 1 else keep])
    expected = r"cut off in its header" if keep in (3, 100) else r"cut off: tensor 'backbone\..*' \(.*\) should end at"
    with pytest.raises(CheckpointError, match=expected):
        inspect(tmp_path)


@pytest.mark.fault("checkpoints: pickles, paths that lead outside, cut off, huge")
def test_files_that_are_no_safetensors(tmp_path):
    path = write(tmp_path) / "model.safetensors"
    for content in (b"", struct.pack("<Q", 4) + b"nope", struct.pack("<Q", 10) + b'{"a": [1]}', b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="no safetensors file"):
            inspect(tmp_path)


def test_a_quantised_tensor_is_refused(tmp_path):
    tensors = mamba_tensors()
    tensors["backbone.layers.0.mixer.D"] = np.ones(16, np.int8)
    with pytest.raises(CheckpointError, match=r"'backbone.layers.0.mixer.D' \(16,\) has dtype I8; expected F64, F32"):
        inspect(write(tmp_path, tensors=tensors))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model_type": "mambo"}, "unknown model_type 'mambo'; did you mean 'mamba'?"),
        ({"hidden_size": None}, "'hidden_size' must be a positive whole number, got None"),
        ({"hidden_size": "8"}, "'hidden_size' must be a positive whole number, got '8'"),
        ({"hidden_act": "relu"}, "'hidden_act' is 'relu'; only 'silu' is supported"),
        ({"use_bias": True}, "'use_bias' is True; only False is supported"),
        ({"layer_norm_epsilon": "tiny"}, "'layer_norm_epsilon' must be a number, got 'tiny'"),
    ],
)
def test_a_config_that_is_not_ours(tmp_path, change, expected):
    with pytest.raises(CheckpointError) as caught:
        inspect(write(tmp_path, config={**MAMBA, **change}))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("model_type", "change", "expected"),
    [
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "'type' is 'linear'"),
        ("llama", {"rope_parameters": {"rope_type": "llama3"}}, "'rope_type' is 'llama3'"),
        ("llama", {"attention_bias": True}, "'attention_bias' is True"),
        ("llama", {"num_attention_heads": 5}, "num_attention_heads 5 must divide hidden_size 32"),
        ("gpt2", {"activation_function": "relu"}, "'activation_function' is 'relu'; only 'gelu_new' or"),
        ("vit", {"patch_size": [8, 4]}, "'patch_size' is (8, 4); only squares"),
        ("vit", {"qkv_bias": False}, "'qkv_bias' is False"),
    ],
)
def test_options_that_our_models_do_not_have(tmp_path, model_type, change, expected):
    sizes = LANGUAGE[model_type][1] if model_type in LANGUAGE else {"hidden_size": 32, "num_attention_heads": 4}
    config = {"model_type": model_type, "vocab_size": VOCAB, **sizes, **change}
    if "rope_scaling" in change:
        del config["rope_parameters"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError) as caught:
        inspect(tmp_path)
    assert expected in str(caught.value)


@pytest.mark.fault("checkpoints: pickles, paths that lead outside, cut off, huge")
def test_folders_that_are_no_checkpoints(tmp_path):
    with pytest.raises(CheckpointError, match="is not a folder"):
        inspect(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match=r"has no config.json"):
        inspect(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config.json cannot be read as JSON"):
        inspect(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="must hold an object, got list"):
        inspect(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(MAMBA))
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match=r"no \*.safetensors \(pytorch_model.bin is a pickle"):
        inspect(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "part-1.safetensors"}}')
    with pytest.raises(CheckpointError, match=r"part-1.safetensors, listed by model.safetensors.index.json"):
        inspect(tmp_path)


@pytest.mark.fault("checkpoints: pickles, paths that lead outside, cut off, huge")
@pytest.mark.parametrize("name", ["../other/model.safetensors", "/tmp/model.safetensors", "part/model.safetensors"])
def test_an_index_that_leads_elsewhere(tmp_path, name):
    write(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match=r"expected names of files in its own folder"):
        inspect(tmp_path)


@pytest.mark.fault("checkpoints: pickles, paths that lead outside, cut off, huge")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "model.safetensors"])
def test_a_file_that_would_fill_the_memory_or_never_end(tmp_path, monkeypatch, name):
    monkeypatch.setattr(checkpoints, "LONGEST", 1 << 20)
    path = write(tmp_path) / name
    with path.open("wb") as file:  # read as a header: 8 GB of it
        file.write(struct.pack("<Q", 8 << 30))
        file.truncate(10 << 30)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=rf"{name} .*(longer than 1,048,576|header has 8,589,934,592) bytes"):
        inspect(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CheckpointError, match=rf"{name} .*it is a folder, a pipe"):
        inspect(tmp_path)


@pytest.mark.fault("checkpoints: pickles, paths that lead outside, cut off, huge")
def test_a_config_of_layers_without_end_and_json_without_bottom(tmp_path):
    write(tmp_path, config={**MAMBA, "num_hidden_layers": 10**12})
    with pytest.raises(CheckpointError, match=r"config.json: 1,000,000,000,000 layers, and .* has 22 tensors in all"):
        inspect(tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="nested too deeply"):
        inspect(tmp_path)


def test_a_state_dict_needs_its_config():
    with pytest.raises(CheckpointError, match="a state dict needs its config"):
        load(mamba_tensors())


def run(*arguments) -> int:
    return main(["run", "--suite", "quick", *map(str, arguments)])


def test_the_command_line_measures_a_checkpoint(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bench.plots.plot_folder", lambda folder: [])  # pictures take longer than the run
    folder, out = tmp_path / "tiny-mamba", tmp_path / "out"
    folder.mkdir()
    write(folder)
    assert run("--checkpoint", folder, "--lengths", "64", "--out", out) == 0
    records = {record["cell"]["measure"]: record for record in read_journal(out / "journal.jsonl")}
    for measure in ("forward", "train", "decode"):
        assert records[measure]["status"] == "ok", records[measure]["message"]
        assert records[measure]["cell"]["model"] == "mamba"
        assert records[measure]["cell"]["size"] == str(folder)
        assert records[measure]["rows"][0]["n_params"] == sum(x.size for x in mamba_tensors().values())
    assert records["quality"]["status"] == "unsupported"
    assert "has its own tokens" in records["quality"]["message"]
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
    assert "--checkpoint is model and size: leave out --models gru" in errors
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
    assert record["status"] == "unsupported"
    assert f"has {own} " in record["message"]
