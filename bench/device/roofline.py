"""The least time of a compiled program on a device, from the text of the program: a roofline for each kernel, summed.

    time = sum over kernels of max(bytes / bandwidth, FLOPs of products / matrix rate, launch)

Each instruction that XLA runs by itself (a fusion, a call of a library) is one kernel: it reads its operands and writes
its results once. Of what it slices, or updates in place, only that part counts. A loop's body counts once for each of
its iterations. Elementwise operations are taken to hide behind memory; in kernels of Pallas they count, exponentials
above all, or the products that a kernel estimates, if they take longer. So the time is a limit from below, which a
profile of the same program may be compared with.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from lengthscale.models.ops.attention import step as attention_step
from lengthscale.models.ops.gated import pallas as gated_step

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = ")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+)(?:e\w+)?\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_CALLED = re.compile(r"(?:calls|body|to_apply)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_CONTRACTED = re.compile(r"lhs_contracting_dims=\{([\d,]*)\}")
_TARGET = re.compile(r'custom_call_target="([^"]*)"')
# What is no kernel: names and views of arrays.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "iota"}

_VIEWS = {"AllocateBuffer", "ConcatBitcast", "X64Combine", "X64SplitLow", "X64SplitHigh"}  # a TPU's
# Kernels of ours that use one place of some of their arrays: how many axes those have, and on which of them it is. Of
# attention's step it is a layer of the stacked caches, of a gated cell's a step.
_ONE_PLACE = {attention_step.NAME: (5, 0), gated_step.NAME: (4, 1)}


@dataclass(frozen=True)
class Rates:
    """What a device reaches: FLOP/s of matrix products and of single numbers, bytes/s, seconds of a kernel's launch."""

    matrix: float
    vector: float
    bandwidth: float
    launch_s: float


@dataclass
class Kernels:
    """What a program runs: the kernels, their bytes, and the sum of their times."""

    seconds: float = 0.0
    count: float = 0.0
    n_bytes: float = 0.0
    matrix_flops: float = 0.0  # of products
    targets: dict[str, float] = field(default_factory=dict)  # calls of libraries and of Pallas, by their names


@dataclass(frozen=True)
class _Instruction:
    name: str
    shape: str
    operation: str
    operands: tuple[str, ...]
    rest: str  # the attributes

    @property
    def n_bytes(self) -> int:
        return _bytes(self.shape)


def kernels_of(text: str, rates: Rates, vector_flops: float = 0.0) -> Kernels:
    """What the program of this text runs.

    vector_flops: the work of all calls of Pallas together, in one call of the program (flops.work_of_kernels); nan,
    unknown, counts as none.
    """
    vector_flops = 0.0 if math.isnan(vector_flops) else vector_flops
    program = _Program(text)
    found = Kernels()
    for _ in range(2):  # first to count the calls of Pallas, which share their FLOPs
        calls = sum(count for name, count in found.targets.items() if _is_pallas(name))
        found = Kernels()
        program.add(program.entry, 1, rates, vector_flops / calls if calls else 0.0, found)
    return found


def _is_pallas(target: str) -> bool:
    return "triton" in target or "mosaic" in target or "tpu_custom_call" in target


class _Program:
    def __init__(self, text: str):
        self.computations: dict[str, dict[str, _Instruction]] = {}
        self.entry = ""
        current: dict[str, _Instruction] = {}
        for line in text.splitlines():
            if heading := _COMPUTATION.match(line):
                current = self.computations.setdefault(heading[1], {})
                self.entry = heading[1] if line.startswith("ENTRY") else self.entry
            elif found := _INSTRUCTION.match(line):
                instruction = _parsed(found[1], line[found.end() :])
                current[instruction.name] = instruction

    def add(self, name: str, times: float, rates: Rates, flops_of_call: float, found: Kernels) -> None:
        """Add what a computation runs, so many times."""
        computation = self.computations[name]
        for each in computation.values():
            if each.operation in _FREE or each.operation.endswith("-done"):
                continue
            if each.operation in ("while", "call", "conditional", "async-start"):
                for inner, trips in self._inner(each):
                    self.add(inner, times * trips, rates, flops_of_call, found)
                continue
            target = (_TARGET.search(each.rest) or ("", ""))[1] if each.operation == "custom-call" else ""
            if target in _VIEWS:
                continue
            if target:
                found.targets[target] = found.targets.get(target, 0) + times
            n_bytes = self._moved(each, computation)
            matrix_flops = self._products(each, computation)
            vector = flops_of_call / rates.vector if _is_pallas(target) else 0.0
            moving, multiplying = n_bytes / rates.bandwidth, matrix_flops / rates.matrix
            found.seconds += times * max(moving, multiplying, vector, rates.launch_s)
            found.matrix_flops += times * matrix_flops
            found.count += times
            found.n_bytes += times * n_bytes

    def _inner(self, each: _Instruction) -> Iterator[tuple[str, float]]:
        if branches := _BRANCHES.search(each.rest):
            yield branches[1].split(",")[-1].strip().lstrip("%"), 1
        elif called := _CALLED.search(each.rest):
            trips = _TRIPS.search(each.rest)
            yield called[1], float(trips[1]) if trips else 1

    def _moved(self, each: _Instruction, computation: dict[str, _Instruction]) -> float:
        """The bytes that a kernel reads and writes."""
        if each.operation == "dynamic-slice":
            return 2 * each.n_bytes
        if each.operation == "dynamic-update-slice":
            return 2 * computation[each.operands[1]].n_bytes
        called = _CALLED.search(each.rest) if each.operation == "fusion" else None
        if not called:
            shapes = [each.shape, *(computation[name].shape for name in each.operands if name in computation)]
            n_axes, axis = next((at for name, at in _ONE_PLACE.items() if f"/{name}/" in each.rest), (0, 0))
            arrays = [found[0] for shape in shapes for found in _ARRAY.finditer(shape)]
            places = [_dims(x)[axis] if n_axes and len(_dims(x)) == n_axes else 1 for x in arrays]
            return sum(_bytes(x) / n for x, n in zip(arrays, places, strict=True))
        body = self.computations[called[1]]
        return _written(body) + sum(
            _read(body, number, computation[name].n_bytes)
            for number, name in enumerate(each.operands)
            if name in computation
        )

    def _products(self, each: _Instruction, computation: dict[str, _Instruction]) -> float:
        """The FLOPs of the matrix products of a kernel."""
        if each.operation == "dot":
            return _flops(each, computation)
        if each.operation == "custom-call" and "gemm" in each.rest.partition(",")[0] + str(_TARGET.search(each.rest)):
            a, b = (computation[name].n_bytes for name in each.operands[:2])
            width = _width(computation[each.operands[0]].shape)
            out = _bytes(_ARRAY.search(each.shape)[0]) / _width(each.shape)  # pyright: ignore[reportOptionalSubscript]
            return 2 * math.sqrt(a / width * b / width * out)
        if each.operation == "custom-call" and "fmha" in each.rest:
            q, k = (_dims(computation[name].shape) for name in each.operands[:2])
            pairs = math.prod(q) // q[-1] * k[1] / (2 if "CAUSAL" in each.rest else 1)
            return pairs * q[-1] * (10 if "Backward" in each.rest else 4)
        called = _CALLED.search(each.rest) if each.operation == "fusion" else None
        body = self.computations[called[1]] if called else {}
        return sum(self._products(inner, body) for inner in body.values() if inner.operation in ("dot", "fusion"))


