"""What Hugging Face's transformers call the parts of the models that are here as well: configs, tensors, shapes.

An architecture is a table: each of our parameters with the tensors it is made of and the shapes that the config gives
them, so that a checkpoint can be checked by its headers alone. No file here imports jax or flax before a model is made.

Adding an architecture: one file with a table, one line here.
"""

from lengthscale.models.huggingface import gpt2, llama, mamba, rwkv, vit

# config.json's model_type -> what it is here
ARCHITECTURES = {
    "gpt2": gpt2.ARCHITECTURE,
    "llama": llama.ARCHITECTURE,
    "mistral": llama.ARCHITECTURE,
    "rwkv": rwkv.ARCHITECTURE,
    "mamba": mamba.ARCHITECTURE,
    "vit": vit.ARCHITECTURE,
}
