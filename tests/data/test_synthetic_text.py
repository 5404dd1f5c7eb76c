"""Synthetic tasks by name: parameters, the text form, and every mistake in them."""

import numpy as np
import pytest

from lengthscale.bench.data.errors import DataError
from lengthscale.bench.data.synthetic import SYNTHETIC, Task, make_task, parse_task


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_text_form_comes_back(name):
    task = SYNTHETIC[name]
    assert str(task) == task.name == name
    assert parse_task(name) == make_task(name) == task


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("copy:symbols=5", {"symbols": 5}),
        ("copy: symbols = 5 , scored = recall ", {"symbols": 5, "scored": "recall"}),
        ("mqar:power=1,pairs=16", {"power": 1.0, "pairs": 16}),
        ("a5:scored=last", {"scored": "last"}),
        ("s5:inputs=generators", {"inputs": "generators"}),
    ],
)
def test_a_text_with_parameters(text, parameters):
    task = parse_task(text)
    assert isinstance(task, Task)
    assert parameters.items() <= task.parameters.items()
    assert task == make_task(task.name, **parameters)
    assert parse_task(str(task)) == task


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("", ["unknown synthetic task ''"]),
        ("cpy", ["unknown synthetic task 'cpy'; did you mean 'copy'? (known: copy, adding"]),
        ("mqr:pairs", ["did you mean 'mqar'?", "parameters are written as mqr:key=value,key=value, got 'pairs'"]),
        ("copy:", ["parameters are written as"]),
        ("copy:symbol=3", ["unknown parameter of copy 'symbol'; did you mean 'symbols'? (known: symbols, alphabet"]),
        ("adding:symbols=3", ["adding has no parameters, got 'symbols'"]),
        ("copy:symbols=3,symbols=4", ["copy: symbols is given twice"]),
        ("copy:symbols=2.5", ["copy: symbols must be a whole number, got '2.5'"]),
        ("mqar:power=nan", ["mqar: power must be from 0 to 1, got nan"]),
        ("mqar:power=big", ["mqar: power must be a number, got 'big'"]),
        ("mqar:pairs=4096", ["mqar: pairs must be at most 4095, the keys in a vocab of 8192, got 4096"]),
        ("selective_copy:vocab=3", ["selective_copy: vocab must be at least 4, got 3"]),
        ("a5:scored=first", ["a5: scored must be one of every, last, got 'first'"]),
        (
            "copy:symbols=0,alphabet=x,scored=end,colour=red,loose",
            [
                "got 'loose'",
                "unknown parameter of copy 'colour'",
                "symbols must be at least 1, got 0",
                "alphabet must be a whole number, got 'x'",
                "scored must be one of every, recall, got 'end'",
            ],
        ),
    ],
)
def test_every_mistake_of_a_text_has_a_line(text, mistakes):
    with pytest.raises(DataError) as error:
        parse_task(text)
    lines = str(error.value).splitlines()
    assert len(lines) == len(mistakes)
    for line, mistake in zip(lines, mistakes, strict=True):
        assert mistake in line


def test_parameters_of_the_wrong_kind():
    with pytest.raises(DataError, match="copy: symbols must be a whole number, got True"):
        make_task("copy", symbols=True)
    with pytest.raises(DataError, match=r"copy: symbols must be a whole number, got 3\.0"):
        make_task("copy", symbols=3.0)
    assert make_task("copy", symbols=np.int64(3)).min_length == 7
