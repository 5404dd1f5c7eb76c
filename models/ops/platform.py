"""The platform that a program is traced for, by which every op chooses its method if that is "auto".

It is the default backend's, unless `lowering_for` says otherwise; so a CPU machine can export a GPU's or a TPU's form.
`jax.lax.platform_dependent` would trace the forms of all platforms, and a gradient would keep the residuals of all.

`lowering_for` sets an abstract device, jax's description of hardware that this machine does not have. It is part of the
key of jit's caches, so that a function traced for one platform is traced again for another; and Pallas takes a GPU's
kind from it.
"""

from contextlib import AbstractContextManager

import jax
from jax.sharding import AbstractDevice, AbstractMesh

# One of each, since no kernel of ours depends on which.
_DEVICES = {
    "cpu": AbstractDevice(device_kind="cpu", num_cores=None, platform="cpu"),
    "cuda": AbstractDevice(device_kind="NVIDIA H100", num_cores=132, platform="gpu"),
    "tpu": AbstractDevice(device_kind="TPU v5 lite", num_cores=1, platform="tpu"),
}
_ROCM_KINDS = ("gfx", "AMD", "Radeon")  # how the kinds of its devices begin; their platform is "gpu" too


def platform() -> str:
    """The platform that is being traced for: "cpu", "cuda", "tpu", or another name that jax knows ("rocm")."""
    return _platform_of(jax.sharding.get_abstract_mesh().abstract_device or jax.devices()[0])


def is_here(platform: str) -> bool:
    """Whether the default backend is this platform's, which a kernel needs that queries the device when traced."""
    return _platform_of(jax.devices()[0]) == platform


def lowering_for(platform: str) -> AbstractContextManager:
    """A context in which programs are traced and lowered for "cpu", "cuda" or "tpu", whatever this machine has.

    For `jax.export` (platforms=[platform]) and for compiling ahead of time; what is traced runs on that platform only.
    Raises ValueError for another platform.
    """
    if platform not in _DEVICES:
        raise ValueError(f"unknown platform {platform!r}; expected {', '.join(_DEVICES)}")
    return jax.sharding.use_abstract_mesh(AbstractMesh((), (), abstract_device=_DEVICES[platform]))


def _platform_of(device) -> str:
    if device.platform != "gpu":
        return device.platform
    return "rocm" if device.device_kind.startswith(_ROCM_KINDS) else "cuda"
