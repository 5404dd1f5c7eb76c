"""Scratch memory that XLA's plan leaves out: what its library of matrix products allocates within a fusion, on a CPU.

Where XLA gives a product to YNNPACK together with the operations around it (`__ynn_fusion`), the library allocates two
kinds of arrays by itself, which the plan does not include: an operand of the product that is computed within the
fusion, and the product itself where the fusion's result is a reshape of it, which the library copies. For elementwise
operations after a product it keeps only a tile. (The calls of malloc in five models' forward passes agreed with this to
the byte, with jaxlib 0.10.2; a test compares the sum with the memory of a process.) Only the program's text says what a
fusion contains.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_CALLED = re.compile(r"calls=%([\w.-]+).*__ynn_fusion")
_COMPUTATION = re.compile(r"^%([\w.-]+) \(.*\{\n((?:  .*\n)+)\}", re.MULTILINE)
_INSTRUCTION = re.compile(r"^  (ROOT )?%([\w.-]+) = ([a-z]+)(\d*)\w*\[([\d,]*)\]\S* ([\w-]+)\((.*?)\)", re.MULTILINE)


class _Value(NamedTuple):
    """The result of one instruction of a fusion."""

    operation: str
    operands: list[str]
    n_bytes: int


def library_bytes(text: str) -> int:
    """The most bytes that the library holds at once in the compiled program of this text; fusions run one by one."""
    fusions = set(_CALLED.findall(text))
    return max((_kept_bytes(body) for name, body in _COMPUTATION.findall(text) if name in fusions), default=0)


def _kept_bytes(fusion: str) -> int:
    values, root = {}, ""
    for is_root, name, _kind, bits, shape, operation, operands in _INSTRUCTION.findall(fusion):
        size = math.prod(int(n) for n in shape.split(",") if n)
        values[name] = _Value(operation, re.findall(r"%([\w.-]+)", operands), size * max(1, int(bits or 8) // 8))
        root = name if is_root else root

    def reshaped(name: str) -> str:
        """The value that this one is a reshape of, or itself."""
        while name in values and values[name].operation in ("bitcast", "reshape"):
            name = values[name].operands[0]
        return name

    products = [name for name, value in values.items() if value.operation == "dot"]
    kept = {reshaped(operand) for name in products for operand in values[name].operands}
    if root not in products and reshaped(root) in products:
        kept.add(reshaped(root))
    return sum(values[name].n_bytes for name in kept & values.keys() if values[name].operation != "parameter")
