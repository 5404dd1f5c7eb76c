"""Before training every model says that all tokens, or classes, are about equally likely."""

import math

import numpy as np
import pytest

from lengthscale.models import SIZES, STATES
from lengthscale.models.names import every_model, spec_of
from tests.helpers.initial_loss import IMAGE_CLASSES, losses_of, models_of, optimised


def check(name, found):
    classes = IMAGE_CLASSES if spec_of(name).kind == "images" else 256
    assert np.mean(found) == pytest.approx(math.log(classes), abs=0.2)


@pytest.mark.parametrize("name", every_model())
def test_the_initial_loss_is_that_of_a_guess(name):
    check(name, losses_of(name, "tiny"))


# At the papers' vocabulary a size is another one's; a model of 370 million parameters takes minutes.
OTHERS = [size for size in (*SIZES, *STATES) if size not in ("tiny", "130m", "370m")]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "name"), [(size, name) for size in OTHERS for name in models_of(size)])
def test_the_initial_loss_of_a_larger_model_is_that_of_a_guess(name, size):
    check(name, optimised(size)[name])
