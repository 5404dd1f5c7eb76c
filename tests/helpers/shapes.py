"""The run-time checker of the annotations of models/ops (tests/conftest.py): beartype, and the fields of named tuples.

beartype sees only whether a value is of a named tuple's class. Its fields may be anything where trees of arrays are
mapped (an axis, a shape, None), so they are checked where a function takes or returns one: there its axes are also
those of the function's other arrays.
"""

import functools
import operator
import types
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

import beartype
from beartype.door import is_bearable
from beartype.vale import Is


def checked(function: Callable) -> Callable:
    """The function, with its annotations checked at every call; jaxtyping makes and calls it."""
    function.__annotations__ = {name: _with_fields(hint) for name, hint in function.__annotations__.items()}
    return beartype.beartype(function)


def _with_fields(hint: Any) -> Any:
    """The annotation with every named tuple in it replaced by one whose fields are checked too."""
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        fields = {name: _with_fields(each) for name, each in hint.__annotations__.items()}
        return Annotated[hint, Is[lambda x: all(is_bearable(getattr(x, name), each) for name, each in fields.items())]]
    parts = tuple(map(_with_fields, get_args(hint)))
    if parts == get_args(hint):
        return hint
    if isinstance(hint, types.UnionType):
        return functools.reduce(operator.or_, parts)
    return get_origin(hint)[parts]
