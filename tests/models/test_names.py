"""Names of models: what is parsed, the one text of each, lists, former names, and errors that name what is known."""

import subprocess
import sys

import pytest

from lengthscale.models import MODELS, build, canonical, every_model, is_known, parse_model, spec_of
from lengthscale.models.catalogue import FORMER_NAMES
from lengthscale.models.names import options_text, read_models, settings_of, split_models


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("gru", "gru", {}),
        ("s4d", "s4d", {"rule": "zoh", "dt": "spread"}),
        ("s4d:dt=small", "s4d", {"rule": "zoh", "dt": "small"}),
        ("s4d: dt = small , rule=bilinear", "s4d", {"rule": "bilinear", "dt": "small"}),
        ("mamba:rule=zoh", "mamba", {"rule": "zoh"}),
    ],
)
def test_a_name_is_parsed_with_the_value_of_every_option(text, name, options):
    assert parse_model(text) == (name, options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s4d", "s4d"),
        ("s4d:rule=zoh", "s4d"),
        ("s4d:dt=spread,rule=bilinear", "s4d:rule=bilinear"),
        ("s4d:dt=small,rule=bilinear", "s4d:rule=bilinear,dt=small"),
        (" mamba:rule=mamba ", "mamba"),
    ],
)
def test_the_canonical_text_has_the_tables_order_and_no_defaults(text, expected):
    assert canonical(text) == expected
    assert canonical(expected) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mambo", r"unknown model 'mambo'; did you mean 'mamba'\? \(known: rnn, "),
        ("s4d:rul=zoh", r"unknown option of s4d 'rul'; did you mean 'rule'\? \(known: rule, dt\)"),
        ("s4d:rule=bilinar", r"unknown rule of s4d 'bilinar'; did you mean 'bilinear'\? \(known: zoh, bilinear\)"),
        ("s4d:rule", "s4d: options are written as s4d:key=value,key=value, got 'rule'"),
        ("s4d:", "s4d: options are written as s4d:key=value,key=value, got ''"),
        ("s4d:rule=zoh,rule=zoh", "s4d: rule is given twice"),
        ("s4d:rule=x,dt=y", "unknown rule of s4d 'x'.*\nunknown dt of s4d 'y'"),
        ("gru:rule=zoh", "gru has no options, got 'gru:rule=zoh'"),
        ("mamba,rule=zoh", "the options of a model follow a colon: write 'mamba:rule=zoh', got 'mamba,rule=zoh'"),
        ("s4d-small-dt-bilinear", "model 's4d-small-dt-bilinear' is now called 's4d:rule=bilinear,dt=small'"),
        ("", "unknown model ''"),
    ],
)
def test_an_error_names_what_is_known(text, message):
    with pytest.raises(ValueError, match=message):
        parse_model(text)
    with pytest.raises(ValueError, match=message):
        build(text, size="tiny", rngs=None)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("listed", "texts"),
    [
        ("s4d:rule=bilinear,dt=small,mamba", ["s4d:rule=bilinear,dt=small", "mamba"]),
        ("mamba,s4d:dt=small,rule=bilinear", ["mamba", "s4d:dt=small,rule=bilinear"]),
        ("mamba:rule=zoh,s4d:dt=small,gru", ["mamba:rule=zoh", "s4d:dt=small", "gru"]),
        (" rnn , , gru,rnn", ["rnn", "gru"]),
        ("mamba,rule=zoh", ["mamba,rule=zoh"]),
        ("rule=zoh,mamba", ["rule=zoh", "mamba"]),
        (",", []),
    ],
)
def test_a_list_of_names_is_split_where_the_next_model_begins(listed, texts):
    assert split_models(listed) == texts


def test_a_list_is_read_with_all_that_is_wrong():
    assert read_models("s4d:dt=spread,s4d,mamba:rule=zoh") == (["s4d", "mamba:rule=zoh"], [])
    models, mistakes = read_models("gru,mamba-zoh,s4d:rule=x,dt=y")
    assert models == ["gru"]
    assert [each.partition("'")[0] for each in mistakes] == ["model ", "unknown rule of s4d ", "unknown dt of s4d "]


def test_every_setting_has_one_text():
    assert settings_of("gru") == ["gru"]
    assert settings_of("s4d")[:3] == ["s4d", "s4d:rule=bilinear", "s4d:dt=small"]
    assert len(settings_of("s4d")) == 6
    assert every_model()[: len(MODELS)] == list(MODELS)
    assert all(canonical(text) == text for text in every_model())
    expected = "transformer: positions=learned|sinusoidal; s4d: rule=zoh|bilinear, dt=spread|small|large; "
    assert options_text() == expected + "mamba: rule=mamba|zoh|bilinear"


def test_a_former_name_is_looked_up_under_its_present_one():
    for former, present in FORMER_NAMES.items():
        assert canonical(present) == present
        assert spec_of(former) == spec_of(present)
        assert is_known(former)
    assert not is_known("hyena")


def test_some_methods_are_of_the_default_options_alone():
    assert "pallas" in spec_of("mamba").methods
    assert spec_of("mamba:rule=zoh").methods == ("sequential", "associative", "chunked")
    with pytest.raises(ValueError, match="unknown method of mamba:rule=zoh 'native'"):
        build("mamba:rule=zoh", size="tiny", method="native", rngs=None)  # pyright: ignore[reportArgumentType]


def test_the_names_need_no_jax():
    code = "import lengthscale.models.names, sys; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
