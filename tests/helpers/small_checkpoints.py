"""Small checkpoints: of transformers, with random weights, and of a Mamba, made by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lengthscale.models import checkpoints

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
