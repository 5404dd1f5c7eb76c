"""Images: their sizes, their split, CSVs of pixels and folders of files."""

import os

import numpy as np
import pytest
from PIL import Image

from lengthscale.bench.__main__ import main
from lengthscale.bench.data import image_files, images
from lengthscale.bench.data.errors import DataError
from tests.helpers.loading import image_set, refused, zipped


def test_at_side():
    square = np.array([[0, 40], [80, 120]], np.uint8)
    pixels = np.stack([square, 255 - square], -1)[None].repeat(3, 0)  # two channels: any number will do
    np.testing.assert_array_equal(images.at_side(pixels, 1)[:, 0, 0], [[60, 195]] * 3)  # the mean
    larger = images.at_side(pixels, 4)
    np.testing.assert_array_equal(larger[0, 0, :, 0], [0, 10, 30, 40])  # bilinear, between pixels' centres
    np.testing.assert_array_equal(larger[2, :, 3, 1], [215, 195, 155, 135])
    assert images.at_side(pixels, 2) is pixels
    blocks = np.kron(np.arange(4, dtype=np.uint8).reshape(2, 2) * 50, np.ones((14, 14), np.uint8))
    np.testing.assert_array_equal(images.at_side(blocks[None, ..., None], 2).ravel(), [0, 50, 100, 150])
    assert images.at_side(image_set("mnist").train[:2], 1024).shape == (2, 1024, 1024, 1)
    with pytest.raises(DataError, match="an image's side must be positive, got 0"):
        images.at_side(pixels, 0)


def test_the_split_keeps_proportions():
    labels = np.array([0] * 50 + [1] * 100 + [2] + [3] * 2)
    pixels = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    data = images.split("set", pixels, labels, tuple("abcd"))
    assert np.bincount(data.train_labels).tolist() == [40, 80, 1, 1]
    assert np.bincount(data.held_out_labels).tolist() == [10, 20, 0, 1]
    assert np.bincount(data.train_labels[:30]).tolist() == [10, 20]
    assert set(data.held_out.ravel()) == {*range(40, 50), *range(130, 150), 152}
    np.testing.assert_array_equal(labels[data.train.ravel()], data.train_labels)


CSV = b"0,1,2,3,7\n4,5,6,7,10\n\n8,9,10,255,7\n"


@pytest.mark.parametrize("name", ["pixels.csv", "pixels.csv.gz"])
def test_csv(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(zipped(CSV) if name.endswith(".gz") else CSV)
    data = image_set(path)
    assert data.classes == ("7", "10")
    assert data.train[..., 0].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    assert data.held_out[..., 0].tolist() == [[[8, 9], [10, 255]]]
    assert data.held_out_labels.tolist() == [0]


def test_csv_of_named_classes(tmp_path):
    (tmp_path / "pixels.csv").write_bytes(b"\xef\xbb\xbf9, dog\r\n8, cat\r\n")
    data = image_set(tmp_path / "pixels.csv")
    assert data.classes == ("cat", "dog")
    assert data.train.ravel().tolist() == [9, 8][:: 1 if data.train_labels[0] else -1]


@pytest.mark.fault("data: corrupt or huge images and tables")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "holds no rows"),
        (b"1,2,3,4,0\n1,2,3,0\n", "row 2: 4 columns, expected 5"),
        (b"1,2,3,4,0\n\n1,2,3,4,5,0\n", "row 3: 6 columns, expected 5"),
        (b"1,2,3,0\n", "row 1: 4 columns; expected the pixels of a square and then a label"),
        (b"7\n", "row 1: 1 columns; expected the pixels of a square"),
        (b"pixel0,label\n1,0\n", "row 1, column 1: 'pixel0' is not a pixel (expected an integer from 0 to 255, and no"),
        (b"1,2,3,4,0\n1,2,256,4,0\n", "row 2, column 3: '256' is not a pixel"),
        (b"1,2,3,-1,0\n", "row 1, column 4: '-1' is not a pixel"),
        (b"1,0.5,3,1,0\n", "row 1, column 2: '0.5' is not a pixel"),
        (b"1,,3,1,0\n", "row 1, column 2: '' is not a pixel"),
        (b"\xff\xfe,0\n", "row 1, column 1: '\ufffd\ufffd' is not a pixel"),
        (b"1,2,3,4,\n", "row 1: no label"),
        (zipped(CSV * 50)[:-12], "is truncated: its gzip stream ends before its end mark"),
    ],
)
def test_csv_that_cannot_be_used(tmp_path, content, message):
    path = tmp_path / "wrong.csv"
    path.write_bytes(content)
    assert message in refused(path)
    assert repr(str(path)) in refused(path)


