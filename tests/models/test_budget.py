"""The width that brings each model to its size's budget of parameters, and the parameters that it then has."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from lengthscale.models import MODELS, SIZES, Interface, budget, build, size_of_state
from lengthscale.models.budget import closest_width, count_params

UNLIKE = ("tiny", "mini", "small", "90m", "370m")
# (width, parameters) of each of them. The width is that of the MLP or, where there is none, of the mixer or cell (of a
# ResNet: of its stem, whose budget is FLOPs); a table of positions does not count. Published results have these counts.
MATCHED = {
    "rnn": [(272, 48_096), (768, 956_672), (1440, 3_551_360), (4128, 90_546_048), (5504, 321_408_000)],
    "lstm": [(176, 48_096), (384, 956_672), (672, 3_551_360), (1824, 90_546_048), (2432, 321_408_000)],
    "gru": [(208, 48_160), (512, 957_184), (928, 3_552_384), (2592, 90_555_264), (3456, 321_432_576)],
    "transformer": [(240, 48_224), (640, 957_696), (1184, 3_553_408), (3360, 90_564_480), (4480, 321_457_152)],
    "transformer++": [(176, 48_288), (496, 959_616), (928, 3_574_016), (2592, 89_574_144), (3456, 318_030_848)],
    "transformer-window": [(176, 48_288), (496, 959_616), (928, 3_574_016), (2592, 89_574_144), (3456, 318_030_848)],
    "transformer-encdec": [(204, 47_896), (512, 958_976), (928, 3_555_968), (2592, 90_584_448), (3456, 321_508_352)],
    "s4d": [(208, 48_160), (704, 957_952), (1376, 3_554_176), (4032, 89_982_720), (5376, 318_332_928)],
    "mamba": [(64, 48_032), (256, 965_760), (512, 3_569_920), (1536, 90_716_928), (2048, 320_291_840)],
    "rwkv4": [(224, 47_936), (576, 956_416), (1056, 3_551_232), (2976, 90_544_128), (3968, 321_400_832)],
    "seq2seq-lstm": [(54, 47_536), (172, 943_808), (336, 3_554_816), (984, 92_252_544), (1280, 313_648_128)],
    "seq2seq-gru": [(65, 48_654), (204, 968_032), (392, 3_540_480), (1128, 90_292_992), (1504, 323_346_432)],
    "vit": [(240, 44_042), (640, 940_938), (1184, 3_519_882), (3360, 90_463_882), (4480, 321_323_018)],
    "resnet": [(8, 19_954), (25, 425_935), (48, 1_564_090), (136, 40_503_122), (179, 142_849_349)],
    "rnn-plain": [(170, 48_174), (843, 960_196), (1632, 3_566_432), (8775, 90_685_176), (16891, 320_178_708)],
    "lstm-plain": [(81, 47_752), (408, 961_504), (789, 3_568_952), (4300, 90_686_576), (8326, 320_214_696)],
    "gru-plain": [(95, 47_839), (477, 961_615), (922, 3_563_860), (5003, 90_676_631), (9666, 320_188_436)],
}


def width_of(model):
    if hasattr(model, "stack"):
        return model.stack.first.d_model
    if isinstance(model.blocks, nnx.List):
        return model.stem.conv.kernel.shape[-1]
    if hasattr(model.blocks, "channel_mix"):
        return model.blocks.channel_mix.key.kernel.shape[-1]
    return model.blocks.mlp.up.kernel.shape[-1] if hasattr(model.blocks, "mlp") else model.blocks.mixer.d_inner


def matched_params(model):
    """The parameters that a size matches: all but a table of positions, which grows with the longest sequence."""
    return count_params(model) - (model.position_table.get_value().size if hasattr(model, "position_table") else 0)


@pytest.mark.parametrize("name", MODELS)
def test_widths_and_counts(name):
    of_images = {"features": 3, "outputs": 10, "side": 32} if MODELS[name].kind == "images" else {}
    models = [
        nnx.eval_shape(lambda size=size: build(name, size=size, interface=Interface(**of_images), rngs=nnx.Rngs(0)))
        for size in UNLIKE
    ]
    assert [(width_of(model), matched_params(model)) for model in models] == MATCHED[name]


def test_the_papers_smaller_size_is_another_one_with_their_vocabulary():
    assert replace(SIZES["90m"], vocab=50_257) == SIZES["130m"]
    assert {*UNLIKE, "130m"} == {*SIZES}


def matrix(width):
    """One of width x 3 width, 2 biases of width, and 5 numbers more."""
    return jnp.zeros((width, 3 * width)), jnp.zeros((2, width)), jnp.zeros(5)


@pytest.mark.parametrize(
    ("limit", "step", "expected"),
    [
        (3 * 16 + 2 * 4 + 5, 1, 4),  # exactly
        (3 * 16 + 2 * 4 + 5 + 14, 1, 4),  # the next one, 29 more, is 15 away
        (3 * 16 + 2 * 4 + 5 + 15, 1, 5),
        (3 * 64 + 2 * 8 + 5, 5, 10),  # 213: of 5 and 10, with 90 and 325, 10 is nearer by 11
        (3 * 64 + 2 * 8 + 5 - 6, 5, 5),
        (1, 7, 7),  # never less than a step
        (3 * 10**10 + 2 * 10**5 + 5, 1, 10**5),
    ],
)
def test_the_closest_width_is_found_by_one_trace(limit, step, expected):
    traced = []

    def params(width):
        traced.append(width)
        return matrix(width)

    assert closest_width(params, limit, step) == expected
    assert len(traced) == 1


@pytest.mark.parametrize("name", ["transformer++", "rwkv4", "transformer-encdec", "lstm-plain", "seq2seq-gru"])
def test_a_second_build_searches_no_width(name, monkeypatch):
    def count():
        return count_params(nnx.eval_shape(lambda: build(name, size="tiny", rngs=nnx.Rngs(0))))

    before = count()
    monkeypatch.setattr(budget, "TRACED_WIDTH", None)  # no search can do without
    assert count() == before


def state_bytes(name, size, positions):
    model = nnx.eval_shape(
        lambda: build(name, size=size, interface=Interface(vocab=32, positions=positions), rngs=nnx.Rngs(0))
    )
    state = jax.eval_shape(lambda: model.init_state(1, positions))
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


@pytest.mark.parametrize("name", [name for name, spec in MODELS.items() if spec.state_by_width])
def test_a_size_of_equal_state_has_the_closest_even_width(name):
    found = size_of_state(name, 4_096, Interface(vocab=32, positions=16))
    around = [replace(found, d_model=width, head_size=width) for width in (found.d_model - 2, found.d_model + 2)]
    apart = abs(state_bytes(name, "state4k", 16) - 4_096)
    assert apart < min(abs(state_bytes(name, size, 16) - 4_096) for size in around)
    assert apart < 0.12 * 4_096


def test_a_cache_counts_as_far_as_it_is_filled():
    widths = [size_of_state("transformer", 4_096, Interface(positions=positions)).d_model for positions in (8, 16, 32)]
    assert widths == [32, 16, 8]


@pytest.mark.parametrize("name", ["vit", "lstm-plain", "seq2seq-gru"])
def test_a_model_without_such_a_state_has_no_size_of_equal_state(name):
    with pytest.raises(ValueError, match=f"{name} has no state whose bytes follow from its width"):
        build(name, size="state4k", rngs=nnx.Rngs(0))
