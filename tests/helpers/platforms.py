"""What the platform of the tests has: tests of forms that it lacks are skipped, and say why."""

import jax
import pytest

from lengthscale.models.ops import native
from lengthscale.models.ops.platform import platform

ON_GPU = jax.default_backend() == "gpu"


def missing_kernels() -> str | None:
    """Why our C++ kernels are unavailable here, or None."""
    return native.missing() if platform() == "cpu" else f"they are for a CPU, not for {platform()}"


needs_kernels = pytest.mark.skipif(missing_kernels() is not None, reason=f"no native kernels: {missing_kernels()}")
needs_cpu = pytest.mark.skipif(platform() != "cpu", reason=f"interpreted on a CPU only, not on {platform()}")
