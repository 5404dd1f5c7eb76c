"""The one place that says whether a method of an op is available here, and if not, why, as text.

Each op has one dispatcher. It calls `check_known` on the method's name, asks a `reason_against_*` for what the method
needs, and calls `require` where the user named the method; by "auto" it takes the method whose reason is None.
"""

from collections.abc import Iterable
from typing import TypeVar

from jax import Array, ShapeDtypeStruct

from lengthscale.models.ops import native
from lengthscale.models.ops.platform import platform

T = TypeVar("T")


def check_known(method: str, methods: tuple[str, ...]) -> None:
    """Raise ValueError if `method` is neither "auto" nor one of `methods`."""
    if method not in ("auto", *methods):
        raise ValueError(f"unknown method {method!r}; expected auto, {', '.join(methods)}")


def require(method: str, reason: str | None) -> None:
    """Raise ValueError with the reason, if there is one, why the named method is not available."""
    if reason:
        raise ValueError(f"method {method} does not fit: {reason}")


def by_platform(best: dict[str, T], otherwise: T) -> T:
    """What `best` names for the platform that the program is lowered for, else `otherwise`."""
    return best.get(platform(), otherwise)


def reason_against_native(arrays: Iterable[Array | ShapeDtypeStruct]) -> str | None:
    """Why a C++ kernel is not available for these arrays, or None: it is for float32, on a CPU with a compiler."""
    return reason_against_float32_on_cpu(arrays) or native.missing()


def reason_against_float32_on_cpu(arrays: Iterable[Array | ShapeDtypeStruct]) -> str | None:
    """Why what is for float32 on a CPU does not take these arrays, or None; it compiles nothing."""
    dtypes = {array.dtype.name for array in arrays}
    if platform() != "cpu" or dtypes != {"float32"}:
        return f"it is for float32 on a CPU, got {', '.join(sorted(dtypes))} on {platform()}"
    return None


def uses_native(method: str, long_enough: bool, arrays: Iterable[Array | ShapeDtypeStruct]) -> bool:
    """Whether an op of two methods, one of them "native", takes the kernel.

    method: the one that the user named, checked by `check_known`. long_enough: whether the kernel is worth it, for
    "auto", which takes it if it is also available. arrays: all arguments of the kernel. Raises ValueError if "native"
    was named and is not available.
    """
    if method not in ("auto", "native") or (method == "auto" and not long_enough):
        return False
    reason = reason_against_native(arrays)
    if method == "native":
        require(method, reason)
    return reason is None