def _parsed(name: str, text: str) -> _Instruction:
    """An instruction, of the text behind its name: a shape, the operation, its operands in brackets, attributes."""
    end = _closing(text) + 1 if text.startswith("(") else text.index(" ")
    shape, text = text[:end], text[end:].lstrip()
    operation, _, text = text.partition("(")
    end = _closing(f"({text}")
    return _Instruction(name, shape, operation, tuple(_NAME.findall(text[: end - 1])), text[end:])


def _closing(text: str) -> int:
    """Where the bracket closes that the text begins with."""
    depth = 0
    for at, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            return at
    return len(text)


@cache
def _bytes(shape: str) -> int:
    """The bytes of all arrays of a shape."""
    return sum(
        math.prod(int(n) for n in dims.split(",") if n) * max(1, int(re.sub(r"\D", "", kind) or 8) // 8)
        for kind, dims in _ARRAY.findall(shape)
    )


def _dims(shape: str) -> list[int]:
    return [int(n) for n in (_ARRAY.search(shape) or ("", "", ""))[2].split(",") if n]


def _width(shape: str) -> int:
    """The bytes of a number of a shape's first array."""
    return max(1, int(re.sub(r"\D", "", (_ARRAY.search(shape) or ("", "8"))[1]) or 8) // 8)


def _flops(dot: _Instruction, computation: dict[str, _Instruction]) -> float:
    dims = _dims(computation[dot.operands[0]].shape)
    contracted = (_CONTRACTED.search(dot.rest) or ("", ""))[1]
    return 2 * math.prod(_dims(dot.shape)) * math.prod(dims[int(axis)] for axis in contracted.split(",") if axis)


def _read(body: dict[str, _Instruction], number: int, whole: int) -> float:
    """The bytes that a fusion reads of one of its operands: all, or what it slices out of it."""
    parameter = next((x for x in body.values() if x.operation == "parameter" and _is_number(x, body, number)), None)
    if parameter is None:
        return whole
    users = [x for x in body.values() if parameter.name in x.operands]
    if users and all(x.operation in ("dynamic-slice", "gather", "slice") for x in users):
        return min(whole, sum(x.n_bytes for x in users))
    if users and all(x.operation == "dynamic-update-slice" and x.operands[0] == parameter.name for x in users):
        return 0  # it is updated in place
    return whole


def _is_number(parameter: _Instruction, body: dict[str, _Instruction], number: int) -> bool:
    """Whether a parameter is the operand of this number: parameters stand in their order."""
    order = [x.name for x in body.values() if x.operation == "parameter"]
    named = re.fullmatch(r"(?:param|p)(?:arameter)?_(\d+)(?:\..*)?", parameter.name)
    return int(named[1]) == number if named else order.index(parameter.name) == number


def _written(body: dict[str, _Instruction]) -> float:
    """The bytes that a fusion writes: its results, or what it updates of them."""
    root = list(body.values())[-1]
    roots = [body[name] for name in root.operands if name in body] if root.operation == "tuple" else [root]
    return sum(_of_root(each, body) for each in roots)


def _of_root(root: _Instruction, body: dict[str, _Instruction]) -> float:
    while root.operation == "bitcast" and root.operands[0] in body:
        root = body[root.operands[0]]
    return body[root.operands[1]].n_bytes if root.operation == "dynamic-update-slice" else root.n_bytes
