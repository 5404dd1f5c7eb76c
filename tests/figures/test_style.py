"""Each model has one look, which can be told apart from the others on both backgrounds and by colour-blind readers."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lengthscale.bench.figures.mpl.theme import look
from lengthscale.bench.figures.style import DARK, LIGHT, STYLE, THEMES, contrast
from lengthscale.models import MODELS, every_model, spec_of


def test_every_model_has_a_look_of_its_own():
    assert len(set(STYLE.values())) == len(every_model())
    for model in every_model():
        base = spec_of(model).variant_of or model.partition(":")[0]
        assert STYLE[model][0] == STYLE[base][0]


def test_a_former_name_has_the_look_of_the_present_one():
    assert look(LIGHT, "s4d-large-dt-bilinear") == look(LIGHT, "s4d:rule=bilinear,dt=large") != look(LIGHT, "s4d")
    assert LIGHT.colour("mamba-zoh") == LIGHT.colour("mamba") != LIGHT.colour("s4d")


# From linear RGB: Machado, Oliveira and Fernandes 2009, severity 1; then OKLab (Ottosson 2020).
SIGHT = {
    "all colours": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
}
CONES = [[0.41222, 0.53633, 0.05145], [0.2119, 0.68070, 0.1074], [0.0883, 0.28172, 0.62998]]
LAB = [[0.21045, 0.79362, -0.00407], [1.978, -2.42859, 0.45059], [0.0259, 0.78277, -0.80868]]


def seen(colour, sight):
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return np.array(LAB) @ np.cbrt(np.array(CONES) @ np.clip(np.array(SIGHT[sight]) @ linear, 0, 1))


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_models_can_be_told_apart_on_both_backgrounds(theme):
    for one, other in combinations([name for name, spec in MODELS.items() if not spec.variant_of], 2):
        for sight in SIGHT:
            distance = np.linalg.norm(seen(theme.colour(one), sight) - seen(theme.colour(other), sight))
            assert distance > (0.06 if sight == "all colours" else 0.01), (one, other, sight)
            assert distance > 0.06 or STYLE[one][1] != STYLE[other][1], (one, other, sight)
    for model in MODELS:
        colour = theme.colour(model)
        assert contrast(colour, theme.background) >= (3 if theme is DARK else 2.2), model
        assert contrast(theme.readable(colour), theme.background) >= 4.5, model


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