@pytest.mark.fault("data: corrupt or huge images and tables")
def test_csv_larger_than_memory_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "pixels.csv"
    path.write_bytes(CSV)
    rows_and_classes = 3 * (4 + 4) + 2 * 100 + len("7" + "10")
    monkeypatch.setattr(images, "MAX_BYTES", rows_and_classes - 1)
    assert "row 4: over 226 bytes of pixels and labels, which is the limit" in refused(path)
    monkeypatch.setattr(images, "MAX_BYTES", rows_and_classes)
    assert image_set(path).classes == ("7", "10")
    labels = tmp_path / "labels.csv"
    labels.write_bytes(b"1,a\n2," + b"b" * 200)
    assert "row 2: over 227 bytes" in refused(labels)
    monkeypatch.setattr(images, "_ROW", 6)
    assert "row 2: it has 6 characters or more" in refused(labels)


def picture(path, value, size=(8, 8), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path, **options)


def test_a_folder_of_classes(tmp_path):
    for at in range(5):
        picture(tmp_path / "red" / f"{at}.png", (250 - at, 0, 0))
        picture(tmp_path / "blue" / f"{at}.BMP", (0, 0, 250 - at), size=(20, 8))
    (tmp_path / "red" / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    data = image_set(tmp_path)
    assert data.classes == ("blue", "red")
    assert data.train.shape == (8, 8, 8, 3)
    assert data.train[0, 0, 0].tolist() == [0, 0, 250]
    assert data.train[1, 7, 7].tolist() == [250, 0, 0]
    assert data.held_out[:, 3, 3].tolist() == [[0, 0, 246], [246, 0, 0]]
    assert data.note == "10 images cut to their central square, at 8 x 8"


def test_a_flat_folder_is_one_class(tmp_path):
    for at, size in enumerate([(4, 9), (6, 6), (30, 12)]):
        picture(tmp_path / f"{at}.png", 10 * at, size=size, mode="L")
    data = image_set(tmp_path)
    assert data.classes == ("all",)
    assert data.train.shape == (2, 6, 6, 1)  # the median of 4, 6 and 12; grey as they are
    assert (data.train[1] == 10).all()
    assert (data.held_out == 20).all()


def test_folders_larger_than_memory_are_made_smaller(tmp_path, monkeypatch):
    picture(tmp_path / "a.png", 1, mode="L")
    picture(tmp_path / "b.png", 1, mode="L")
    monkeypatch.setattr(images, "MAX_BYTES", 2 * 5**2)
    assert image_set(tmp_path).train.shape == (1, 5, 5, 1)
    monkeypatch.setattr(images, "MAX_BYTES", 1)
    with pytest.raises(DataError, match="its 2 images are too many to hold in memory"):
        image_files.from_folder("again", str(tmp_path))


def test_the_central_square(tmp_path):
    pixels = np.zeros((2, 6, 3), np.uint8)
    pixels[:, 2:4] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    assert (image_set(tmp_path).train == 200).all()


def test_modes_of_images(tmp_path):
    grey16 = Image.fromarray(np.full((4, 4), 0x8040, np.uint16))
    grey16.save(tmp_path / "grey.png")
    data = image_set(tmp_path)
    assert data.train.shape[-1] == 1
    assert (data.train == 0x80).all()
    colours = tmp_path / "colours"
    colours.mkdir()
    grey16.save(colours / "grey.png")
    picture(colours / "alpha.png", (10, 20, 30, 128), mode="RGBA")
    picture(colours / "palette.gif", 0, mode="P", transparency=0)
    picture(colours / "bits.png", 1, mode="1")
    picture(colours / "cmyk.jpg", (0, 0, 0, 0), mode="CMYK")
    data = image_files.from_folder("colours", str(colours))
    assert data.train[:, 0, 0].tolist() == [[10, 20, 30], [255] * 3, [255] * 3, [128] * 3]
    assert data.held_out[:, 0, 0].tolist() == [[0, 0, 0]]


def test_photographs_stand_upright(tmp_path):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:, 4:] = 255  # the right half; turned by a quarter, the lower one
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(image_set(tmp_path).train[0, :, 0, 0], [0] * 4 + [255] * 4)


