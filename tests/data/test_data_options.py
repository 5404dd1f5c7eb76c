"""Options on named data: fewer images to train on, and what is said where there is no such option."""

import dataclasses
import itertools

import numpy as np
import pytest

from lengthscale.bench.data import Stream, images, load
from lengthscale.bench.data.errors import DataError
from lengthscale.bench.device.workloads import data_of
from lengthscale.bench.plan.cell import Cell
from lengthscale.bench.plan.workloads import version
from tests.helpers.loading import image_set, refused


def keys(pixels: np.ndarray) -> list[bytes]:
    return [image.tobytes() for image in pixels]


def test_fewer_images_are_nested_and_in_the_classes_proportions():
    whole = image_set("mnist")
    few, some, all_of_them = (image_set(f"mnist:images={n}") for n in (100, 500, 4000))
    assert few.train.shape == (100, 28, 28, 1)
    assert np.bincount(few.train_labels).tolist() == [10] * 10
    assert np.bincount(some.train_labels).tolist() == [50] * 10
    np.testing.assert_array_equal(few.train, some.train[:100])
    np.testing.assert_array_equal(some.train, all_of_them.train[:500])
    np.testing.assert_array_equal(some.train_labels, all_of_them.train_labels[:500])
    assert sorted(keys(all_of_them.train)) == sorted(keys(whole.train))
    label_of = dict(zip(keys(whole.train), whole.train_labels, strict=True))
    assert [label_of[key] for key in keys(few.train)] == few.train_labels.tolist()
    for part in (few, some, all_of_them):
        np.testing.assert_array_equal(part.held_out, whole.held_out)
        np.testing.assert_array_equal(part.held_out_labels, whole.held_out_labels)
    assert not set(keys(few.train)) & set(keys(whole.held_out))


def test_they_are_shuffled_within_their_class():
    """A file may be sorted within a class; the first of the file would then be no sample of it."""
    labels = np.repeat(np.arange(2), 100)
    pixels = np.arange(200, dtype=np.uint8).reshape(-1, 1, 1, 1)
    data = images.fewer(images.split("set", pixels, labels, ("a", "b")), 40)
    of_a = data.train[data.train_labels == 0].ravel()
    assert len(of_a) == 20
    assert 20 <= of_a.mean() <= 60  # of 0 ... 79
    assert of_a.max() > 50


def test_a_seed_draws_the_images():
    of_seed = [set(keys(images.drawn(image_set("mnist:images=100"), seed).train)) for seed in (0, 1, 2)]
    assert of_seed[0] == set(keys(image_set("mnist:images=100").train))
    assert all(len(first & second) < 20 for first, second in itertools.combinations(of_seed, 2))  # of 4,000
    cell = Cell("quality", "vit", "tiny", "auto", 16, 2, "float32", 0, "mnist:images=100", 1)
    drawn = data_of(cell)
    assert isinstance(drawn, images.Images)
    assert set(keys(drawn.train)) == of_seed[1]
    assert np.bincount(drawn.train_labels).tolist() == [10] * 10
    assert (drawn.name, version(drawn)) == ("mnist:images=100", version(image_set("mnist:images=100")))
    np.testing.assert_array_equal(drawn.held_out, image_set("mnist").held_out)
    some = images.drawn(image_set("mnist:images=500"), 1)
    np.testing.assert_array_equal(some.train[:100], drawn.train)
    assert data_of(dataclasses.replace(cell, data="mnist")) is image_set("mnist")


def test_what_figures_may_be_compared_by():
    few, again, some = (image_set(f"mnist:images={n}") for n in (100, "100", 500))
    assert few.name == "mnist:images=100"
    versions = [version(each) for each in (image_set("mnist"), few, some)]
    assert len(set(versions)) == 3
    assert version(again) == version(few)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            f"mnist:images={text}",
            [f"mnist: images must be a whole number from 1 to 4000, the images to train on, got '{text}'"],
        )
        for text in ("0", "-1", "4001", "1e3", "²", "9" * 5000)
    ]
    + [
        ("digits:images=5000", ["digits: images must be a whole number from 1 to 1442, the images to train on, got"]),
        ("mnist:imges=5", ["unknown option of mnist 'imges'; did you mean 'images'? (known: part, images)"]),
        ("mnist:", ["mnist: options are written as mnist:key=value,key=value, got ''"]),
        ("mnist:images", ["mnist: options are written as mnist:key=value,key=value, got 'images'"]),
        ("mnist:images=5,images=6", ["mnist: images is given twice"]),
        (
            "mnist:images=0,x=1",
            ["unknown option of mnist 'x' (known: part, images)", "mnist: images must be a whole number"],
        ),
        ("text:images=5", ["unknown option of text 'images' (known: part)"]),
    ],
)
def test_every_mistake_has_a_line(name, lines):
    found = refused(name).splitlines()
    assert len(found) == len(lines)
    for line, expected in zip(found, lines, strict=True):
        assert line.startswith(expected)


def test_the_validation_part_is_the_last_ninth_of_what_is_trained_on(tmp_path):
    (tmp_path / "a:b.txt").write_bytes(bytes(range(200)) * 5)
    for name in ("text", str(tmp_path / "a:b.txt")):
        whole, part = load(name), load(f"{name}:part=validation")
        assert isinstance(whole, Stream)
        assert isinstance(part, Stream)
        assert (part.name, part.vocab) == (f"{name}:part=validation", whole.vocab)
        np.testing.assert_array_equal(np.concatenate([part.train, part.held_out]), whole.train)
        assert len(part.held_out) == len(whole.train) // 9 == pytest.approx(len(whole.held_out), abs=1)
    with pytest.raises(DataError, match="part must be validation, got 'test'"):
        load("text:part=test")


def test_the_validation_part_of_images_is_an_eighth_and_comes_before_their_number():
    whole = image_set("mnist")
    for name in ("mnist:part=validation,images=100", "mnist:images=100,part=validation"):
        part = image_set(name)
        assert (len(part.train), len(part.held_out)) == (100, 500)
        assert np.bincount(part.held_out_labels).tolist() == [50] * 10
        rows = {image.tobytes() for image in part.train}
        held_out = {image.tobytes() for image in part.held_out}
        known = {image.tobytes() for image in whole.train}
        assert rows | held_out <= known
        assert not rows & held_out
    assert not held_out & {image.tobytes() for image in whole.held_out}
    with pytest.raises(DataError, match="from 1 to 3500"):
        load("mnist:images=4000,part=validation")
