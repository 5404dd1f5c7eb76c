"""Names of models: a key of MODELS and, behind a colon, options as `key=value`: `s4d:rule=bilinear,dt=small`.

A name has one canonical text: the options in the order of their model's table, those with the default value left out.
This file imports neither jax nor flax.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import cache
from itertools import product

from lengthscale.models.catalogue import FORMER_NAMES, MODELS, TABLE, ModelSpec


def parse_model(text: str) -> tuple[str, dict[str, str]]:
    """The key of MODELS that a text names, and the value of each of that model's options, defaults included.

    Raises ValueError, with one line for each mistake, for an unknown model, option or value (the closest known one is
    named), for an option that is given twice, and for a former name (the present one is named).
    """
    text = text.strip()
    if text in FORMER_NAMES:
        raise ValueError(f"model {text!r} is now called {FORMER_NAMES[text]!r}")
    name, colon, listed = (part.strip() for part in text.partition(":"))
    if name not in MODELS:
        if "=" in name and name.partition(",")[0] in MODELS:
            meant = text.replace(",", ":", 1)
            raise ValueError(f"the options of a model follow a colon: write {meant!r}, got {text!r}")
        raise ValueError(unknown("model", name, MODELS))
    known = {option.name: option for option in MODELS[name].options}
    if colon and not known:
        raise ValueError(f"{name} has no options, got {text!r}")
    given, mistakes = {}, []
    for key, value, wrong in parse_options(name, listed, known) if colon else ():
        if wrong:
            mistakes.append(wrong)
        elif value not in known[key].values:
            mistakes.append(unknown(f"{key} of {name}", value, known[key].values))
        else:
            given[key] = value
    if mistakes:
        raise ValueError("\n".join(mistakes))
    return name, {option.name: given.get(option.name, option.default) for option in MODELS[name].options}


def parse_options(owner: str, listed: str, known: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """(option, its text, what is wrong or "") for each `key=value` behind a name's colon; known: the options' names."""
    given = set()
    for item in listed.split(","):
        key, equals, value = (part.strip() for part in item.partition("="))
        wrong = ""
        if not (key and equals and value):
            wrong = f"{owner}: options are written as {owner}:key=value,key=value, got {item!r}"
        elif key not in known:
            wrong = unknown(f"option of {owner}", key, known)
        elif key in given:
            wrong = f"{owner}: {key} is given twice"
        given.add(key)
        yield key, value, wrong


def canonical(text: str) -> str:
    """The one text of the model that a text names. Raises ValueError as parse_model."""
    return _text(*parse_model(text))


def split_models(listed: str) -> list[str]:
    """The texts of a list with commas, as they stand; empty and repeated ones are left out.

    Options are separated by commas too: a piece with "=" and no ":" before it continues the model before it, so that
    "s4d:rule=bilinear,dt=small,mamba" lists two models.
    """
    texts: list[str] = []
    for piece in (piece.strip() for piece in listed.split(",")):
        if "=" in piece.partition(":")[0] and texts:
            texts[-1] += f",{piece}"
        elif piece:
            texts.append(piece)
    return list(dict.fromkeys(texts))


def read_models(listed: str) -> tuple[list[str], list[str]]:
    """(the canonical texts of a list with commas, what is wrong with it): the form for a command line."""
    models, mistakes = [], []
    for text in split_models(listed):
        try:
            models.append(canonical(text))
        except ValueError as error:
            mistakes += str(error).splitlines()
    return list(dict.fromkeys(models)), mistakes


def present_name(text: str) -> str:
    """What a model of a results folder is called now; a name that is not a former one is given back as it is."""
    return FORMER_NAMES.get(text, text)


@cache
def spec_of(text: str) -> ModelSpec:
    """The entry of MODELS that a text names, by a present or a former name, its methods those of its options' values.

    Raises ValueError as parse_model.
    """
    name, options = parse_model(present_name(text))
    spec = MODELS[name]
    for option in spec.options:
        if option.methods and options[option.name] != option.default:
            spec = replace(spec, methods=tuple(method for method in spec.methods if method in option.methods))
    return spec


def learns_positions(text: str) -> bool:
    """Whether a model learns a table of positions, so that it reads no sequence that is longer than the table."""
    return parse_model(present_name(text))[1].get("positions") == TABLE


def is_known(text: str) -> bool:
    """Whether `spec_of` knows a model, by a present or a former name; results of another version may name others."""
    try:
        spec_of(text)
    except ValueError:
        return False
    return True


def settings_of(name: str) -> list[str]:
    """The canonical texts of a key of MODELS with each combination of its options, that of the defaults first."""
    options = MODELS[name].options
    values = product(*(option.values for option in reversed(options)))  # the first option changes fastest
    keys = [option.name for option in reversed(options)]
    return [_text(name, dict(zip(keys, each, strict=True))) for each in values]


def every_model() -> list[str]:
    """The canonical texts of all models: MODELS in their order, then their other settings."""
    return [*MODELS, *(text for name in MODELS for text in settings_of(name)[1:])]


def options_text() -> str:
    """All options of all models with their values, the default first, as a help text says them."""
    return "; ".join(
        f"{name}: " + ", ".join(f"{option.name}={'|'.join(option.values)}" for option in spec.options)
        for name, spec in MODELS.items()
        if spec.options
    )


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that is not known: the closest one, and all of them."""
    known = list(known)
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {kind} {name!r}{hint} (known: {', '.join(known)})"


def _text(name: str, options: Mapping[str, str]) -> str:
    chosen = [(option, options[option.name]) for option in MODELS[name].options]
    given = [f"{option.name}={value}" for option, value in chosen if value != option.default]
    return f"{name}:{','.join(given)}" if given else name
