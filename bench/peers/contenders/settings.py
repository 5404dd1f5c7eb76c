"""How jax and torch are set for a contender: threads, the precision of products, the device of its arrays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from lengthscale.bench.peers.contenders import CONTENDERS
from lengthscale.bench.peers.rows import Row
from lengthscale.bench.plan.dtypes import DTYPES


def set_up(name: str, cores: int) -> None:
    """Set what a contender's process has for good. (jax's threads follow the affinity.)"""
    if "torch" in CONTENDERS[name].packages:
        import torch

        torch.set_num_threads(cores)
        # Our float32 is IEEE's, and so must theirs be: cuDNN's recurrent layers would take TF32, with 10 bits.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False


@contextmanager
def building(name: str, row: Row, device: str) -> Iterator[None]:
    """The context in which a contender of a row is built and compiled. device: "cpu" or "cuda"."""
    packages = CONTENDERS[name].packages
    with ExitStack() as stack:
        if "jax" in packages and row.platform == "gpu":
            import jax

            stack.enter_context(jax.default_matmul_precision(DTYPES[row.dtype].matmul_precision))
        if "torch" in packages:
            import torch

            stack.enter_context(torch.device(device))
        yield
