"""Synthetic tasks as their papers define them: drawn from a seed without an end, at any length.

task = parse_task("mqar:pairs=16")
rng = generator(seed=0, part="train")
batch = task.batch(rng, batch=32, length=256)  # inputs, targets, weights; call again for more
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.synthetic.base import PARTS, Batch, Task, generator
from lengthscale.bench.data.synthetic.memory import Adding, Copy, SelectiveCopy
from lengthscale.bench.data.synthetic.recall import MQAR, Induction, Passkey
from lengthscale.bench.data.synthetic.tracking import A5, S5, Parity
from lengthscale.models import unknown

__all__ = ["PARTS", "SYNTHETIC", "Batch", "Task", "generator", "make_task", "parse_task"]

# Each with the difficulty of its paper. Adding a task: a Task, one line here.
SYNTHETIC: dict[str, Task] = {
    task.name: task
    for task in (Copy(), Adding(), SelectiveCopy(), Induction(), MQAR(), Passkey(), Parity(), A5(), S5())
}


def make_task(name: str, **parameters: Any) -> Task:
    """The task of this name, with parameters that replace those of its paper.

    Raises DataError with a line for everything that is wrong, and the closest known name.
    """
    return _make(name, parameters, [])


def parse_task(text: str) -> Task:
    """The task of a text like "copy" or "copy:symbols=10,alphabet=8". Raises DataError as `make_task`."""
    name, colon, listed = text.partition(":")
    known = {each.name: each for each in fields(SYNTHETIC[name])} if name in SYNTHETIC else {}
    parameters: dict[str, Any] = {}
    mistakes: list[str] = []
    for item in listed.split(",") if colon else []:
        key, equals, value = (part.strip() for part in item.partition("="))
        if not (key and equals and value):
            mistakes.append(f"{name}: parameters are written as {name}:key=value,key=value, got {item!r}")
        elif key in parameters:
            mistakes.append(f"{name}: {key} is given twice")
        else:
            parameters[key] = _value(value, known[key].default if key in known else "")
    return _make(name, parameters, mistakes)


def _value(text: str, default: Any) -> Any:
    """The text as a value of the default's type; unchanged where that is impossible, for the task's own message."""
    try:
        return type(default)(text)
    except ValueError:
        return text


def _make(name: str, parameters: dict[str, Any], mistakes: list[str]) -> Task:
    if name not in SYNTHETIC:
        raise DataError("\n".join([unknown("synthetic task", name, SYNTHETIC), *mistakes]))
    kind = type(SYNTHETIC[name])
    known = [each.name for each in fields(kind)]
    for key in parameters:
        if not known:
            mistakes.append(f"{name} has no parameters, got {key!r}")
        elif key not in known:
            mistakes.append(unknown(f"parameter of {name}", key, known))
    try:
        task = kind(**{key: value for key, value in parameters.items() if key in known})
    except DataError as error:
        raise DataError("\n".join([*mistakes, str(error)])) from None
    if mistakes:
        raise DataError("\n".join(mistakes))
    return task
