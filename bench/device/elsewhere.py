"""Programs compiled for a device that this machine does not have, by jax's ahead-of-time compilation.

The compiler needs a description of the device, and jax's package for its platform: its plan of memory is then the one
that the device itself would give, and what it calls is known. XLA tunes nothing without a device, so its choice among
forms of a product can differ there. The time is predicted from below (roofline.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import jax
from jax.experimental import topologies

from lengthscale.bench.device.flops import work_of_kernels
from lengthscale.bench.device.program import Compiled, Notifier, Program, compile_program, fitting
from lengthscale.bench.device.roofline import Kernels, Rates, kernels_of
from lengthscale.bench.plan.devices import DEVICES, Device
from lengthscale.bench.plan.settings import Settings
from lengthscale.bench.results.messages import Planned
from lengthscale.models.ops.platform import lowering_for

# As XLA describes a GPU (xla/tools/hlo_opt/gpu_specs), of which it uses what decides which kernels fit.
_GPU = """
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: {cores}
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth}
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: {memory}
  shared_memory_per_block_optin: 232448
  cuda_compute_capability {{ major: 9 }}
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
runtime_version {{ major: 12 minor: 9 patch: 0 }}
device_description_str: "{kind}"
"""


@dataclass(frozen=True)
class _Target:
    device: Device
    described: Any  # jax's device, without which nothing is compiled for it


def plan(name: str, program: Program, settings: Settings, notify: Notifier) -> Planned:
    """The plan of a program on a device of plan/devices.py, in the form that fits into its memory.

    Raises SkippedError where none does, and NotImplementedError where jax cannot compile for the device here.
    """
    target = _target(name)
    if settings.mem_limit_bytes is None:
        settings = replace(settings, mem_limit_bytes=int(0.95 * target.device.memory_bytes))
    found: dict[str, Any] = {}

    def lowered(step: Any, args: tuple) -> Any:
        traced = _lowered_for(target, step, args)
        found["jaxpr"] = traced.jaxpr
        return traced

    def load(form: Program, notify: Notifier) -> Compiled:
        compiled = compile_program(form, notify, lowered)
        found["text"] = compiled.call.as_text() or ""
        return compiled

    with lowering_for(target.device.platform):
        compiled = fitting(program, settings, notify, load)
    columns = compiled.columns
    kernels = _kernels(target, found["jaxpr"], found["text"], columns["precision"] or "float32")
    names = tuple(sorted(kernels.targets))
    return Planned(columns, compiled.program.calls, kernels.seconds, names, kernels.count, kernels.n_bytes)


def plan_of(name: str, step: Any, args: tuple, precision: str) -> dict[str, Any]:
    """The plan of one jitted function of arrays, as columns. precision: of its products.

    Raises NotImplementedError where jax cannot compile for the device here.
    """
    target = _target(name)
    with lowering_for(target.device.platform):
        traced = _lowered_for(target, step, args)
        compiled = traced.lower().compile()
    kernels = _kernels(target, traced.jaxpr, compiled.as_text() or "", precision)
    memory = compiled.memory_analysis()
    return {
        "kernels": kernels.count,
        "moved_bytes": kernels.n_bytes,
        "temporary_bytes": memory.temp_size_in_bytes if memory else None,
        "least_ms": kernels.seconds * 1e3,
        "calls": " ".join(sorted(kernels.targets)),
    }


def _kernels(target: _Target, jaxpr: Any, text: str, precision: str) -> Kernels:
    """What a program runs. precision: of its products."""
    device = target.device
    rates = Rates(device.rate(precision), device.vector_flops_per_s, device.bytes_per_s, device.launch_s)
    return kernels_of(text, rates, work_of_kernels(jaxpr, device.flops_of_exponential, rates.vector / rates.matrix))


def _lowered_for(target: _Target, step: Any, args: tuple) -> Any:
    """The step, traced for the device."""
    place = jax.sharding.SingleDeviceSharding(target.described)
    return step.trace(*jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), args))


@cache
def _target(name: str) -> _Target:
    device = DEVICES[name]
    describe: Callable[[], Any] = {"cuda": partial(_gpu, device), "tpu": partial(_tpu, device)}[device.platform]
    try:
        return _Target(device, describe().devices[0])
    except (NotImplementedError, RuntimeError, ValueError) as error:
        wanted = {"cuda": "jax[cuda12]", "tpu": "libtpu"}[device.platform]
        raise NotImplementedError(f"to compile for {name}, jax needs pip install '{wanted}' ({error})") from error


def _gpu(device: Device) -> Any:
    described = _GPU.format(
        cores=device.cores, bandwidth=int(device.bytes_per_s), memory=device.memory_bytes, kind=device.kind
    )
    return topologies.get_topology_desc(platform="cuda", target_config=described, topology="1x1x1")


def _tpu(device: Device) -> Any:
    return topologies.get_topology_desc(device.kind, platform="tpu")
