"""Files hold the pixels that they were made from, in the same bytes every time."""

import io
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from serving.generator import Images
from serving.images import GAP, GAP_COLOUR, ImageFormat, contact_sheet, encode, file_names, to_npy, to_zip


def noise(*shape: int) -> Images:
    """Pixels uint8 of a shape [..., H, W, C]."""
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def decoded(file: bytes) -> Images:
    """The pixels [H, W, C] of an image file."""
    pixels = np.asarray(Image.open(io.BytesIO(file)))
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


@pytest.mark.parametrize("format", ["png", "webp"])
def test_png_and_webp_lose_nothing(format: ImageFormat) -> None:
    image = noise(28, 20, 3)
    assert np.array_equal(decoded(encode(image, format)), image)


def test_jpeg_stays_close_to_a_smooth_image() -> None:
    ramp = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    assert np.abs(decoded(encode(ramp, "jpeg")).astype(int) - ramp).max() <= 6


@pytest.mark.parametrize("format", ["png", "jpeg"])
def test_a_grey_image_stays_grey(format: ImageFormat) -> None:
    file = Image.open(io.BytesIO(encode(noise(8, 8, 1), format)))
    assert (file.mode, file.format) == ("L", format.upper())


def test_a_grey_webp_has_the_grey_in_every_channel() -> None:
    image = noise(8, 8, 1)
    assert np.array_equal(decoded(encode(image, "webp")), np.repeat(image, 3, axis=2))


@pytest.mark.parametrize("write", [lambda x: encode(x[0], "png"), to_npy, lambda x: to_zip(x, ["a.png", "b.png"])])
def test_the_same_pixels_give_the_same_bytes(write: Callable[[Images], bytes]) -> None:
    assert write(noise(2, 8, 8, 3)) == write(noise(2, 8, 8, 3))


def test_npy_is_read_back_by_numpy() -> None:
    images = noise(3, 4, 5, 1)
    assert np.array_equal(np.load(io.BytesIO(to_npy(images)), allow_pickle=False), images)


def test_a_zip_holds_each_image_under_its_name() -> None:
    images = noise(2, 8, 8, 3)
    with zipfile.ZipFile(io.BytesIO(to_zip(images, ["seed-7.png", "seed-9.png"]))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["seed-7.png", "seed-9.png"]
        assert np.array_equal(decoded(archive.read("seed-9.png")), images[1])


@pytest.mark.parametrize(("count", "grid"), [(1, (1, 1)), (2, (1, 2)), (5, (2, 3)), (16, (4, 4)), (17, (4, 5))])
def test_a_contact_sheet_is_near_square(count: int, grid: tuple[int, int]) -> None:
    rows, columns = grid
    sheet = contact_sheet(noise(count, 8, 6, 3))
    assert sheet.shape == (rows * (8 + GAP) - GAP, columns * (6 + GAP) - GAP, 3)


def test_a_contact_sheet_shows_the_images_row_by_row_with_a_gap() -> None:
    images = noise(3, 8, 8, 1)
    sheet = contact_sheet(images, columns=2)
    assert np.array_equal(sheet[:8, :8], images[0])
    assert np.array_equal(sheet[:8, 8 + GAP :], images[1])
    assert np.array_equal(sheet[8 + GAP :, :8], images[2])
    assert (sheet[8 : 8 + GAP] == GAP_COLOUR).all()
    assert (sheet[8 + GAP :, 8 + GAP :] == GAP_COLOUR).all()


def test_no_two_images_share_a_file_name() -> None:
    assert file_names([7, 8, 7, 7], 4, "png") == ["seed-7.png", "seed-8.png", "seed-7-2.png", "seed-7-3.png"]
    assert file_names(None, 2, "webp") == ["latent-0.webp", "latent-1.webp"]
