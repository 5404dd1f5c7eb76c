"""The contenders: name -> the module that prepares it, and the packages that it needs.

A module has BUILDERS, from a contender's name to its builders: from (a row's name, a measure), or else from a row's
name, to a function `(case, given) -> Prepared` (prepared.py). Adding a contender: its builders there, a line here.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

EXTRA = "-e .[peers]"


@dataclass(frozen=True)
class Contender:
    """Where a contender is, and what it needs."""

    module: str  # in this package
    packages: tuple[str, ...]  # the version of the first one is in the table
    install: str = EXTRA  # what pip installs for it


CONTENDERS = {
    "ours": Contender("ours", ("jax", "flax")),
    "ours-forward": Contender("ours", ("jax", "flax")),
    "ours-associative": Contender("ours", ("jax", "flax")),
    "ours-shortest": Contender("ours", ("jax", "flax")),
    "ours-64k": Contender("ours", ("jax", "flax")),
    "flax": Contender("flax_cells", ("flax", "jax")),
    "flax-lstmcell": Contender("flax_cells", ("flax", "jax")),
    "jax-xla": Contender("jax_forms", ("jax",)),
    "jax-scan": Contender("jax_forms", ("jax",)),
    "jax-associative": Contender("jax_forms", ("jax", "flax")),
    "torch": Contender("torch_layers", ("torch",)),
    "torch-flash": Contender("torch_layers", ("torch",)),
    "torch-cudnn": Contender("torch_layers", ("torch",)),
    "mamba-ssm": Contender("mamba_ssm_scan", ("mamba-ssm", "torch"), "mamba-ssm (it compiles its kernels with nvcc)"),
    "fla": Contender("fla_ops", ("fla-core", "torch"), "fla-core"),
    "transformers": Contender("transformers_blocks", ("transformers", "torch")),
    "mambapy": Contender("mambapy_block", ("mambapy", "torch")),
    "c-loop": Contender("c_loop", ("numpy",)),
    "products": Contender("limits_jax", ("jax",)),
    "gemm-jax": Contender("limits_jax", ("jax",)),
    "read-jax": Contender("limits_jax", ("jax",)),
    "gemm-torch": Contender("torch_layers", ("torch",)),
    "read-torch": Contender("torch_layers", ("torch",)),
}


def is_in_extra(name: str) -> bool:
    """Whether the project's extra installs all that a contender needs."""
    return CONTENDERS[name].install == EXTRA


def version(name: str) -> str | None:
    """The version of a contender's first package; None where any of its packages is missing."""
    try:
        first, *_ = [importlib.metadata.version(package) for package in CONTENDERS[name].packages]
    except importlib.metadata.PackageNotFoundError:
        return None
    return first
