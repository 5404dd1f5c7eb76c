"""Checkpoints that are none of ours: what is wrong with a folder is said by name, before any of it is used."""

import json
import os
import struct
import tracemalloc

import numpy as np
import pytest

from lengthscale.models.checkpoints import CheckpointError, inspect, load
from lengthscale.models.huggingface import files
from tests.helpers.small_checkpoints import LANGUAGE, MAMBA, VOCAB, mamba_tensors, write


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


@pytest.mark.fault("checkpoints: pickles, paths that lead outside, truncated, huge")
@pytest.mark.parametrize("keep", [3, 100, 0.5, -4])
def test_a_file_that_is_cut_off(tmp_path, keep):
    path = write(tmp_path) / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if 0 < keep < 1 else keep])
    expected = r"cut off in its header" if keep in (3, 100) else r"cut off: tensor 'backbone\..*' \(.*\) should end at"
    with pytest.raises(CheckpointError, match=expected):
        inspect(tmp_path)


@pytest.mark.fault("checkpoints: pickles, paths that lead outside, truncated, huge")
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
        ("llama", {"num_key_value_heads": 3}, "kv_heads must divide heads, got kv_heads=3, heads="),
        ("gpt2", {"n_head": 3}, "heads must divide d_model, got heads=3, d_model=32"),
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


@pytest.mark.fault("checkpoints: pickles, paths that lead outside, truncated, huge")
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


@pytest.mark.fault("checkpoints: pickles, paths that lead outside, truncated, huge")
@pytest.mark.parametrize("name", ["../other/model.safetensors", "/tmp/model.safetensors", "part/model.safetensors"])
def test_an_index_that_leads_elsewhere(tmp_path, name):
    write(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match=r"expected names of files in its own folder"):
        inspect(tmp_path)


@pytest.mark.fault("checkpoints: pickles, paths that lead outside, truncated, huge")
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "model.safetensors"])
def test_a_file_that_would_fill_the_memory_or_never_end(tmp_path, monkeypatch, name):
    monkeypatch.setattr(files, "LONGEST", 1 << 20)
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


@pytest.mark.fault("checkpoints: pickles, paths that lead outside, truncated, huge")
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
