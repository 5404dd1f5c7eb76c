"""Operators: which part of a step each instruction of a compiled program belongs to.

XLA's text of a compiled program names every instruction and, for most, the calls in the source that it comes from. An
instruction belongs to the first of these parts that fits:

    scan or attention      it comes from a mixer's recurrence in models/ops/, or runs inside a loop over time
    convolution            it is or contains one, or comes from models/ops/causal_conv/
    matrix products        it is or contains one, or comes from models/ops/row_product.py
    optimiser              it comes from optax, but not from its losses
    norms and pointwise    everything else: activations, sums, gathers, copies, the loss

So a matrix product inside attention counts as attention, and what XLA fuses with a matrix product counts as one. A loop
in a file of this package goes over blocks or chunks, unless that file is a recurrence's; any other loop, as in a user's
own model, is taken for one over time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lengthscale import bench, models
from lengthscale.models import ops

PRODUCTS, RECURRENCE, CONVOLUTION = "matrix products", "scan or attention", "convolution"
POINTWISE, OPTIMISER = "norms and pointwise", "optimiser"
PARTS = (PRODUCTS, RECURRENCE, CONVOLUTION, POINTWISE, OPTIMISER)

# Files of models/ops/ that decide nothing: the calls around them do. Every other file there is a mixer's recurrence.
HELPERS = (
    *("availability", "channels", "chunked", "discretise", "instructions", "kernel_call", "native", "packed"),
    *("platform", "rope"),
)
CONVOLUTIONS, PRODUCT_KERNELS = ("causal_conv",), ("row_product",)
_OPS = Path(ops.__file__).parent
_OURS = tuple(f"{Path(file).parent}/" for file in (bench.__file__, models.__file__))

_CONTAINERS = ("while", "call", "conditional")
_FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast")
_PRODUCT, _CONVOLUTION = re.compile(r"(ragged-)?dot"), re.compile("convolution")  # names of instructions
_LIBRARY_PRODUCT = re.compile("gemm|matmul|dot")  # what is called outside of XLA, such as __cublas$gemm
_LIBRARY_CONVOLUTION = re.compile("conv(?!ert)")

_COMPUTATION = re.compile(r"(ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = .*?(?<=[\s)])([a-z][\w\-]*)\(")
_CALLED = re.compile(r"(?:calls|body|condition|to_apply|\w+_computation)=%?([\w.\-]+)|_computations=\{([^}]*)\}")
_TARGET = re.compile('custom_call_target="([^"]*)"')
_FRAME = re.compile(r"stack_frame_id=(\d+)")
_ITERATIONS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_NUMBERED = re.compile(r"(\d+) (.*)")


@dataclass(frozen=True)
class Operator:
    """What an instruction is part of.

    part: one of PARTS; None for a loop over blocks, whose instructions have parts of their own. contains: whether other
    instructions run inside it. runs: how often it runs in one call of the program; 0 for what takes no time at all.
    """

    part: str | None
    contains: bool = False
    runs: int = 1


@dataclass(frozen=True)
class _Instruction:
    name: str
    opcode: str
    called: tuple[str, ...]  # computations
    target: str  # of a custom call
    frame: int  # the call in the source that made it; 0: unknown
    iterations: int  # of a loop; 1 for others, and for a loop whose number is unknown


def operators_of(text: str | None) -> dict[str, Operator]:
    """The operators of a program that is compiled, by their names. text: what `compiled.as_text()` gives.

    Raises NotImplementedError where the text does not say where its instructions come from.
    """
    places = _Places(text or "")
    computations, entry = _computations(text or "")
    return dict(_walk(computations, entry, Operator(None), places))


def _computations(text: str) -> tuple[dict[str, list[_Instruction]], str]:
    """(the instructions of each computation by its name, the name of the one that is run)."""
    computations: dict[str, list[_Instruction]] = {}
    current, entry = [], ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            current = computations[header[2]] = []
            entry = header[2] if header[1] else entry
        elif found := _INSTRUCTION.match(line):
            called = [name.strip(" %") for pair in _CALLED.findall(line) for name in ",".join(pair).split(",")]
            target, frame, iterations = (pattern.search(line) for pattern in (_TARGET, _FRAME, _ITERATIONS))
            current.append(
                _Instruction(
                    name=found[1],
                    opcode=found[2],
                    called=tuple(name for name in called if name),
                    target=target[1] if target else "",
                    frame=int(frame[1]) if frame else 0,
                    iterations=int(iterations[1]) if iterations else 1,
                )
            )
    return computations, entry


def _walk(computations, name: str, around: Operator, places: _Places) -> Iterator[tuple[str, Operator]]:
    """The operators of a computation and of all that it runs. around: the one that the computation runs in."""
    for each in computations[name]:
        part = around.part
        if each.opcode == "while":
            part = part or (RECURRENCE if places.is_over_time(each) else None)
        elif each.opcode not in _CONTAINERS:
            runs = 0 if each.opcode in _FREE else around.runs
            yield each.name, Operator(part or _part(computations, each, places), runs=runs)
            continue
        # A CPU compiles what is called as one kernel, in which the profiler sees nothing: the call itself has a part.
        one = each.opcode == "call"
        own = part or (_part(computations, each, places) if one else None)
        yield each.name, Operator(own, contains=True, runs=around.runs)
        inside = Operator(part, runs=0 if one else around.runs * each.iterations)
        for called in each.called:
            yield from _walk(computations, called, inside, places)


def _part(computations, instruction: _Instruction, places: _Places) -> str:
    everything = [instruction, *_members(computations, instruction)]
    named = next((places.part(each) for each in everything if each.frame), None)
    if named == RECURRENCE or any(each.opcode == "while" and places.is_over_time(each) for each in everything):
        return RECURRENCE
    if named == CONVOLUTION or _any(everything, _CONVOLUTION, _LIBRARY_CONVOLUTION):
        return CONVOLUTION
    if named == PRODUCTS or _any(everything, _PRODUCT, _LIBRARY_PRODUCT):
        return PRODUCTS
    return named or POINTWISE


def _members(computations, instruction: _Instruction) -> Iterator[_Instruction]:
    """The instructions that are fused into this one, the last one first, since it makes the result."""
    for called in instruction.called:
        for each in reversed(computations.get(called, [])):
            yield each
            yield from _members(computations, each)


def _any(instructions: list[_Instruction], opcode: re.Pattern, target: re.Pattern) -> bool:
    return any(opcode.fullmatch(each.opcode) or target.search(each.target) for each in instructions)


class _Places:
    """The calls in the source that instructions come from, as the head of the program's text lists them."""

    def __init__(self, text: str):
        files, calls, frames = (_section(text, name) for name in ("FileNames", "FileLocations", "StackFrames"))
        if not frames:
            raise NotImplementedError("this version of jax does not say where a program's instructions come from")
        file_of = {call: files[_field(line, "file_name_id")].strip('"') for call, line in calls.items()}
        self._files = {frame: file_of[_field(line, "file_location_id")] for frame, line in frames.items()}
        callers = {frame: _field(line, "parent_frame_id") for frame, line in frames.items()}
        # jax 0.10 prints the number of the caller plus one, so that the outermost call seems to call itself.
        shift = any(frame == caller for frame, caller in callers.items())
        self._callers = {frame: caller - shift for frame, caller in callers.items()}

    def part(self, instruction: _Instruction) -> str | None:
        """The part that the source names, from the innermost call outwards; None where it names none."""
        return next((part for path in self._paths(instruction.frame) if (part := _part_of_file(path))), None)

    def is_over_time(self, loop: _Instruction) -> bool:
        """Whether a loop goes over time."""
        innermost = next(self._paths(loop.frame), None)
        between_blocks = innermost is None or innermost.startswith(_OURS) or _part_of_file(innermost)
        return self.part(loop) == RECURRENCE or not between_blocks

    def _paths(self, frame: int) -> Iterator[str]:
        while frame in self._files:
            yield self._files[frame]
            frame = self._callers[frame]


def _section(text: str, name: str) -> dict[int, str]:
    """The numbered lines below a heading."""
    _, _, rest = text.partition(f"\n{name}\n")
    lines = (_NUMBERED.fullmatch(line) for line in rest.partition("\n\n")[0].splitlines())
    return {int(line[1]): line[2] for line in lines if line}


def _field(line: str, name: str) -> int:
    found = re.search(rf"{name}=(\d+)", line)
    return int(found[1]) if found else 0


def _part_of_file(path: str) -> str | None:
    if "/optax/" in path and "/optax/losses/" not in path:
        return OPTIMISER
    file = Path(path)
    if not file.is_relative_to(_OPS):
        return None
    stem = file.relative_to(_OPS).parts[0].removesuffix(".py")
    if stem in HELPERS:
        return None
    known = dict.fromkeys(CONVOLUTIONS, CONVOLUTION) | dict.fromkeys(PRODUCT_KERNELS, PRODUCTS)
    return known.get(stem, RECURRENCE)