def test_folders_that_cannot_be_used(tmp_path):
    assert "holds no images (expected" in refused(tmp_path)
    picture(tmp_path / "cats" / "a.png", 0)
    (tmp_path / "dogs").mkdir()
    assert "its class 'dogs' holds no images" in refused(tmp_path)
    picture(tmp_path / "loose.png", 0)
    assert "holds both images ('loose.png') and folders of classes" in refused(tmp_path)
    picture(tmp_path / "nested" / "train" / "cats" / "a.png", 0)
    assert "holds no images (expected" in refused(tmp_path / "nested")


@pytest.mark.fault("data: corrupt or huge images and tables")
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_a_corrupt_image_is_named(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    picture(tmp_path / "a.png", 0)
    path = tmp_path / f"broken.{suffix}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for content in (b"", b"not an image", whole[: len(whole) // 2], whole[:30]):
        path.write_bytes(content)
        assert f"image {str(path)!r} cannot be read" in refused(tmp_path)


@pytest.mark.fault("data: corrupt or huge images and tables")
def test_an_image_that_is_too_large_or_of_an_odd_mode(tmp_path, monkeypatch):
    picture(tmp_path / "bomb.png", 0, size=(100, 100))
    for limit in (9_000, 3_000):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert f"image {str(tmp_path / 'bomb.png')!r} is too large" in refused(tmp_path)
    picture(tmp_path / "float" / "f.tiff", 0.5, mode="F")
    assert "its pixels are of mode 'F'" in refused(tmp_path / "float")


@pytest.mark.fault("data: pipes, devices, link loops, unreadable files")
def test_loops_and_pipes_in_a_folder_of_images(tmp_path):
    image = tmp_path / "a.png"
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path)):
        make(image)
        assert f"image {str(image)!r} cannot be read: it is a pipe, a device, or a broken link" in refused(tmp_path)
        image.unlink()
    (tmp_path / "round").symlink_to(tmp_path)
    assert "holds no images" in refused(tmp_path)


def refusal(capsys, *arguments) -> str:
    assert main(["run", "--suite", "quick", "--models", "vit", "--lengths", "16", *map(str, arguments)]) == 2
    return " ".join(capsys.readouterr().err.split())


def test_nothing_is_learned_of_one_class(tmp_path, capsys):
    for at in range(5):
        picture(tmp_path / f"{at}.png", 10 * at, mode="L")
    said = refusal(capsys, "--data", tmp_path, "--measures", "quality,gradients,train")
    assert f"data {str(tmp_path)!r} has one class, 'all'; quality and gradients need two or more" in said
    assert (
        main(["run", "--suite", "quick", "--models", "vit", "--measures", "train", "--data", str(tmp_path), "--list"])
        == 0
    )


def test_nothing_is_learned_without_a_held_out_part(tmp_path, capsys):
    (tmp_path / "one-each.csv").write_bytes(b"1,2,3,4,a\n5,6,7,8,b\n")
    said = refusal(capsys, "--data", tmp_path / "one-each.csv", "--measures", "quality")
    assert "its held-out part is empty, as no class has two images; quality needs one" in said
